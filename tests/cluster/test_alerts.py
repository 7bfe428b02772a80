"""Every alert of the chart, fired by its fault: made on the cluster, seen on the operator's page, judged by promtool.

The rules are the chart's as rendered. Only time is promtool's: a page is taken to have stayed as it was scraped, so
that a rule's `for` passes without anybody waiting for it.
"""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.lease import LAST_GOOD
from tests.azure.faults import FaultKind
from tests.azure.standin import Standin
from tests.cluster.azpolicy import TEMPLATES, wipe
from tests.cluster.deployed import KIND, Deployed
from tests.cluster.harness import TestCluster, eventually
from tests.deploy.helm import render
from tests.deploy.promtool import Scraped, assert_firing, assert_shows
from tests.deploy.test_monitoring import expressions
from tests.snapshots import DOES_NOT_COMPILE, FORBIDS_LABELS, template_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.cluster.azpolicy import Operator

pytestmark = pytest.mark.timeout(900)  # helm and promtool are built first where they have not been

EVER: Final = 1_000_000
MINUTES: Final = 60
MANY: Final = [f"many-{number}" for number in range(10)]
WEBHOOKS: Final = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
WEBHOOK: Final = f"{WEBHOOKS}/gatekeeper-validating-webhook-configuration"
TARGET: Final = {"job": "azpolicy-metrics", "namespace": "azpolicy-system", "pod": "azpolicy-0"}


class Watched(Deployed):
    """A deployed operator, and a Prometheus that has the chart's rules."""

    @functools.cached_property
    def rules(self) -> Mapping[str, Any]:
        """The rule file of the PrometheusRule."""
        values = self.values(image={"repository": "azpolicy"}, monitoring={"prometheusRule": {"enabled": True}})
        (rule,) = [each for each in render(self.release.chart, values) if each["kind"] == "PrometheusRule"]
        spec: Mapping[str, Any] = rule["spec"]
        return spec

    def assert_fires(self, operator: Operator, *names: str, before: str = "", **labels: str) -> None:
        """Exactly these alerts fire, if the page stays as it is now; `before` is what it was first."""
        severities = {each["alert"]: each["labels"]["severity"] for each in self.rules["groups"][0]["rules"]}
        now = page(operator)
        scraped = Scraped(TARGET, [(before, MINUTES), (now, MINUTES)] if before else [(now, MINUTES)])
        expected = ({"alertname": name, "severity": severities[name], **TARGET, **labels} for name in names)
        assert_firing(self.rules, [scraped], *expected)

    def repaired(self, times: int) -> str:
        """Edits one constraint so often and waits for each repair; its name."""
        before = self.wait_in_sync()
        for _ in range(times):
            path = self.weaken()
            self.back(before)
        return path.rpartition("/")[2]

    def add(
        self, name: str, kind: str, rule: str = FORBIDS_LABELS, schema: Mapping[str, Any] | None = None, **values: Any
    ) -> None:
        """Has Azure assign a definition with a template of its own."""
        url = self.bundle.write(f"{name}/v1", kind, rule, schema)
        self.snapshot.assign(name, self.snapshot.define(name, url, **values))
        self.publish()
        self.ask_sync()


def page(operator: Operator) -> str:
    """What it shows now."""
    return operator.ask("/metrics")[1]


def becomes(operator: Operator, metric: str, value: float) -> None:
    """Waits until its page says so."""
    eventually(
        lambda: operator.metric(f"azpolicy_{metric}") == value, timeout=120, what=f"{metric} to be {value} on its page"
    )


@pytest.fixture(scope="module")
def installed(cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Standin() as arm:
        # Three intervals are more than a busy machine ever needs for a sync: what is well must look so.
        watched = Watched(cluster, arm, tmp_path_factory.mktemp("alerts"), interval=60)
        yield watched
        watched.release.remove()
        wipe(cluster)


@pytest.fixture
def watched(installed: Watched) -> Iterator[Watched]:
    """Nothing runs yet. What a test assigned, and what it broke in Azure, is as before in the end."""
    installed.assign("one")
    installed.assign("two")
    yield installed
    installed.arm.heal()
    for file in installed.snapshot.folder.glob("assignment-*.json"):
        installed.unassign(file.stem.removeprefix("assignment-"))


@pytest.fixture
def leader(watched: Watched) -> Iterator[Operator]:
    """A replica at work, all in sync; it gives its Lease up in the end, so that the next need not wait."""
    with watched.replica() as operator:
        watched.wait_in_sync()
        yield operator
        if operator.code is None:
            operator.stop()


# --- nothing wrong ---------------------------------------------------------------------------------------------------


def test_a_healthy_leader_and_its_standby_fire_nothing(watched: Watched, leader: Operator) -> None:
    with watched.replica("azpolicy-1") as standby:
        leader.wait_syncs(4)
        pages = {"azpolicy-0": page(leader), "azpolicy-1": page(standby)}

    assert_firing(watched.rules, [Scraped({**TARGET, "pod": pod}, [(text, 180)]) for pod, text in pages.items()])


@pytest.mark.usefixtures("audits")
def test_every_panel_of_the_dashboard_shows_something(watched: Watched, leader: Operator) -> None:
    quiet = page(leader)
    watched.repaired(1)
    eventually(lambda: "azpolicy_policy_violations{" in page(leader), timeout=90, what="an audit to be on its page")
    edited = page(leader)

    assert_shows([Scraped(TARGET, [(quiet, MINUTES), (edited, 1)])], expressions())


# --- the operator ----------------------------------------------------------------------------------------------------


def test_killed_it_is_absent(watched: Watched, leader: Operator) -> None:
    alive = page(leader)
    leader.kill()
    with pytest.raises(OSError, match="refused"):
        leader.ask("/metrics")

    killed = Scraped(TARGET, [(alive, MINUTES), ("", MINUTES)])
    assert_firing(watched.rules, [killed], {"alertname": "AzpolicyAbsent", "severity": "critical"})


def test_replicas_that_may_not_write_the_lease_have_no_leader(watched: Watched) -> None:
    namespace = watched.release.namespace
    bindings = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    binding = watched.cluster.get(f"{bindings}/azpolicy")
    kept = {key: binding["metadata"][key] for key in ("name", "labels", "annotations")}
    watched.cluster.request("DELETE", f"{bindings}/azpolicy")
    try:
        with watched.replica() as standby:
            labels = {"job": TARGET["job"], "namespace": namespace}
            expected = {"alertname": "AzpolicyNoLeader", "severity": "critical", **labels}
            assert_firing(watched.rules, [Scraped(TARGET, [(page(standby), MINUTES)])], expected)
    finally:
        watched.cluster.request("POST", bindings, {**binding, "metadata": kept})


# --- Azure and Gatekeeper --------------------------------------------------------------------------------------------


def test_azure_away_is_no_good_sync(watched: Watched, leader: Operator) -> None:
    watched.arm.fail(FaultKind.SERVER_ERROR, ".", times=EVER)
    watched.patch({"spec": {"interval": "1s"}})
    try:
        becomes(leader, "poll_interval_seconds", 1)
        eventually(lambda: leader.metric("azpolicy_last_good_sync_age_seconds") > 3, what="three intervals to pass")
        watched.assert_fires(leader, "AzpolicyNoGoodSync")
    finally:
        watched.patch({"spec": {"interval": None}})


def test_azure_away_for_more_than_a_day_is_an_old_state(watched: Watched, leader: Operator) -> None:
    """The Lease says when all was well last; whoever leads next counts from there."""
    assert leader.stop() == 0
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{watched.release.namespace}/leases/azure-policy-sync"
    past = (datetime.now(UTC) - timedelta(days=1, hours=1)).isoformat()
    watched.cluster.request("PATCH", lease, {"metadata": {"annotations": {LAST_GOOD: past}}})
    watched.arm.fail(FaultKind.SERVER_ERROR, ".", times=EVER)

    with watched.replica() as operator:
        watched.wait_for("Ready", "False", "SourceUnreadable")
        becomes(operator, "gatekeeper_ready", 1)
        watched.assert_fires(operator, "AzpolicyNoGoodSync", "AzpolicyLastGoodStateOld")
        operator.stop()


def test_gatekeepers_webhook_deleted_is_gatekeeper_away(watched: Watched, leader: Operator) -> None:
    webhook = watched.cluster.get(WEBHOOK)
    kept = {"name": webhook["metadata"]["name"], "labels": webhook["metadata"].get("labels", {})}
    watched.cluster.request("DELETE", WEBHOOK)
    try:
        becomes(leader, "gatekeeper_ready", 0)
        watched.assert_fires(leader, "AzpolicyGatekeeperAway")
    finally:
        watched.cluster.request("POST", WEBHOOKS, {**webhook, "metadata": kept})
        watched.wait_for("GatekeeperReady", "True")


# --- policies --------------------------------------------------------------------------------------------------------


def test_a_foreign_template_is_a_conflict(watched: Watched, leader: Operator) -> None:
    kind = "K8sAzureV1AlertsForeign"
    status, answer = watched.cluster.request("POST", TEMPLATES, json.loads(template_text(kind)))
    assert status == 201, answer
    try:
        watched.add("foreign", kind)
        becomes(leader, "conflicts", 1)
        becomes(leader, "members_failed", 1)
        watched.assert_fires(leader, "AzpolicyConflict")
    finally:
        watched.cluster.request("DELETE", f"{TEMPLATES}/{kind.lower()}")


def test_a_template_that_does_not_compile_is_a_failed_template(watched: Watched, leader: Operator) -> None:
    watched.add("broken", "K8sAzureV1AlertsBroken", DOES_NOT_COMPILE)
    becomes(leader, "members_failed", 1)

    watched.assert_fires(leader, "AzpolicyTemplateFailed")


def test_a_template_whose_next_version_does_not_compile_is_a_failed_template_too(
    watched: Watched, leader: Operator
) -> None:
    """The version before it stays in place and has no errors."""
    watched.add("aging", "K8sAzureV1AlertsAging")
    watched.wait_in_sync()
    watched.add("aging", "K8sAzureV1AlertsAging", DOES_NOT_COMPILE)
    becomes(leader, "members_failed", 1)

    watched.assert_fires(leader, "AzpolicyTemplateFailed")


def test_a_constraint_that_the_api_server_refuses_is_a_failed_member(watched: Watched, leader: Operator) -> None:
    # A rule in CEL is the API server's alone to judge.
    full = {"type": "array", "maxItems": 9, "items": {"type": "string"}}
    full["x-kubernetes-validations"] = [{"rule": "self.size() > 5", "message": "too few"}]
    watched.add("invalid", "K8sAzureV1AlertsInvalid", schema={"labels": full})
    becomes(leader, "members_failed", 1)

    watched.assert_fires(leader, "AzpolicyMemberFailed")


def test_a_function_that_is_not_known_is_an_unresolved_member(watched: Watched, leader: Operator) -> None:
    watched.assign("unknown", labels="[unknown('function')]")
    watched.ask_sync()
    becomes(leader, "members_unresolved", 1)

    watched.assert_fires(leader, "AzpolicyMemberUnresolved")


def test_deletions_over_the_limit_are_a_problem(watched: Watched, leader: Operator) -> None:
    for name in MANY:
        watched.assign(name)
    watched.wait_in_sync()
    # Azure neither lists them nor answers that they are gone: nothing proves the deletions.
    watched.arm.fail(FaultKind.FORBIDDEN, r"policyAssignments/many-\d", times=EVER)
    for name in MANY:
        watched.unassign(name)
    watched.ask_sync()
    becomes(leader, "problems", len(MANY))

    watched.assert_fires(leader, "AzpolicyProblem")


# --- drift -----------------------------------------------------------------------------------------------------------


def test_three_edits_of_one_object_are_drift_that_repeats_and_the_alert_names_it(
    watched: Watched, leader: Operator
) -> None:
    before = page(leader)
    name = watched.repaired(3)

    watched.assert_fires(leader, "AzpolicyDriftRepeats", before=before, kind=KIND, name=name)


def test_a_rival_that_does_not_let_go_is_a_fight(watched: Watched, leader: Operator) -> None:
    name = watched.repaired(5)
    becomes(leader, "fights", 1)

    scraped = [Scraped(TARGET, [(page(leader), MINUTES)])]
    drift = {"alertname": "AzpolicyDriftRepeats", "kind": KIND, "name": name}
    both = [{"severity": "warning", **TARGET, **each} for each in ({"alertname": "AzpolicyFight"}, drift)]
    assert_firing(watched.rules, scraped, *both)

"""The operator as an administrator has it: installed by the chart, run as its ServiceAccount, seen with kubectl."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.azure.faults import FaultKind
from tests.cluster.azpolicy import TEMPLATES, all_constraints, constraints_of, edit, managed, pod, refusal
from tests.cluster.deployed import ASSIGNED, KIND, SYNC, Deployed
from tests.cluster.harness import eventually

EVER: Final = 1_000_000
AUDITS: Final = 3


def kubectl(deployed: Deployed, *arguments: str) -> list[list[str]]:
    """A table that kubectl prints, a row a list, its header first."""
    rows = deployed.cluster.kubectl(*arguments).stdout.splitlines()
    return [row.split() for row in rows]


# --- what kubectl shows ----------------------------------------------------------------------------------------------


def test_after_an_install_kubectl_says_what_is_enforced_and_why_the_rest_is_not(deployed: Deployed) -> None:
    deployed.assign("off", effect="Disabled")
    deployed.snapshot.assign("broken", deployed.label, labels="[unknown('function')]")
    deployed.publish()
    with deployed.replica():
        deployed.wait_in_sync()

        header, sync = kubectl(deployed, "get", "policysyncs")
        assert header[:6] == ["NAME", "READY", "REASON", "ENFORCED", "NOT", "APPLIED"]
        assert sync[:7] == ["default", "True", "InSyncButUnresolved", "2", "1", "1", "0"]
        policies = deployed.assigned()
        outcomes = {
            name: (each["status"]["outcome"], each["status"].get("reason", "")) for name, each in policies.items()
        }
        assert outcomes == {
            "one": ("Enforced", ""),
            "two": ("Enforced", ""),
            "off": ("NotApplied", "Disabled"),
            "broken": ("Unresolved", "Parameter"),
        }
        one = policies["one"]["status"]
        assert (one["effect"], one["enforcementAction"], one["template"]["source"]) == ("deny", "deny", "mirror")
        assert [each["kind"] for each in one["objects"]] == ["ConstraintTemplate", KIND]
        rows = kubectl(deployed, "get", "assignedpolicies")
        assert rows[0][:6] == ["NAME", "POLICY", "EFFECT", "ACTION", "OUTCOME", "REASON"]
        assert len(rows) == 1 + 4
        selected = kubectl(deployed, "get", "apol", "--field-selector", "status.outcome=Unresolved", "-o", "name")
        assert len(selected) == 1


@pytest.mark.usefixtures("audits")
def test_violations_are_told_with_the_first_few(deployed: Deployed) -> None:
    deployed.cluster.request("POST", "/api/v1/namespaces/default/pods", pod(one="x"))
    deployed.assign("one", effect="Audit", labels=["one"])
    try:
        with deployed.replica():
            found = lambda: deployed.assigned()["one"]["status"]["violations"]["total"] == 1  # noqa: E731
            eventually(found, timeout=90, what="an audit to be told")
            [violation] = deployed.assigned()["one"]["status"]["violations"]["first"]
            assert (violation["kind"], violation["namespace"], violation["name"]) == ("Pod", "default", "tried")
            assert "label one is forbidden" in violation["message"]
    finally:
        deployed.cluster.request("DELETE", "/api/v1/namespaces/default/pods/tried?gracePeriodSeconds=0")


def test_a_repair_and_a_change_from_azure_are_one_event_each(deployed: Deployed) -> None:
    with deployed.replica():
        before = deployed.wait_in_sync()
        name = deployed.weaken("somebodys-tool").rpartition("/")[2]
        deployed.back(before)
        [repaired] = eventually(lambda: deployed.events(name, "DriftRepaired"), what="an Event about the repair")
        assert repaired["note"] == "restored: spec.enforcementAction dryrun -> deny; changed by: somebodys-tool"
        assert repaired["type"] == "Warning"

        deployed.assign("one", labels=["other"])
        deployed.ask_sync()
        changed = {live["metadata"]["name"] for live in all_constraints(deployed.cluster).values()}
        eventually(lambda: any(deployed.events(each, "Updated") for each in changed), what="an Event about the change")

        described = deployed.cluster.kubectl("describe", KIND, name).stdout
        assert "DriftRepaired" in described
        changes = deployed.sync()["status"]["lastChanges"]
        assert [(each["action"], each["cause"]) for each in changes[:2]] == [
            ("replaced", "azure"),
            ("replaced", "drift"),
        ]
        assert changes[1]["editor"] == "somebodys-tool"


@pytest.mark.usefixtures("audits")
def test_nothing_is_written_while_nothing_happens_status_included(deployed: Deployed) -> None:
    with deployed.replica() as operator:
        deployed.wait_in_sync()
        eventually(lambda: "a probe was denied" in deployed.gatekeeper(), what="a denied probe")
        deployed.cluster.wait_for_audit()
        operator.wait_syncs(2)
        mark, sync, policies = deployed.cluster.audit_mark(), deployed.sync(), deployed.cluster.get(ASSIGNED)

        for _ in range(AUDITS):
            deployed.cluster.wait_for_audit()
        operator.wait_syncs(5)

        assert deployed.writes(mark) == []
        assert deployed.sync() == sync
        assert deployed.cluster.get(ASSIGNED)["items"] == policies["items"]


@pytest.mark.usefixtures("audits")
def test_an_edited_or_deleted_report_is_restored_at_the_next_sync(deployed: Deployed) -> None:
    with deployed.replica():
        deployed.wait_in_sync()
        # An audit adds to the reports: one that comes later would make them other than they were.
        audited = lambda: all("violations" in each["status"] for each in deployed.assigned().values())  # noqa: E731
        eventually(audited, timeout=90, what="an audit to be told")
        before = {name: each["status"] for name, each in deployed.assigned().items()}
        one, two = (each["metadata"]["name"] for each in deployed.assigned().values())

        edit(deployed.cluster, f"{ASSIGNED}/{one}", lambda live: live["status"].update(outcome="NotApplied"))
        deployed.cluster.request("DELETE", f"{ASSIGNED}/{two}")
        deployed.cluster.request("DELETE", SYNC)

        restored = lambda: {name: each["status"] for name, each in deployed.assigned().items()} == before  # noqa: E731
        eventually(restored, what="the reports to be as they were")
        deployed.wait_for("Ready", "True", "InSync")


# --- Azure away ------------------------------------------------------------------------------------------------------


def test_a_restart_while_azure_is_away_still_repairs_drift(deployed: Deployed) -> None:
    with deployed.replica():
        before = deployed.wait_in_sync()
    deployed.arm.fail(FaultKind.SERVER_ERROR, ".", times=EVER)
    path = deployed.weaken()
    deployed.cluster.request("DELETE", f"{TEMPLATES}/{KIND.lower()}")

    with deployed.replica("azpolicy-1") as operator:
        deployed.back(before)
        deployed.wait_for("Ready", "False", "SourceUnreadable")
        assert "the last good state, kept in the cluster, is enforced" in operator.text
        deployed.weaken()
        deployed.back(before)
        assert operator.metric("azpolicy_last_good_sync_age_seconds") > 0

        deployed.arm.heal()
        deployed.wait_for("Ready", "True", "InSync", timeout=120)
        assert path.rpartition("/")[2] in operator.text


def test_a_restart_while_azure_keeps_it_waiting_repairs_drift_and_is_no_good_sync(deployed: Deployed) -> None:
    with deployed.replica() as operator:
        before = deployed.wait_in_sync()
        good = operator.metric("azpolicy_last_good_sync_timestamp_seconds")
        assert operator.stop() == 0
    deployed.arm.fail(FaultKind.SLOW, ".", times=EVER)
    deployed.weaken()

    with deployed.replica("azpolicy-1") as operator:
        deployed.back(before)
        operator.wait_log("the source does not answer: the last good state, kept in the cluster, is enforced")
        deployed.wait_for("Ready", "False", "SourceUnreadable")
        assert operator.metric("azpolicy_last_good_sync_timestamp_seconds") <= good + 10


def test_the_age_of_the_last_good_sync_outlives_a_restart(deployed: Deployed) -> None:
    with deployed.replica() as first:
        deployed.wait_in_sync()
        good = first.metric("azpolicy_last_good_sync_timestamp_seconds")
        assert first.stop() == 0
    deployed.arm.fail(FaultKind.FORBIDDEN, ".", times=EVER)

    with deployed.replica("azpolicy-1") as second:
        deployed.wait_for("Ready", "False", "SourceUnreadable")
        carried = second.metric("azpolicy_last_good_sync_timestamp_seconds")
        assert good - 10 <= carried <= good + 10


# --- steering --------------------------------------------------------------------------------------------------------


def in_future(**distance: float) -> str:
    return (datetime.now(UTC) + timedelta(**distance)).isoformat()


def test_while_suspended_it_reads_and_reports_and_writes_nothing_then_resumes_by_itself(deployed: Deployed) -> None:
    with deployed.replica() as operator:
        before = deployed.wait_in_sync()
        deployed.patch({"spec": {"suspend": {"until": in_future(hours=1), "reason": "an upgrade"}}})
        deployed.wait_for("Suspended", "True")
        mark = deployed.cluster.audit_mark()
        deployed.assign("three")
        deployed.weaken()
        deployed.wait_for("Ready", "False", "Suspended")
        operator.wait_syncs(2)

        assert "an upgrade" in str(deployed.sync()["status"]["conditions"])
        assert deployed.assigned()["three"]["status"]["outcome"] == "Planned"
        assert {event.group for event in deployed.writes(mark)} <= {"azpolicy.dev"}
        assert deployed.made() == {"one", "two"}

        deployed.patch({"spec": {"suspend": {"until": in_future(seconds=3)}}})
        eventually(lambda: deployed.made() == {"one", "two", "three"}, what="the writes after the suspension's end")
        deployed.wait_for("Suspended", "False")
        eventually(lambda: before.items() <= managed(deployed.cluster).items(), what="the edit to be repaired")


def test_a_suspension_needs_an_end_and_there_is_one_policy_sync(deployed: Deployed) -> None:
    with deployed.replica():
        deployed.wait_in_sync()
        for spec, word in (
            ({"suspend": {"reason": "for ever"}}, "until"),
            ({"suspend": {"until": "tomorrow"}}, "date-time"),
            ({"interval": "5"}, "duration"),
            ({"source": {"kind": "Snapshot"}}, "path"),
            ({"cloud": "custom"}, "cloud"),
            ({"pruneLimit": 101}, "100"),
            ({"clusterId": "my-cluster"}, "clusterId"),
        ):
            status, answer = deployed.cluster.request("PATCH", SYNC, {"spec": spec})
            assert status == 422, spec
            assert word in answer["message"]
        other = {"apiVersion": "azpolicy.dev/v1alpha1", "kind": "PolicySync", "metadata": {"name": "other"}}
        status, answer = deployed.cluster.request("POST", SYNC.rpartition("/")[0], other)
        assert status == 422
        assert "its name is default" in answer["message"]


def test_a_requested_sync_polls_now_and_is_answered(deployed: Deployed) -> None:
    deployed.release.upgrade(deployed.values(interval=3600, resync=3600))
    with deployed.replica():
        deployed.wait_in_sync()
        deployed.assign("three")

        deployed.ask_sync(timeout=30)

        assert deployed.made() == {"one", "two", "three"}


def test_the_policy_syncs_settings_win_and_unusable_ones_stop_nothing(deployed: Deployed) -> None:
    deployed.release.upgrade(deployed.values(interval=3600, resync=3600))
    with deployed.replica() as operator:
        before = deployed.wait_in_sync()
        deployed.patch({"spec": {"interval": "1s"}})
        deployed.assign("three")
        eventually(lambda: deployed.made() == {"one", "two", "three"}, what="a poll by the new interval")
        assert operator.metric("azpolicy_poll_interval_seconds") == 1

        deployed.patch({"spec": {"source": {"kind": "Snapshot", "path": "/nowhere"}}})
        deployed.wait_for("Ready", "False", "SourceUnreadable")
        unusable = {"source": {"kind": "Azure", "path": None}, "templates": "http://not-https.example.com"}
        assert deployed.patch({"spec": unusable})
        deployed.wait_for("Stalled", "True", "InvalidSettings")
        deployed.weaken()
        eventually(lambda: before.items() <= managed(deployed.cluster).items(), what="the edit to be repaired")

        deployed.patch({"spec": {"source": None, "templates": None}})
        deployed.wait_for("Ready", "True", "InSync")
        assert operator.code is None


def test_refused_deletions_are_forced_once_by_their_digest(deployed: Deployed) -> None:
    names = [f"many-{number}" for number in range(10)]
    for name in names:
        deployed.assign(name)
    with deployed.replica():
        deployed.wait_in_sync()
        # Azure neither lists them nor answers that they are gone: nothing proves the deletions.
        deployed.arm.fail(FaultKind.FORBIDDEN, r"policyAssignments/many-\d", times=EVER)
        for name in names:
            deployed.unassign(name)
        deployed.wait_for("Ready", "False", "Problems")
        refused = deployed.sync()["status"]["refusedDeletions"]
        assert refused["count"] == len(names)

        deployed.patch({"metadata": {"annotations": {"azpolicy.dev/force-prune": "0" * 12}}})
        deployed.ask_sync()
        assert len(deployed.made()) == len(names) + 2
        deployed.patch({"metadata": {"annotations": {"azpolicy.dev/force-prune": refused["digest"]}}})

        eventually(lambda: deployed.made() == {"one", "two"}, what="the deletions")
        deployed.wait_for("Ready", "True", "InSync")
        assert deployed.sync()["status"]["lastForcedPrune"] == refused["digest"]


# --- dry run, upgrade, uninstall -------------------------------------------------------------------------------------


def test_a_dry_run_reports_what_it_would_do_with_rights_to_read_alone(deployed: Deployed) -> None:
    deployed.release.upgrade(deployed.values(dryRun=True))
    mark = deployed.cluster.audit_mark()
    with deployed.replica():
        deployed.wait_for("Ready", "False", "DryRun")
        eventually(lambda: set(deployed.assigned()) == {"one", "two"}, what="the reports")

        assert {each["status"]["outcome"] for each in deployed.assigned().values()} == {"Planned"}
        assert managed(deployed.cluster) == {}
        groups = {event.group for event in deployed.writes(mark) if event.code < 300}
        assert groups == {"azpolicy.dev"}


def test_an_upgrade_to_other_values_is_taken_over_without_a_gap(deployed: Deployed) -> None:
    with deployed.replica("old-0") as old:
        deployed.wait_in_sync()
        said = deployed.release.upgrade(deployed.values(excludeNamespaces=["excluded"], logLevel="debug"))
        assert "has been upgraded" in said
        with deployed.replica("new-0") as new:
            assert old.stop() == 0
            eventually(lambda: new.metric("azpolicy_leader") == 1, what="the new one to lead")
            excluded = lambda: all(  # noqa: E731
                "excluded" in live["spec"]["match"]["excludedNamespaces"]
                for live in constraints_of(deployed.cluster, KIND).values()
            )
            eventually(excluded, what="the new setting in every constraint")
            assert refusal(deployed.cluster, pod(one="x"))


def test_uninstalling_the_chart_leaves_enforcement_in_place(deployed: Deployed) -> None:
    with deployed.replica():
        before = deployed.wait_in_sync()
    eventually(lambda: refusal(deployed.cluster, pod(one="x")), what="a refused pod")

    deployed.release.uninstall()

    assert managed(deployed.cluster) == before
    assert refusal(deployed.cluster, pod(one="x"))
    assert deployed.sync()


def test_it_starts_again_under_an_allowed_images_policy_that_its_own_image_fails(deployed: Deployed) -> None:
    """The rule looks at every pod's image; the release's own namespace is left out of it."""
    rule = 'violation[{"msg": msg}] { input.review.object.spec.containers[_].image; msg := "no image is allowed" }'
    kind = "K8sAzureV1DeployedImages"
    images = deployed.snapshot.define("images", deployed.bundle.write("deployed-images/v1", kind, rule))
    deployed.publish()
    deployed.assign("images", images, labels=[])
    with deployed.replica():
        deployed.wait_in_sync()
        denied = lambda: "no image is allowed" in refusal(deployed.cluster, pod())  # noqa: E731
        eventually(denied, what="a pod elsewhere to be denied")
        template = deployed.release.deployment()["spec"]["template"]
        own: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "again", "labels": template["metadata"]["labels"]},
            "spec": template["spec"],
        }

        assert refusal(deployed.cluster, own, deployed.release.namespace) == ""


def test_gatekeeper_missing_or_not_asked_is_a_condition(deployed: Deployed) -> None:
    webhooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    path = f"{webhooks}/gatekeeper-validating-webhook-configuration"
    with deployed.replica() as operator:
        before = deployed.wait_in_sync()
        webhook = deployed.cluster.get(path)
        kept = {"name": webhook["metadata"]["name"], "labels": webhook["metadata"].get("labels", {})}
        deployed.cluster.request("DELETE", path)
        deployed.wait_for("GatekeeperReady", "False", "WebhookUnavailable")
        deployed.wait_for("Ready", "False", "WebhookUnavailable")
        assert operator.metric("azpolicy_gatekeeper_ready") == 0
        deployed.cluster.request("POST", webhooks, {**webhook, "metadata": kept})
        deployed.wait_for("GatekeeperReady", "True")

        deployed.cluster.uninstall_gatekeeper()
        deployed.wait_for("Ready", "False", "GatekeeperMissing")
        deployed.cluster.install_gatekeeper()
        deployed.back(before, timeout=90)
        deployed.wait_for("Ready", "True", "InSync", timeout=90)

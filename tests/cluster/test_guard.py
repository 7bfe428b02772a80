"""The guard on a real cluster: somebody deletes, changes or uninstalls Gatekeeper, and it comes back or stays away.

The webhook configurations are the ones at work here. The Deployments and the Service are those of Gatekeeper's own
manifest; no node runs their pods.
"""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.azure.standin import Standin
from tests.cluster.azpolicy import pod, refusal, wipe
from tests.cluster.deployed import Deployed
from tests.cluster.harness import TestCluster, eventually, tools

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.cluster.azpolicy import Operator

GUARDED: Final = {"guard": {"enabled": True}}
SPACE: Final = "/api/v1/namespaces/gatekeeper-system"
HOOKS: Final = "/apis/admissionregistration.k8s.io/v1"
COLLECTIONS: Final = {
    "Service": f"{SPACE}/services",
    "Deployment": "/apis/apps/v1/namespaces/gatekeeper-system/deployments",
}
VALIDATING: Final = f"{HOOKS}/validatingwebhookconfigurations/gatekeeper-validating-webhook-configuration"
MUTATING: Final = f"{HOOKS}/mutatingwebhookconfigurations/gatekeeper-mutating-webhook-configuration"
AUDIT: Final = f"{COLLECTIONS['Deployment']}/gatekeeper-audit"
MANAGER: Final = f"{COLLECTIONS['Deployment']}/gatekeeper-controller-manager"
SERVICE: Final = f"{COLLECTIONS['Service']}/gatekeeper-webhook-service"
PARTS: Final = (SERVICE, AUDIT, MANAGER, VALIDATING, MUTATING)
ACCOUNT: Final = f"{SPACE}/serviceaccounts/gatekeeper-admin"
KINDS: Final = {"services", "deployments", "validatingwebhookconfigurations", "mutatingwebhookconfigurations"}
NAME: Final = "azure-policy-sync-gatekeeper"


class World(Deployed):
    """A release with the guard, and Gatekeeper with the parts that it has elsewhere."""

    def __init__(self, cluster: TestCluster, arm: Standin, folder: Path) -> None:
        super().__init__(cluster, arm, folder, **GUARDED)
        self.assign("one")
        self.kept = f"/api/v1/namespaces/{self.release.namespace}/configmaps/{NAME}"
        self.install()

    def install(self) -> None:
        """Makes what the harness leaves out of Gatekeeper's manifest, as its administrator does."""
        self.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(_manifests()))

    def remove(self) -> None:
        """Takes that away again."""
        for path in PARTS[:3]:
            self.cluster.request("DELETE", path)
        eventually(lambda: not any(map(self.there, PARTS[:3])), what="the parts to go")

    def there(self, path: str) -> bool:
        """Whether something is at a path."""
        return self.cluster.request("GET", path)[0] == 200

    def shapes(self, *paths: str) -> dict[str, Any]:
        """The parts as their administrator wants them; those that are not there left out."""
        return {path: _shape(self.cluster.get(path)) for path in paths or PARTS if self.there(path)}

    def remembered(self) -> str:
        """What the guard has kept."""
        status, live = self.cluster.request("GET", self.kept)
        return str(live["data"]["objects.json"]) if status == 200 else ""

    def wait_guarded(self, *words: str) -> None:
        """Waits for every part, and these words, to be remembered."""
        wanted = [path.rpartition("/")[2] for path in PARTS] + list(words)
        eventually(lambda: all(word in self.remembered() for word in wanted), what=f"{wanted} to be remembered")

    def mended(self, mark: int) -> list[tuple[str, str]]:
        """What the operator wrote of Gatekeeper's own parts since an audit mark."""
        return [(event.verb, event.resource) for event in self.writes(mark) if event.resource in KINDS]

    def gone(self, *paths: str) -> None:
        """Somebody deletes parts, one after the other."""
        for path in paths:
            status, answer = self.cluster.request("DELETE", path)
            assert status in {200, 202}, answer


def _manifests() -> list[dict[str, Any]]:
    documents = yaml.load_all(tools.gatekeeper_manifest().read_text(), Loader=yaml.CSafeLoader)
    return [each for each in documents if each["kind"] in COLLECTIONS]


def _shape(live: Mapping[str, Any]) -> dict[str, Any]:
    """Without what the server and its controllers write."""
    metadata = {key: live["metadata"].get(key, {}) for key in ("name", "labels", "annotations")}
    metadata["annotations"].pop("deployment.kubernetes.io/revision", None)
    spec = {key: value for key, value in live.get("spec", {}).items() if not key.startswith("clusterIP")}
    return {"metadata": metadata, "spec": spec, "webhooks": live.get("webhooks")}


@pytest.fixture(scope="module")
def world(cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All parts are there, and no replica runs; a test leaves it so."""
    with Standin() as arm:
        made = World(cluster, arm, tmp_path_factory.mktemp("guard"))
        yield made
        made.release.remove()
        made.remove()
        wipe(cluster)


@pytest.fixture
def operator(world: World) -> Iterator[Operator]:
    """A replica that has seen every part: nothing was remembered before."""
    world.cluster.request("DELETE", world.kept)
    with world.replica() as running:
        world.wait_in_sync()
        world.wait_guarded()
        yield running


# --- what is undone --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.rpartition("/")[2])
def test_a_part_that_was_deleted_is_back_as_it_was(world: World, operator: Operator, path: str) -> None:
    before, kind = world.shapes(), world.cluster.get(path)["kind"]
    name = f"{kind}/{path.rpartition('/')[2]}"
    deleted = datetime.now(UTC)

    world.gone(path)

    eventually(lambda: world.there(path), what=f"{name} to be back")
    print(f"\n{name} was back after {(datetime.now(UTC) - deleted).total_seconds():.1f} s")
    assert world.shapes() == before
    operator.wait_log(f"restored {name} of Gatekeeper: it was deleted")
    assert operator.metric("azpolicy_gatekeeper_restored_total", kind=kind) == 1
    note = f"{name} of Gatekeeper is back: it was deleted"
    told = lambda: any(each["note"] == note for each in world.events("default", "GatekeeperRestored"))  # noqa: E731
    eventually(told, what="an Event")


def test_everything_deleted_at_once_is_back_and_denies_again(world: World, operator: Operator) -> None:
    before = world.shapes()
    eventually(lambda: refusal(world.cluster, pod(one="x")), what="a pod to be denied")

    world.gone(*PARTS)
    eventually(lambda: not refusal(world.cluster, pod(one="x")), what="a pod to be admitted")

    eventually(lambda: world.shapes() == before, what="everything to be back")
    eventually(lambda: refusal(world.cluster, pod(one="x")), what="a pod to be denied")
    assert operator.metric("azpolicy_gatekeeper_restored_total") == len(PARTS)


def test_webhooks_that_were_taken_out_are_put_back(world: World, operator: Operator) -> None:
    before, mark = world.shapes(), world.cluster.audit_mark()

    assert world.cluster.request("PATCH", VALIDATING, {"webhooks": []})[0] == 200

    eventually(lambda: world.shapes() == before, what="the webhooks to be back")
    assert world.mended(mark) == [("update", "validatingwebhookconfigurations")]
    operator.wait_log("its webhooks were removed")


def test_what_was_deleted_while_no_operator_ran_is_back_after_its_start(world: World) -> None:
    with world.replica():
        world.wait_guarded()
    before = world.shapes()
    world.gone(*PARTS)

    with world.replica("azpolicy-1"):
        eventually(lambda: world.shapes() == before, what="everything to be back")


def test_webhooks_that_nobody_would_answer_stay_away_until_somebody_does(world: World, operator: Operator) -> None:
    """So that who gets rid of the webhooks of a Gatekeeper that is down is not locked out again."""
    with as_it_was(world, MUTATING):
        service = {"namespace": "gatekeeper-system", "name": "gatekeeper-webhook-service", "path": "/v1/mutate"}
        (hook,) = world.cluster.get(MUTATING)["webhooks"]
        called = {**hook, "clientConfig": {"service": service, "caBundle": hook["clientConfig"]["caBundle"]}}
        world.cluster.request("PATCH", MUTATING, {"webhooks": [{**called, "failurePolicy": "Ignore"}]})
        world.wait_guarded("/v1/mutate", '"failurePolicy": "Ignore"')
        before = world.shapes()

        world.gone(MUTATING)
        operator.wait_log("not restored yet: service gatekeeper-webhook-service has no ready endpoint")
        assert not world.there(MUTATING)

        with answered(world):
            eventually(lambda: world.shapes() == before, what="the webhook to be back")


@contextlib.contextmanager
def answered(world: World) -> Iterator[None]:
    """A pod that answers for the Service; no controller and no node makes one here."""
    labels = {"kubernetes.io/service-name": "gatekeeper-webhook-service"}
    slices = "/apis/discovery.k8s.io/v1/namespaces/gatekeeper-system/endpointslices"
    ready = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "answered", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": True}}],
        "ports": [],
    }
    status, answer = world.cluster.request("POST", slices, ready)
    assert status == 201, answer
    try:
        yield
    finally:
        world.cluster.request("DELETE", f"{slices}/answered")


@contextlib.contextmanager
def as_it_was(world: World, *paths: str) -> Iterator[None]:
    """Makes parts anew afterwards as they are now, and all that the manifest has."""
    before = {path: world.cluster.get(path) for path in paths}
    try:
        yield
    finally:
        for path, live in before.items():
            world.cluster.request("DELETE", path)
            kept = {key: live["metadata"].get(key) for key in ("name", "labels", "annotations")}
            status, answer = world.cluster.request("POST", path.rpartition("/")[0], {**live, "metadata": kept})
            assert status == 201, answer
        world.install()


# --- what is taken over ----------------------------------------------------------------------------------------------


def test_an_upgrade_is_not_fought_and_what_was_deleted_then_comes_back_in_its_new_form(
    world: World, operator: Operator
) -> None:
    upgraded = _manifests()
    for each in upgraded:
        each["metadata"]["labels"]["version"] = "next"
        if each["kind"] == "Deployment":
            (container,) = each["spec"]["template"]["spec"]["containers"]
            container["image"] = "openpolicyagent/gatekeeper:v9.9.9"
            container["args"].append("--of-the-next-version")
    mark = world.cluster.audit_mark()
    with as_it_was(world, VALIDATING):
        world.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(upgraded))
        world.cluster.request("PATCH", VALIDATING, {"metadata": {"labels": {"version": "next"}}})
        world.wait_guarded("v9.9.9", "--of-the-next-version")
        after = world.shapes()

        assert world.mended(mark) == []
        world.gone(AUDIT, VALIDATING, SERVICE)
        eventually(lambda: world.shapes() == after, what="the new form to be back")
        assert "v9.9.9" in str(after)
        assert operator.code is None


def test_a_replacement_by_its_administrator_is_left_to_him(world: World, operator: Operator) -> None:
    """Whoever is in the middle of it is not disturbed."""
    mark = world.cluster.audit_mark()
    with as_it_was(world):
        for each in _manifests():
            each["metadata"]["labels"]["replaced"] = "yes"
            world.gone(f"{COLLECTIONS[each['kind']]}/{each['metadata']['name']}")
            status, answer = world.cluster.request("POST", COLLECTIONS[each["kind"]], each)
            assert status == 201, answer

        eventually(lambda: world.remembered().count('"replaced": "yes"') == len(_manifests()), what="them to be seen")
        assert world.mended(mark) == []
        assert operator.code is None


# --- what is not undone ----------------------------------------------------------------------------------------------


def test_while_suspended_it_tells_and_mends_afterwards(world: World, operator: Operator) -> None:
    before = world.shapes()
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    world.patch({"spec": {"suspend": {"until": until, "reason": "an upgrade"}}})
    world.wait_for("Suspended", "True")
    mark = world.cluster.audit_mark()

    world.gone(AUDIT)
    operator.wait_log("Deployment/gatekeeper-audit of Gatekeeper was deleted or emptied; nothing is restored now")

    assert world.mended(mark) == []
    world.patch({"spec": {"suspend": None}})
    # Sooner than at the look that is due anyway.
    eventually(lambda: world.shapes() == before, timeout=15, what="the part to be back")


def test_a_dry_run_has_no_right_to_make_anything_and_tells(world: World) -> None:
    with world.replica():
        world.wait_guarded()
    before, remembered = world.shapes(), world.remembered()
    world.release.upgrade(world.values(dryRun=True))
    try:
        with world.replica("dry-0") as operator:
            world.gone(AUDIT)
            operator.wait_log("Deployment/gatekeeper-audit of Gatekeeper was deleted or emptied")
            assert not world.there(AUDIT)
            assert world.remembered() == remembered
            assert not any(allowed(world, *each) for each in RIGHTS)
    finally:
        world.release.upgrade(world.values())
    assert all(allowed(world, *each) for each in RIGHTS)
    with world.replica("wet-0"):
        eventually(lambda: world.shapes() == before, what="the part to be back")


RIGHTS: Final = (
    ("create", "deployments.apps", "gatekeeper-system"),
    ("create", "services", "gatekeeper-system"),
    ("create", "validatingwebhookconfigurations.admissionregistration.k8s.io", ""),
    ("create", "mutatingwebhookconfigurations.admissionregistration.k8s.io", ""),
    ("update", f"validatingwebhookconfigurations.admissionregistration.k8s.io/{VALIDATING.rpartition('/')[2]}", ""),
)


def allowed(world: World, verb: str, what: str, namespace: str) -> bool:
    """Whether the operator's account may do something."""
    where = ("--namespace", namespace) if namespace else ()
    return world.cluster.kubectl("auth", "can-i", verb, what, *where, f"--as={world.user}", check=False).returncode == 0


def test_switched_off_it_brings_nothing_back_and_forgets_and_has_no_rights(world: World) -> None:
    with world.replica():
        world.wait_guarded()
    world.release.upgrade(world.values(guard={"enabled": False}))
    try:
        with world.replica("unguarded-0"):
            world.wait_in_sync()
            eventually(lambda: not world.there(world.kept), what="what was remembered to be forgotten")
            world.gone(AUDIT)
        assert not any(allowed(world, *each) for each in RIGHTS)
        world.release.upgrade(world.values())
        mark = world.cluster.audit_mark()
        with world.replica("guarded-0") as operator:
            eventually(lambda: "gatekeeper-controller-manager" in world.remembered(), what="the rest to be remembered")
            assert "gatekeeper-audit" not in world.remembered()
            assert world.mended(mark) == []
            assert operator.code is None
    finally:
        world.release.upgrade(world.values())
        world.install()


def test_an_uninstallation_in_the_order_of_helm_is_not_fought(world: World, operator: Operator) -> None:
    """Everything but the kinds goes within moments, the account of the pods last."""
    mark = world.cluster.audit_mark()
    with as_it_was(world, ACCOUNT, VALIDATING, MUTATING):
        world.gone(VALIDATING, MUTATING, SERVICE, AUDIT, MANAGER, ACCOUNT)

        operator.wait_log("Gatekeeper is uninstalled (its service account gatekeeper-admin is gone)")
        eventually(lambda: json.loads(world.remembered()) == [], what="what was remembered to be forgotten")
        assert world.mended(mark) == []
        assert not any(map(world.there, PARTS))
    world.wait_guarded()


def test_an_uninstallation_with_its_namespace_and_kinds_is_not_fought_and_the_operator_lives(
    world: World, operator: Operator
) -> None:
    """In the order of its manifest, the namespace first."""
    before, mark = world.shapes(), world.cluster.audit_mark()

    world.gone(SPACE)
    world.cluster.uninstall_gatekeeper()
    world.wait_for("Ready", "False", "GatekeeperMissing")

    assert world.mended(mark) == []
    assert not any(map(world.there, PARTS))
    assert operator.code is None
    world.cluster.install_gatekeeper()
    # The rights in the namespace went with it.
    world.release.upgrade(world.values())
    world.install()
    world.wait_guarded()
    world.wait_for("Ready", "True", timeout=90)
    world.gone(AUDIT)
    eventually(lambda: world.shapes() == before, what="the part to be back")

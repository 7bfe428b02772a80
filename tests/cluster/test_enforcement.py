"""That nothing is denied does not look well: on a real cluster, whatever keeps Gatekeeper from being asked is told.

Each break is what somebody does who may edit Gatekeeper's webhook or its Config, and no policy. Every one of them lets
in a pod that a policy denies, which is checked first.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.azure.standin import Standin
from tests.cluster.azpolicy import Azpolicy, pod, refusal, run, wipe
from tests.cluster.deployed import Deployed
from tests.cluster.harness import TestCluster, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

HOOKS: Final = "/apis/admissionregistration.k8s.io/v1"
VALIDATING: Final = f"{HOOKS}/validatingwebhookconfigurations/gatekeeper-validating-webhook-configuration"
PROBE: Final = "/apis/constraints.gatekeeper.sh/v1beta1/azpolicyprobe/azpolicy-probe"
TEMPLATE: Final = "/apis/templates.gatekeeper.sh/v1/constrainttemplates/azpolicyprobe"
VALIDATION: Final = "validation.gatekeeper.sh"


def without_hook(hooks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in hooks if each["name"] != VALIDATION]


def changing(**fields: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda hooks: [{**each, **fields} if each["name"] == VALIDATION else each for each in hooks]


NARROW: Final = [
    {"apiGroups": [""], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"]}
]
NO_SUCH: Final = {"matchLabels": {"no": "such"}}
ABSENT: Final = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "DoesNotExist"}]}
BREAKS: Final[dict[str, tuple[Callable[[list[dict[str, Any]]], list[dict[str, Any]]], str, str]]] = {
    "the webhook taken out": (without_hook, "WebhookIncomplete", "has no webhook validation.gatekeeper.sh"),
    "its rules emptied": (changing(rules=[]), "WebhookIncomplete", "no rule of validation.gatekeeper.sh"),
    "its rules narrowed": (changing(rules=NARROW), "WebhookIncomplete", "do not cover CREATE of Pod"),
    "a selector that contradicts itself": (changing(namespaceSelector=ABSENT), "WebhookIncomplete", "selects nothing"),
    "a selector that nothing fits": (changing(namespaceSelector=NO_SUCH), "NotEnforcing", "fits no namespace"),
    "objects selected": (changing(objectSelector=NO_SUCH), "WebhookIncomplete", "leaves out every object"),
    "conditions that nothing fits": (
        changing(matchConditions=[{"name": "never", "expression": "false"}]),
        "NotEnforcing",
        "was admitted",
    ),
    "another address that nobody answers": (
        changing(failurePolicy="Ignore", clientConfig={"url": "https://127.0.0.1:1/v1/admit"}),
        "NotEnforcing",
        "was admitted",
    ),
}


@pytest.fixture(scope="module")
def world(cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A release that probes, and a policy that denies pods; no replica runs."""
    with Standin() as arm:
        made = Deployed(cluster, arm, tmp_path_factory.mktemp("enforcement"))
        made.assign("one")
        yield made
        made.release.remove()
        wipe(cluster)


@contextlib.contextmanager
def mended(world: Deployed) -> Iterator[None]:
    """Makes the webhooks again as they are now, whatever happens in the block."""
    hooks = world.cluster.get(VALIDATING)["webhooks"]
    try:
        yield
    finally:
        assert world.cluster.request("PATCH", VALIDATING, {"webhooks": hooks})[0] == 200
        eventually(lambda: refusal(world.cluster, pod(one="x")), what="a pod to be denied")


def broken(world: Deployed, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Changes the webhooks until a pod passes that a policy denies."""
    hooks = change(world.cluster.get(VALIDATING)["webhooks"])
    status, answer = world.cluster.request("PATCH", VALIDATING, {"webhooks": hooks})
    assert status == 200, answer
    eventually(lambda: not refusal(world.cluster, pod(one="x")), what="a pod to be admitted")


def wait_message(world: Deployed, words: str, why: str = "") -> None:
    """Waits until the condition says so."""
    eventually(lambda: words in world.gatekeeper(), timeout=60, what=f"{words!r} {why}")


def wait_proven(world: Deployed, why: str = "") -> None:
    """Waits until a probe was denied."""
    wait_message(world, "a probe was denied", why)


def test_whatever_keeps_gatekeeper_from_denying_is_told_until_it_is_mended(world: Deployed) -> None:
    with world.replica() as operator:
        world.wait_in_sync()
        wait_proven(world)
        for name, (change, reason, words) in BREAKS.items():
            with mended(world):
                broken(world, change)
                world.wait_for("GatekeeperReady", "False", reason)
                wait_message(world, words, f"for {name}")
                world.wait_for("Ready", "False", reason)
                assert operator.metric("azpolicy_gatekeeper_ready") == 0
            world.wait_for("GatekeeperReady", "True")
            wait_proven(world, f"after {name}")
        world.wait_for("Ready", "True")


def test_the_failure_policy_is_told_and_is_no_fault(world: Deployed) -> None:
    with world.replica(), mended(world):
        world.wait_in_sync()
        for policy in ("Ignore", "Fail"):
            hooks = changing(failurePolicy=policy)(world.cluster.get(VALIDATING)["webhooks"])
            world.cluster.request("PATCH", VALIDATING, {"webhooks": hooks})
            wait_message(world, f"failurePolicy {policy}")
        world.wait_for("GatekeeperReady", "True")


def test_a_config_that_exempts_every_namespace_is_told_and_one_that_exempts_the_probes_is_no_alarm(
    world: Deployed,
) -> None:
    for names, ready, words in (
        (["*"], "False", "was admitted"),
        ([world.release.namespace], "True", "cannot be probed"),
    ):
        with world.exempting(*names), world.replica():
            world.ask_sync()
            wait_message(world, words)
            world.wait_for("GatekeeperReady", ready)
    with world.replica():
        world.wait_in_sync()
        wait_proven(world)


def test_settled_it_probes_and_writes_nothing_and_switched_off_it_leaves_nothing(world: Deployed) -> None:
    with world.replica() as operator:
        world.wait_in_sync()
        wait_proven(world)
        mark = world.cluster.audit_mark()
        operator.wait_syncs(3)
        assert world.writes(mark) == []
        assert len(probes(world, mark)) <= 1
        assert {"one"} == world.made()

        world.patch({"spec": {"probe": False}})
        gone = lambda: [world.cluster.request("GET", path)[0] for path in (PROBE, TEMPLATE)] == [404, 404]  # noqa: E731
        eventually(gone, what="the probe's objects to go")
        world.patch({"spec": {"probe": None}})
        wait_proven(world)


def probes(world: Deployed, mark: int) -> list[Any]:
    """The dry runs of ConfigMaps since an audit mark."""
    found = world.cluster.writes(world.user, mark)
    return [event for event in found if event.dry_run and event.resource == "configmaps"]


def test_others_leave_the_probe_alone_and_are_told_what_is_known(world: Deployed) -> None:
    others = Azpolicy(world.cluster, world.snapshot.folder, user="somebody", templates=world.bundle.folder)
    with world.replica():
        world.wait_in_sync()
        wait_proven(world)

        assert others.plan("--exclude-namespace", world.release.namespace).changes() == {}
        told = run("status", "--kubeconfig", others.kubeconfig).out
        assert "failurePolicy Fail: requests are refused while it does not answer" in told
        assert "a probe was denied" in told


# --- with the guard --------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(world: Deployed) -> Iterator[Deployed]:
    """With the guard on, and a replica that remembers the webhooks as they are."""
    world.release.upgrade(world.values(guard={"enabled": True}))
    kept = f"/api/v1/namespaces/{world.release.namespace}/configmaps/azure-policy-sync-gatekeeper"
    world.cluster.request("DELETE", kept)
    try:
        with world.replica():
            world.wait_in_sync()
            eventually(lambda: VALIDATION in remembered(world), what="the webhooks to be remembered")
            wait_proven(world)
            yield world
    finally:
        world.release.upgrade(world.values())


def remembered(world: Deployed) -> str:
    """What the guard keeps."""
    path = f"/api/v1/namespaces/{world.release.namespace}/configmaps/azure-policy-sync-gatekeeper"
    status, live = world.cluster.request("GET", path)
    return str(live["data"]["objects.json"]) if status == 200 else ""


def asked(configuration: Mapping[str, Any]) -> list[Any]:
    return list(configuration["webhooks"])


def test_the_guard_restores_what_no_longer_enforces_and_never_remembers_it(guarded: Deployed) -> None:
    good, kept = asked(guarded.cluster.get(VALIDATING)), remembered(guarded)
    for name, (change, _, _) in BREAKS.items():
        with mended(guarded):
            broken(guarded, change)
            eventually(
                lambda: asked(guarded.cluster.get(VALIDATING)) == good, timeout=90, what=f"the webhooks after {name}"
            )
            eventually(lambda: refusal(guarded.cluster, pod(one="x")), what=f"a denied pod after {name}")
        assert remembered(guarded) == kept


def test_the_guard_takes_over_a_change_that_is_seen_to_enforce(guarded: Deployed) -> None:
    with mended(guarded):
        hooks = changing(timeoutSeconds=7)(guarded.cluster.get(VALIDATING)["webhooks"])
        guarded.cluster.request("PATCH", VALIDATING, {"webhooks": hooks})
        eventually(lambda: '"timeoutSeconds": 7' in remembered(guarded), what="the change to be remembered")
        assert asked(guarded.cluster.get(VALIDATING)) == hooks

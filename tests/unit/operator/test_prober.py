"""Enforcement is proven by a dry run that must be denied, and doubted when it was admitted again and again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.client import Response
from controller.cluster.health import WEBHOOK_PATH, GatekeeperHealth, GatekeeperProblem
from controller.gatekeeper.probe import CONSTRAINT_REF, REFS, TEMPLATE_REF, probe_objects
from controller.operator.prober import CONFIG, PROBE_SECONDS, SURE, Prober
from controller.report.conditions import Mode
from tests.unit.cluster_builders import MARKS, constraint, desired_state, template
from tests.unit.fake_api import FakeApi, status
from tests.unit.operator.scripted import NAMESPACE, SETTINGS, Operator, ScriptedSource, cluster, until, webhook
from tests.unit.virtual_time import clock, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.kinds import LiveObject

WELL: Final = GatekeeperHealth(message="failurePolicy Ignore", webhook="one")
DENIED: Final = status(
    403, 'admission webhook "validation.gatekeeper.sh" denied the request: [azpolicy-probe] no', "Forbidden"
)
ADMITTED: Final = Response(201, {"kind": "ConfigMap"})
LOOK_SECONDS: Final = 30.0


class Probed:
    """A prober that looks twice a minute at a Gatekeeper which answers as a test says."""

    def __init__(self, hook: Mapping[str, Any] | None = None) -> None:
        self.api = FakeApi()
        self.api.place(WEBHOOK_PATH, {"kind": "ValidatingWebhookConfiguration", "webhooks": [hook or webhook()]})
        self.prober = Prober(self.api, NAMESPACE)
        self.prober.seen(CONSTRAINT_REF, made(self.api))

    async def look(self, answer: Response, health: GatekeeperHealth = WELL, *, times: int = 1) -> GatekeeperHealth:
        """The last of several looks, each after the usual time."""
        for _ in range(times):
            await asyncio.sleep(LOOK_SECONDS)
            self.api._steps.clear()
            self.api.at("POST", "/configmaps", answer)
            found = await self.prober.look(health)
        return found

    @property
    def probes(self) -> int:
        """How many there were."""
        asked = [call for call in self.api.calls if call.method == "POST"]
        assert all(call.query["dryRun"] == "All" and NAMESPACE in call.path for call in asked)
        return len(asked)


def made(api: FakeApi) -> LiveObject:
    """The probe's constraint in the cluster, taken up by Gatekeeper."""
    probe = probe_objects(MARKS, NAMESPACE)[1]
    api.place(f"/apis/{probe.manifest['apiVersion']}/azpolicyprobe/{probe.ref.name}", probe.manifest)
    found = api.found(probe.ref)
    by_pod = [{"observedGeneration": 1, "constraintUID": found.uid, "enforced": True}]
    return replace(found, manifest={**found.manifest, "status": {"byPod": by_pod}})


@in_virtual_time
async def test_a_denied_probe_proves_enforcement_and_there_is_one_a_minute() -> None:
    probed = Probed()
    assert (await probed.look(DENIED)).message == WELL.message
    found = await probed.look(DENIED)
    began, before = clock(), probed.probes

    assert found == replace(WELL, message="failurePolicy Ignore; a probe was denied, so constraints are enforced")
    assert await probed.look(DENIED, times=120) == found
    assert probed.probes - before == round((clock() - began) / PROBE_SECONDS) == 60
    assert probed.prober.proof.webhook == "one"


@in_virtual_time
async def test_probes_that_are_admitted_again_and_again_are_a_problem_until_one_is_denied() -> None:
    probed = Probed()
    await probed.look(DENIED, times=2)

    found = [await probed.look(ADMITTED) for _ in range(SURE + 1)]

    assert [each.problem for each in found] == [None] * SURE + [GatekeeperProblem.NOT_ENFORCING]
    assert "matchConditions" in found[-1].message
    assert (await probed.look(ADMITTED, replace(WELL, webhook="two"))).problem is GatekeeperProblem.NOT_ENFORCING
    assert (await probed.look(DENIED, replace(WELL, webhook="two"))).problem is None


@in_virtual_time
async def test_an_admitted_probe_amid_denied_ones_is_none() -> None:
    probed = Probed()

    for _ in range(10):
        assert (await probed.look(ADMITTED, times=SURE - 1)).problem is None
        assert (await probed.look(DENIED)).problem is None


@in_virtual_time
async def test_what_the_api_server_has_already_counts_as_admitted() -> None:
    probed = Probed()

    found = await probed.look(status(409, "configmaps azpolicy-probe already exists", "AlreadyExists"), times=SURE + 1)

    assert found.problem is GatekeeperProblem.NOT_ENFORCING


@in_virtual_time
async def test_while_gatekeeper_has_not_taken_the_constraint_up_nothing_is_concluded() -> None:
    probed = Probed()
    for live in (None, replace(made(probed.api), manifest={**made(probed.api).manifest, "status": {}})):
        probed.prober.seen(CONSTRAINT_REF, live)
        assert await probed.look(ADMITTED, times=10) == WELL
    probed.prober.seen(TEMPLATE_REF, made(probed.api))
    assert await probed.look(ADMITTED, times=10) == WELL


@in_virtual_time
async def test_a_proof_ends_with_the_constraint_that_it_is_of() -> None:
    probed = Probed()
    assert "a probe was denied" in (await probed.look(DENIED, times=2)).message
    probed.prober.seen(CONSTRAINT_REF, None)

    assert await probed.look(ADMITTED, times=2) == WELL


@in_virtual_time
async def test_a_changed_configuration_is_probed_before_the_minute_is_over_but_not_at_once() -> None:
    """The API servers take a moment to see it: an answer by the old one would prove the new one."""
    probed = Probed()
    await probed.look(DENIED, times=2)
    changed = replace(WELL, webhook="two")

    assert await probed.look(DENIED, changed) == changed
    assert probed.probes == 1
    await probed.look(DENIED, changed)
    assert (probed.probes, probed.prober.proof.webhook) == (2, "two")


@pytest.mark.parametrize(
    "refusal",
    [
        status(403, 'configmaps is forbidden: User "x" cannot create resource "configmaps"', "Forbidden"),
        status(403, 'admission webhook "other.example.com" denied the request: no', "Forbidden"),
        status(403, 'admission webhook "validation.gatekeeper.sh" denied the request: [another] no', "Forbidden"),
        status(404, 'namespaces "azpolicy-system" not found', "NotFound"),
    ],
    ids=["no right", "another webhook", "another constraint", "no namespace"],
)
def test_any_other_refusal_proves_nothing_and_is_told(refusal: Response) -> None:
    @in_virtual_time
    async def run() -> None:
        probed = Probed()
        found = await probed.look(refusal, times=10)
        assert found.problem is None
        assert f"enforcement could not be probed: {refusal.message}" in found.message
        assert probed.probes == 5

    run()


def config(*names: str, process: str = "*") -> dict[str, Any]:
    """Gatekeeper's Config that leaves namespaces out."""
    return {"kind": "Config", "spec": {"match": [{"excludedNamespaces": list(names), "processes": [process]}]}}


def namespaces(*names: str) -> Response:
    """A list of namespaces."""
    return Response(200, {"kind": "NamespaceList", "items": [{"metadata": {"name": name}} for name in names]})


@pytest.mark.parametrize(
    ("excluded", "listed", "words"),
    [
        pytest.param(config(NAMESPACE), namespaces("kube-system", "shop"), "Config excludes it", id="this one"),
        pytest.param(config("azpolicy-*"), namespaces("shop"), "Config excludes it", id="its like"),
        pytest.param(config(NAMESPACE), status(403, "forbidden", "Forbidden"), "Config excludes it", id="not told"),
        pytest.param(config("*"), namespaces("kube-system", "shop"), "", id="all"),
        pytest.param(config("azpolicy-*", "sh*"), namespaces("kube-system", "shop"), "", id="all that matter"),
        pytest.param(config("other"), namespaces("shop"), "", id="another"),
        pytest.param(config(NAMESPACE, process="audit"), namespaces("shop"), "", id="from audits alone"),
    ],
)
def test_where_the_namespace_is_exempt_and_others_are_not_nothing_is_concluded(
    excluded: Mapping[str, Any], listed: Response, words: str
) -> None:
    @in_virtual_time
    async def run() -> None:
        probed = Probed()
        probed.api.seed(CONFIG, excluded)
        await probed.look(ADMITTED, times=SURE)
        probed.api._steps.clear()
        probed.api.at("GET", "/api/v1/namespaces", listed)
        probed.api.at("POST", "/configmaps", ADMITTED)
        found = await probed.prober.look(WELL)
        assert found.problem is (None if words else GatekeeperProblem.NOT_ENFORCING)
        assert words in found.message

    run()


@in_virtual_time
async def test_a_webhook_that_leaves_the_namespace_or_its_kind_out_cannot_be_probed() -> None:
    labelled = {"matchExpressions": [{"key": "admission.gatekeeper.sh/ignore", "operator": "DoesNotExist"}]}
    by_label = Probed(webhook(namespaceSelector=labelled))
    by_kind = Probed(webhook(rules=[{**webhook()["rules"][0], "resources": ["pods"]}]))

    # The API server in memory has no namespace that fits.
    assert "namespaceSelector leaves it out" in (await by_label.look(ADMITTED, times=SURE + 1)).message
    assert "rules do not cover ConfigMaps" in (await by_kind.look(ADMITTED, times=SURE + 1)).message


# --- in the operator -------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_probes_objects_are_made_restored_counted_nowhere_and_deleted_when_it_is_switched_off() -> None:
    api, desired = cluster(), desired_state(template(), constraint())
    probing = Operator(api, ScriptedSource(desired), replace(SETTINGS, probe=True))
    async with probing.running():
        await probing.in_sync(*desired.objects)
        await until(lambda: all(map(api.has, REFS)))
        assert probing.state.status.counts.objects == len(desired.objects)
        api.edit(CONSTRAINT_REF, enforcementAction="dryrun")
        await until(lambda: api.found(CONSTRAINT_REF).manifest["spec"]["enforcementAction"] == "deny")

    off = Operator(api, ScriptedSource(desired))
    async with off.running():
        await off.in_sync(*desired.objects)
        await until(lambda: not any(map(api.has, REFS)))
    assert all(api.has(each.ref) for each in desired.objects)


@in_virtual_time
async def test_what_no_probe_can_refuse_makes_ready_false() -> None:
    """The API server in memory has no admission: whatever it is asked for, it admits."""
    api, desired = cluster(), desired_state(template(), constraint())
    operator = Operator(api, ScriptedSource(desired), replace(SETTINGS, probe=True))
    async with operator.running():
        await operator.in_sync(*desired.objects)
        await until(lambda: operator.state.status.gatekeeper.problem is GatekeeperProblem.NOT_ENFORCING, seconds=180)
        assert operator.loops.proven(operator.state.status.gatekeeper.webhook) is False
        assert operator.loops.proven("another") is None


@in_virtual_time
async def test_without_probing_what_has_no_fault_is_taken_to_enforce() -> None:
    api, desired = cluster(), desired_state(template(), constraint())
    operator = Operator(api, ScriptedSource(desired))
    async with operator.running():
        await operator.in_sync(*desired.objects)
        await until(lambda: operator.state.status.gatekeeper.webhook)
        assert operator.loops.proven(operator.state.status.gatekeeper.webhook) is True
        assert not any(map(api.has, REFS))
        assert operator.state.mode is Mode.ENFORCE

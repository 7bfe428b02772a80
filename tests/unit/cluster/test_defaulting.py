"""Templates that differ by the server's defaults alone are told by the kind's own schema, and nothing else is."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.apply import Applier
from controller.cluster.changes import Keep, Replace
from controller.cluster.dry_run import DryRunCache
from controller.cluster.kinds import CRD_PATH, LiveObject
from controller.cluster.planner import Planner
from controller.cluster.prune import PruneLimit
from tests.unit.cluster_builders import MARKS, constraint, desired_state, live, template
from tests.unit.fake_api import FakeApi, status

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredObject

PATH: Final = f"{CRD_PATH}/constrainttemplates.templates.gatekeeper.sh"


def crd() -> dict[str, Any]:
    """Gatekeeper's, as far as it has defaults: `legacySchema` is true before v1."""

    def version(name: str, *, legacy: bool) -> dict[str, Any]:
        flag = {"type": "boolean", "default": legacy}
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        validation = {"type": "object", "default": {"legacySchema": legacy}}
        validation["properties"] = {"legacySchema": flag, "openAPIV3Schema": schema}
        inner = {"type": "object", "properties": {"validation": validation}}
        of_crd = {"type": "object", "properties": {"spec": inner}}
        spec = {"type": "object", "properties": {"crd": of_crd}}
        return {"name": name, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}

    versions = [version("v1", legacy=False), version("v1beta1", legacy=True)]
    return {"kind": "CustomResourceDefinition", "metadata": {"name": "x"}, "spec": {"versions": versions}}


def with_validation(wanted: DesiredObject, **validation: Any) -> LiveObject:
    """The live template with this `validation`."""
    found = live(wanted)
    manifest: Any = copy.deepcopy(dict(found.manifest))
    manifest["spec"]["crd"]["spec"]["validation"] = validation
    return replace(found, manifest=manifest)


def knowing(*objects: LiveObject) -> FakeApi:
    api = FakeApi()
    api.place(PATH, crd())
    for each in objects:
        api.put(each)
    return api


async def planned(api: FakeApi, *wanted: DesiredObject) -> list[type]:
    cache = DryRunCache()
    planner = Planner(api, Applier(api, MARKS, cache), cache, MARKS)
    plan, _ = await planner.full(desired_state(*wanted), PruneLimit())
    return [type(change) for change in plan.changes]


def dry_runs(api: FakeApi) -> int:
    return sum("dryRun" in call.query for call in api.calls)


@pytest.mark.parametrize(("version", "legacy"), [("v1", False), ("v1beta1", True)])
async def test_a_default_of_the_templates_version_is_no_difference_and_nobody_is_asked(
    version: str, *, legacy: bool
) -> None:
    wanted = template(version=version)
    api = knowing(with_validation(wanted, legacySchema=legacy))

    assert await planned(api, wanted) == [Keep]
    assert dry_runs(api) == 0


async def test_many_templates_cost_one_request() -> None:
    wanted = [template(f"K8sThing{number}") for number in range(20)]
    api = knowing(*(with_validation(each, legacySchema=False) for each in wanted))

    assert await planned(api, *wanted) == [Keep] * 20
    assert [call.path for call in api.calls].count(PATH) == 1
    assert dry_runs(api) == 0


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(with_validation(template(), legacySchema=True), id="not the default"),
        pytest.param(with_validation(template(rego="package edited"), legacySchema=False), id="another Rego"),
        pytest.param(with_validation(template(), legacySchema=None), id="null"),
        pytest.param(with_validation(template(), legacySchema=False, more=1), id="a field that is not desired"),
    ],
)
async def test_of_every_other_difference_the_server_is_asked(found: LiveObject) -> None:
    api = knowing(found)

    assert await planned(api, template()) == [Replace]
    assert dry_runs(api) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(status(403, "not allowed", "Forbidden"), id="it may not be read"),
        pytest.param(status(404, "not found", "NotFound"), id="it is not there"),
    ],
)
async def test_without_the_schema_the_server_is_asked(answer: Any) -> None:
    api = knowing(with_validation(template(), legacySchema=False))
    api.at("GET", PATH, answer=answer)

    await planned(api, template())

    assert dry_runs(api) == 1


async def test_a_schema_that_somebody_broke_explains_nothing() -> None:
    api = knowing(with_validation(template(), legacySchema=False))
    api.place(PATH, {"kind": "CustomResourceDefinition", "metadata": {"name": "x"}, "spec": {"versions": ["v1", {}]}})

    await planned(api, template())

    assert dry_runs(api) == 1


async def test_the_schema_is_not_read_where_no_template_is_asked_about() -> None:
    api = knowing(live(template()), live(constraint(), spec={"enforcementAction": "dryrun"}))

    assert await planned(api, template(), constraint()) == [Keep, Replace]

    assert PATH not in [call.path for call in api.calls]

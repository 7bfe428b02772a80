"""What Gatekeeper's status means: early, late, stale and wrong ones."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from controller.cluster.kinds import LiveObject
from controller.cluster.readiness import Broken, Pending, Ready, constraint_verdict, template_verdict
from tests.unit.cluster_builders import constraint, live, template

SCHEMA = {
    "properties": {"labels": {"items": {"properties": {"key": {"type": "string"}}}}, "limit": {"type": "integer"}}
}


def pod(*, uid: str | None = None, generation: int = 3, errors: Any = None, **more: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": "pod",
        "observedGeneration": generation,
        "templateUID": uid or "uid-k8sthing",
        **more,
    }
    return entry | ({"errors": errors} if errors is not None else {})


def made_template(by_pod: Any, *, schema: Any = SCHEMA) -> LiveObject:
    found = live(template(), generation=3)
    manifest: Any = copy.deepcopy(found.manifest)
    manifest["spec"]["crd"]["spec"]["validation"] = {"openAPIV3Schema": schema}
    return LiveObject(found.ref, {**manifest, "status": {"created": True, "byPod": by_pod}})


def crd(*, schema: Any = SCHEMA, version: str = "v1beta1", served: bool = True, **conditions: str) -> dict[str, Any]:
    properties = {"spec": {"properties": {"parameters": schema}}}
    said = {"Established": "True", **conditions}
    return {
        "metadata": {"name": "k8sthing.constraints.gatekeeper.sh"},
        "spec": {
            "versions": [
                {"name": version, "served": served, "schema": {"openAPIV3Schema": {"properties": properties}}},
            ]
        },
        "status": {"conditions": [{"type": kind, "status": status} for kind, status in said.items()]},
    }


def error(code: str, message: str = "why") -> dict[str, str]:
    return {"code": code, "message": message}


def test_a_template_is_ready_when_every_pod_and_its_crd_have_its_generation() -> None:
    assert template_verdict(made_template([pod(), pod()]), crd()) == Ready()


@pytest.mark.parametrize(
    "by_pod",
    [
        pytest.param(None, id="null"),
        pytest.param([], id="no pod"),
        pytest.param([pod(), pod(generation=2)], id="one pod behind"),
        pytest.param([pod(uid="earlier")], id="of an earlier object of the name"),
        pytest.param([pod(uid="earlier", errors=[error("ingest_error")])], id="errors of an earlier object"),
        pytest.param([pod(generation=2, errors=[error("ingest_error")])], id="errors of an earlier generation"),
    ],
)
def test_created_alone_does_not_make_a_template_ready(by_pod: Any) -> None:
    assert template_verdict(made_template(by_pod), crd()) == Pending("Gatekeeper has not accepted the template yet")


def test_a_template_without_a_status_is_not_ready() -> None:
    assert isinstance(template_verdict(live(template()), crd()), Pending)


@pytest.mark.parametrize("code", ["ingest_error", "parse_error", "rego_compile_error", "never_heard_of_it"])
def test_a_template_with_errors_is_broken_whatever_the_code(code: str) -> None:
    found = template_verdict(made_template([pod(), pod(errors=[error(code, "line 1:\n  no")])]), crd())

    assert found == Broken(f"{code}: line 1: no")


@pytest.mark.parametrize("code", ["create_error", "update_error"])
def test_gatekeepers_own_writes_may_yet_succeed(code: str) -> None:
    assert template_verdict(made_template([pod(errors=[error(code)])]), crd()) == Pending(f"{code}: why", passing=True)


def test_a_passing_error_beside_a_final_one_is_final() -> None:
    errors = [error("create_error"), error("ingest_error")]

    assert isinstance(template_verdict(made_template([pod(errors=errors)]), crd()), Broken)


def test_a_mere_warning_is_no_error() -> None:
    assert template_verdict(made_template([pod(errors=[error("operation_mismatch_warning")])]), crd()) == Ready()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        pytest.param(None, "does not exist yet", id="missing"),
        pytest.param(crd(Established="False"), "is not established yet", id="not established"),
        pytest.param(crd(Terminating="True"), "is being deleted", id="terminating"),
        pytest.param(
            {**crd(), "metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}}, "is being deleted", id="deleted"
        ),
        pytest.param({**crd(), "status": {}}, "is not established yet", id="without conditions"),
        pytest.param(crd(schema={"properties": {}}), "still has the old schema", id="old schema"),
        pytest.param(crd(served=False), "still has the old schema", id="version not served"),
        pytest.param(
            crd(schema={"properties": {"labels": {"items": {"properties": {}}}, "limit": {}}}),
            "still has the old schema",
            id="old schema inside a list",
        ),
    ],
)
def test_a_crd_that_lags_behind_makes_the_template_wait(found: Any, message: str) -> None:
    verdict = template_verdict(made_template([pod()]), found)

    assert verdict == Pending(f"its CustomResourceDefinition {message}")


def test_a_crd_may_say_more_than_its_template() -> None:
    more = {"properties": {**SCHEMA["properties"], "extra": {}}, "type": "object", "x-kubernetes-preserve": True}

    assert template_verdict(made_template([pod()]), crd(schema=more)) == Ready()


@pytest.mark.parametrize("schema", [None, {}, {"type": "object"}, {"properties": None}])
def test_a_template_without_parameters_needs_no_schema(schema: Any) -> None:
    assert template_verdict(made_template([pod()], schema=schema), crd(schema={})) == Ready()


def enforced(*, generation: int = 3, is_enforced: bool = True, **more: Any) -> dict[str, Any]:
    return {"id": "pod", "observedGeneration": generation, "enforced": is_enforced, **more}


def made_constraint(*by_pod: dict[str, Any]) -> LiveObject:
    found = live(constraint(), generation=3, uid="u")
    return LiveObject(found.ref, {**found.manifest, "status": {"byPod": list(by_pod) or None}})


def test_a_constraint_is_ready_when_every_pod_enforces_its_generation() -> None:
    assert constraint_verdict(made_constraint(enforced(constraintUID="u"), enforced())) == Ready()


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param((), id="no pod"),
        pytest.param((enforced(), enforced(generation=2)), id="one pod behind"),
        pytest.param((enforced(constraintUID="earlier"),), id="of an earlier object of the name"),
    ],
)
def test_a_constraint_that_a_pod_has_not_seen_is_not_enforced(entries: tuple[dict[str, Any], ...]) -> None:
    assert constraint_verdict(made_constraint(*entries)) == Pending("Gatekeeper has not accepted the constraint yet")


def test_a_constraint_that_one_pod_does_not_enforce_is_not_enforced() -> None:
    verdict = constraint_verdict(made_constraint(enforced(), enforced(is_enforced=False)))

    assert verdict == Pending("Gatekeeper does not enforce it yet")


def test_errors_of_a_constraint_that_is_not_enforced_are_told_and_may_pass() -> None:
    found = made_constraint(enforced(is_enforced=False, errors=[{"message": "no such kind"}]))

    assert constraint_verdict(found) == Pending("no such kind", passing=True)


def test_a_vap_that_is_not_supported_is_no_fault() -> None:
    points = [{"enforcementPoint": "vap.k8s.io", "state": "error", "message": "Rego"}]

    assert constraint_verdict(made_constraint(enforced(enforcementPointsStatus=points))) == Ready()

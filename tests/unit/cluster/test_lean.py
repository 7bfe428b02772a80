"""What is kept of an object that was read: nothing that a decision or a report needs is lost, and most of it goes."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.changed_by import changed_by
from controller.cluster.diff import differences
from controller.cluster.kinds import LiveObject, constraint_kind
from controller.cluster.lean import FIRST, Lean
from controller.cluster.ownership import ownership
from controller.gatekeeper.model import Role
from controller.gatekeeper.naming import FIELD_MANAGER
from controller.report.health import health_of
from tests.bench.simulated import VIOLATIONS, stored
from tests.unit.cluster_builders import KIND, MARKS, constraint, member
from tests.unit.fake_api import FakeApi

if TYPE_CHECKING:
    from collections.abc import Mapping

RESOURCE: Final = constraint_kind(KIND)


def audited(name: str = "a") -> dict[str, Any]:
    """A constraint as an API server holds it after an audit, edited by somebody."""
    manifest: dict[str, Any] = copy.deepcopy(dict(stored(constraint(by=member(name)), 1).manifest))
    manifest["metadata"] |= {"uid": "u", "generation": 1}
    manifest["status"]["violations"].reverse()
    edit = {"manager": "kubectl-edit", "operation": "Update", "time": "2026-03-02T12:00:00Z"}
    edit["fieldsV1"] = {"f:spec": {"f:enforcementAction": {}}}  # type: ignore[assignment]
    manifest["metadata"]["managedFields"].append(edit)
    return manifest


def read(document: Mapping[str, Any], *, violations: int | None = FIRST) -> LiveObject:
    return LiveObject.of(RESOURCE, Lean(violations)(document))


def test_no_decision_and_no_report_changes() -> None:
    document = audited()
    before = copy.deepcopy(document)
    whole, lean = LiveObject.of(RESOURCE, document), read(document)
    edited = {**whole.projection(), "spec": {**whole.manifest["spec"], "enforcementAction": "dryrun"}}
    found = tuple(differences(whole.projection(), edited))

    assert document == before
    assert lean.projection() == whole.projection()
    assert lean.managers == whole.managers == {FIELD_MANAGER, "kubectl-edit"}
    assert ownership(lean, MARKS) is ownership(whole, MARKS)
    assert changed_by(lean, found) == changed_by(whole, found) == ("kubectl-edit",)
    assert health_of(lean, Role.CONSTRAINT) == health_of(whole, Role.CONSTRAINT)
    assert health_of(lean, Role.CONSTRAINT).violations == VIOLATIONS
    assert len(health_of(lean, Role.CONSTRAINT).first) == FIRST


def test_most_of_an_audited_constraint_goes() -> None:
    document = audited()

    lean = read(document).manifest

    assert len(json.dumps(lean)) < len(json.dumps(document)) / 2
    assert len(lean["status"]["violations"]) == FIRST
    assert [each["manager"] for each in lean["metadata"]["managedFields"]] == [FIELD_MANAGER, "kubectl-edit"]


def test_who_compares_audits_reads_every_violation() -> None:
    assert len(read(audited(), violations=None).manifest["status"]["violations"]) == VIOLATIONS


def test_equal_fields_of_managers_are_one_value() -> None:
    lean = Lean(FIRST)

    one, two = (lean(audited(name))["metadata"]["managedFields"][0]["fieldsV1"] for name in ("a", "b"))

    assert one is two


def test_equal_texts_of_violations_are_one_value_whatever_was_read_between() -> None:
    one, two = (Lean(FIRST)(json.loads(json.dumps(audited(name))))["status"]["violations"][0] for name in ("a", "b"))

    assert all(mine is theirs for mine, theirs in zip(one, two, strict=True))


@pytest.mark.parametrize("broken", [None, "x", 1, [], ["x"], [None], {"a": 1}, [{}], [{"fieldsV1": "x"}], [[]]])
@pytest.mark.parametrize("place", ["managedFields", "violations"])
def test_whatever_stands_there_is_read(place: str, broken: object) -> None:
    document = audited()
    {"managedFields": document["metadata"], "violations": document["status"]}[place][place] = broken

    lean = read(document)

    assert lean.projection() == LiveObject.of(RESOURCE, document).projection()
    assert health_of(lean, Role.CONSTRAINT) == health_of(LiveObject.of(RESOURCE, document), Role.CONSTRAINT)


async def test_what_was_read_less_of_is_not_written_back() -> None:
    """Without managedFields the API server keeps its own."""
    api = FakeApi()
    live = api.put(LiveObject.of(RESOURCE, audited()))

    await api.replace(RESOURCE, live.manifest)

    [written] = [call.body for call in api.calls if call.method == "PUT"]
    assert "managedFields" in live.metadata
    assert "managedFields" not in written["metadata"]
    assert written["metadata"]["uid"] == live.uid

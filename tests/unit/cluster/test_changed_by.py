"""Who made an edit: what managedFields tells of a difference, and what it cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster.changed_by import changed_by
from controller.cluster.diff import ABSENT, Difference
from tests.unit.cluster_builders import constraint, live

if TYPE_CHECKING:
    from controller.cluster.kinds import LiveObject

OURS, EDITOR = "azure-policy-sync", "kubectl-edit"


def entry(manager: str, fields: dict[str, Any], time: str = "2026-03-01T12:00:00Z", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields, **more}


def edited(*entries: dict[str, Any]) -> LiveObject:
    found = live(constraint())
    found.metadata["managedFields"] = list(entries)  # type: ignore[index]  # a builder's own copy
    return found


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("spec.enforcementAction", {"f:spec": {"f:enforcementAction": {}}}),
        ("spec.match.kinds[0].kinds", {"f:spec": {"f:match": {".": {}, "f:kinds": {}}}}),
        ("spec.parameters.labels[3]", {"f:spec": {"f:parameters": {}}}),
        ("spec.added", {"f:spec": {"f:added": {"f:inner": {}}}}),
        ('labels["a.b/c"]', {"f:metadata": {"f:labels": {"f:a.b/c": {}}}}),
        ('annotations["with \\"quotes\\""]', {"f:metadata": {"f:annotations": {'f:with "quotes"': {}}}}),
        ("labels.managed-by", {"f:metadata": {"f:labels": {"f:managed-by": {}}}}),
    ],
)
def test_who_holds_a_field_that_differs_made_the_edit(path: str, fields: dict[str, Any]) -> None:
    found = edited(entry(OURS, {"f:spec": {"f:match": {}}}), entry(EDITOR, fields))

    assert changed_by(found, [Difference(path, 1, 2)]) == (EDITOR,)


def test_who_holds_other_fields_only_or_wrote_the_status_did_not() -> None:
    status = entry("gatekeeper", {"f:spec": {}}, subresource="status")
    found = edited(entry("kubectl-label", {"f:metadata": {"f:labels": {"f:team": {}}}}), status)

    assert changed_by(found, [Difference("spec.enforcementAction", "deny", "dryrun")]) == ()


def test_of_a_field_that_was_taken_away_nobody_is_recorded() -> None:
    found = edited(entry(EDITOR, {"f:spec": {"f:match": {"f:kinds": {}}}}))

    assert changed_by(found, [Difference("spec.match.namespaces", ABSENT, ["a"])]) == ()


def test_several_editors_are_told_the_latest_first() -> None:
    old = entry("old", {"f:spec": {"f:a": {}}}, "2026-03-01T12:00:00Z")
    new = entry("new", {"f:spec": {"f:b": {}}}, "2026-03-01T12:00:01Z")

    found = [Difference("spec.a", 1, 2), Difference("spec.b", 1, 2)]

    assert changed_by(edited(old, new), found) == ("new", "old")

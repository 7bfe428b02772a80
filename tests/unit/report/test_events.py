"""Events: what each says, and that there is never a flood of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controller.cluster.apply import Action, Result
from controller.cluster.diff import ABSENT, Difference
from controller.gatekeeper.model import ObjectRef
from controller.report.events import (
    AT_ONCE,
    BURST,
    LONGEST_NOTE,
    SYNC_REF,
    Budget,
    EventDraft,
    event,
    event_draft_of,
    summarized,
)
from tests.unit.azure_builders import INVISIBLE

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = ObjectRef("constraints.gatekeeper.sh", "K8sX", "azurepolicy-x")
WEAKENED = Difference("spec.enforcementAction", "dryrun", "deny")


def result(action: Action, reason: str = "", **more: Any) -> Result:
    return Result(REF, action, reason, uid="u", **more)


@pytest.mark.parametrize(
    ("found", "drift", "reason", "note", "warning"),
    [
        (
            result(Action.REPLACED, differences=(WEAKENED,), changed_by=("kubectl-edit",)),
            True,
            "DriftRepaired",
            "restored: spec.enforcementAction dryrun -> deny; changed by: kubectl-edit",
            True,
        ),
        (
            result(Action.REPLACED, differences=(Difference("labels.managed-by", ABSENT, "us"),)),
            True,
            "DriftRepaired",
            "restored: labels.managed-by absent -> us; changed by: not recorded",
            True,
        ),
        (
            result(Action.CREATED),
            True,
            "DriftRepaired",
            "restored: it was deleted; changed by: not recorded",
            True,
        ),
        (result(Action.CREATED), False, "Created", "created to follow the policy assignments in Azure", False),
        (result(Action.REPLACED), False, "Updated", "replaced to follow the policy assignments in Azure", False),
        (result(Action.DELETED, "NotApplied", message="exempt"), False, "Deleted", "exempt", False),
        (result(Action.CONFLICT, "Conflict", message="not ours"), False, "Conflict", "not ours", True),
        (result(Action.REFUSED, "PruneLimit", message="too many"), False, "PruneLimit", "too many", True),
    ],
)
def test_a_repair_a_change_and_a_problem_are_each_told(
    found: Result, *, drift: bool, reason: str, note: str, warning: bool
) -> None:
    assert event_draft_of(found, drift=drift) == EventDraft(REF, "u", reason, note, warning=warning)


@pytest.mark.parametrize("action", [Action.UNCHANGED, Action.RETAINED, Action.IN_USE])
def test_what_stays_as_it_is_is_no_event(action: Action) -> None:
    assert event_draft_of(result(action), drift=True) is None


def test_many_changes_from_azure_in_one_sync_are_one_event_and_problems_stay() -> None:
    made = [EventDraft(REF, "", "Created", "") for _ in range(AT_ONCE)]
    problem = EventDraft(REF, "", "Conflict", "", warning=True)

    few = summarized([*made, problem], "s")
    many = summarized([*made, problem, EventDraft(REF, "", "Deleted", "")], "s")

    assert few == (*made, problem)
    assert [each.reason for each in many] == ["Applied", "Conflict"]
    assert many[0].ref == SYNC_REF
    assert f"{AT_ONCE} created, 0 updated, 1 deleted" in many[0].note


def test_a_flood_is_cut_to_the_budget_and_then_told_as_a_number() -> None:
    budget = Budget(0.0)

    sent = sum(budget.take(0.0) for _ in range(500))

    assert sent == BURST
    assert budget.owed(0.5) == 0
    assert budget.owed(2.0) == 500 - BURST
    assert budget.owed(9.0) == 0
    assert budget.take(9.0)


def test_an_event_is_about_its_object_and_fits_the_apis_limits() -> None:
    long = EventDraft(ObjectRef(REF.group, REF.kind, "x" * 253), "u", "R" * 500, "n" * 5000, warning=True)

    made = event(long, instance="i" * 500, serial="1f", now=datetime(2026, 3, 1, 12, tzinfo=UTC))

    assert made["regarding"] == {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": "K8sX",
        "name": "x" * 253,
        "uid": "u",
    }
    assert made["eventTime"] == "2026-03-01T12:00:00.000000Z"
    assert made["type"] == "Warning"
    assert len(made["note"]) <= 1024
    assert len(made["reason"]) <= 128
    assert len(made["reportingInstance"]) <= 128
    assert len(made["metadata"]["name"]) <= 253


@pytest.mark.parametrize("letter", ["n", "ü", "€", "😀"])
def test_a_note_is_cut_to_the_apis_bytes_and_no_letter_is_cut_in_two(letter: str) -> None:
    """The API server counts bytes: https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/core/validation/events.go"""
    for length in range(1000 // len(letter.encode()), 1100 // len(letter.encode())):
        note = event(EventDraft(REF, "u", "Test", letter * length), instance="i", serial="1", now=NOW)["note"]

        assert len(note.encode()) <= LONGEST_NOTE
        assert set(note) <= {letter, "…"}
        assert (note == letter * length) is (len((letter * length).encode()) <= LONGEST_NOTE)


@pytest.mark.parametrize("letter", [*INVISIBLE, "\ud800"], ids=ascii)
def test_what_cannot_be_seen_does_not_reach_an_event(letter: str) -> None:
    made = event(EventDraft(REF, "u", "Test", f"a{letter}b"), instance="i", serial="1", now=NOW)

    assert made["note"] == "a b"


def test_an_event_about_a_long_name_has_a_name_that_the_api_takes() -> None:
    ref = ObjectRef(REF.group, REF.kind, f"{'x' * 199}.{'y' * 50}")

    made = event(EventDraft(ref, "u", "Test", "x"), instance="i", serial="1", now=NOW)

    assert made["metadata"]["name"] == f"{'x' * 199}.1"

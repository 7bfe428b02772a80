"""PolicySync's status: the table of Ready row by row, the other conditions, and that time alone changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.cluster.apply import Action, Result
from controller.cluster.health import GatekeeperHealth, GatekeeperProblem
from controller.gatekeeper.model import ObjectRef
from controller.report.conditions import Counts, Mode, Reported, SyncState, conditions, ready, status_of
from tests.unit.azure_builders import INVISIBLE

REF = ObjectRef("constraints.gatekeeper.sh", "K8sX", "azurepolicy-x")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WELL = SyncState(generation=3, settled=True, counts=Counts(enforced=2))
TAKEN = Reported(enforced=2)
FAILED = Result(REF, Action.FAILED, "Denied", "somebody said no")
MISSING = GatekeeperHealth(GatekeeperProblem.MISSING, "not installed")
AWAY = GatekeeperHealth(GatekeeperProblem.WEBHOOK_UNAVAILABLE, "nobody asks")
OLD = GatekeeperHealth(GatekeeperProblem.TOO_OLD, "too old")


def turned(changes: dict[str, Any]) -> tuple[SyncState, int]:
    """A sync that is well but for these changes, and how many members are pending."""
    pending = int(changes.get("pending", 0))
    return replace(WELL, **{key: value for key, value in changes.items() if key != "pending"}), pending


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({}, "True", "InSync"),
        ({"counts": Counts(unresolved=1)}, "True", "InSyncButUnresolved"),
        ({"unsaved": "too large", "counts": Counts(unresolved=1)}, "True", "InSyncButNotKept"),
        ({"unsaved": "too large", "source_error": "no answer"}, "False", "SourceUnreadable"),
        ({"source_error": "no answer"}, "False", "SourceUnreadable"),
        ({"pending": 1, "source_error": "x"}, "False", "Enforcing"),
        ({"fights": (REF,), "pending": 1}, "False", "Contended"),
        ({"fights": (REF,), "waiting": 1, "mode": Mode.SUSPENDED}, "False", "Suspended"),
        ({"waiting": 2, "pending": 1, "mode": Mode.SUSPENDED}, "False", "Suspended"),
        ({"waiting": 2, "mode": Mode.DRY_RUN}, "False", "DryRun"),
        ({"mode": Mode.SUSPENDED}, "True", "InSync"),
        ({"problems": (FAILED,), "waiting": 1}, "False", "Problems"),
        ({"settled": False}, "Unknown", "Progressing"),
        ({"settled": False, "source_error": "x"}, "False", "SourceUnreadable"),
        ({"gatekeeper": MISSING, "problems": (FAILED,)}, "False", "GatekeeperMissing"),
        ({"gatekeeper": AWAY}, "False", "WebhookUnavailable"),
        ({"gatekeeper": OLD}, "True", "InSync"),
        ({"cluster_error": "x", "gatekeeper": MISSING}, "False", "ClusterUnreachable"),
        ({"refused": "x", "cluster_error": "x"}, "False", "Refused"),
        ({"settings_error": "x", "refused": "x"}, "False", "InvalidSettings"),
    ],
)
def test_ready_is_the_first_row_of_the_table_that_fits(changes: dict[str, Any], status: str, reason: str) -> None:
    told = ready(*turned(changes))

    assert (told.status, told.reason) == (status, reason)


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({}, {"GatekeeperReady"}),
        ({"working": True}, {"Reconciling", "GatekeeperReady"}),
        ({"pending": 1}, {"Reconciling", "GatekeeperReady"}),
        ({"settings_error": "x"}, {"Stalled", "GatekeeperReady"}),
        ({"refused": "x"}, {"Stalled", "GatekeeperReady"}),
        ({"gatekeeper": OLD}, set()),
        ({"mode": Mode.SUSPENDED}, {"Suspended", "GatekeeperReady"}),
        ({"mode": Mode.DRY_RUN}, {"Suspended", "GatekeeperReady"}),
        ({"fights": (REF,)}, {"Contended", "GatekeeperReady"}),
    ],
)
def test_every_other_condition_holds_for_its_cause_alone(changes: dict[str, Any], held: set[str]) -> None:
    told = conditions(*turned(changes))

    assert {each.type for each in told if each.status == "True"} - {"Ready"} == held


def test_problems_are_named_with_their_reason_and_the_rest_is_counted() -> None:
    told = ready(replace(WELL, problems=(FAILED,) * 5), 0)

    assert told.message.startswith("K8sX/azurepolicy-x Denied: somebody said no; ")
    assert told.message.endswith("; and 2 more")


def test_while_nothing_happens_the_status_stays_the_same_to_the_letter() -> None:
    first = status_of(WELL, TAKEN, {}, NOW)

    assert status_of(WELL, TAKEN, first, NOW + timedelta(days=1)) == first


def test_a_condition_that_turns_gets_a_new_time_and_the_others_keep_theirs() -> None:
    first = status_of(WELL, TAKEN, {}, NOW)

    second = status_of(WELL, replace(TAKEN, pending=1), first, NOW + timedelta(hours=1))

    times = {each["type"]: each["lastTransitionTime"] for each in second["conditions"]}
    assert times["Ready"] == times["Reconciling"] == "2026-03-01T13:00:00Z"
    assert times["GatekeeperReady"] == times["Stalled"] == "2026-03-01T12:00:00Z"


def test_before_the_first_sync_has_ended_the_counts_of_the_last_one_stay() -> None:
    first = status_of(WELL, TAKEN, {}, NOW)

    assert status_of(SyncState(generation=4), Reported(), first, NOW)["counts"] == first["counts"]


def test_what_the_status_remembers_of_requests_stays_until_the_loops_know_better() -> None:
    before = {"lastHandledRequest": "yesterday", "lastForcedPrune": "abc"}

    told = status_of(replace(WELL, forced_prune="def"), TAKEN, before, NOW)

    assert (told["lastHandledRequest"], told["lastForcedPrune"]) == ("yesterday", "def")


def test_what_cannot_be_seen_does_not_reach_a_condition_and_its_message_fits() -> None:
    """A condition's message has 32,768 characters at most in Kubernetes' own type."""
    state = replace(WELL, source_error=f"a{''.join(INVISIBLE)}b" + "x" * 50_000)

    messages = [each["message"] for each in status_of(state, TAKEN, {}, NOW)["conditions"]]

    assert all(each.isprintable() and len(each) <= 32_768 for each in messages)
    assert any("a       bx" in each for each in messages)

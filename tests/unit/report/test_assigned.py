"""AssignedPolicies: every row of the table, the documented codes, names, and what is left out of a quiet cluster."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster.apply import Action, Result
from controller.cluster.lean import Violation
from controller.cluster.readiness import Pending, Ready
from controller.gatekeeper.model import DesiredState, Rendered, Role
from controller.policy.model import Member, NotApplied, NotAppliedReason
from controller.report.assigned import Knowledge, adds_nothing, assigned_name, assigned_policy, code_of, enforcement_of
from controller.report.health import Health, health_of
from tests.unit.azure_builders import INVISIBLE
from tests.unit.cluster_builders import (
    MARKS,
    constraint,
    desired_state,
    live,
    member,
    mutator,
    not_applied,
    template,
    unresolved,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEMPLATE, CONSTRAINT, MUTATOR = template(), constraint(), mutator()
LONG_AGO, LATELY = NOW - timedelta(hours=2), NOW - timedelta(minutes=5)
TAKEN = Health(Ready(), violations=0, audited=LATELY, created=LONG_AGO)
NOT_YET = Pending("Gatekeeper has not accepted the constraint yet")


def state(*outcomes: Any) -> DesiredState:
    """One constraint with its template, or other outcomes instead."""
    rendered = Rendered(member(), "deny", "deny", (TEMPLATE.ref, CONSTRAINT.ref), "bundle", "0" * 8)
    return replace(desired_state(TEMPLATE, CONSTRAINT), outcomes=outcomes or (rendered,))


def manifest_of(desired: DesiredState, **known: Any) -> Mapping[str, Any]:
    [outcome] = desired.outcomes
    objects = {each.ref: each for each in desired.objects}
    manifest = assigned_policy(outcome, objects, Knowledge(**known), NOW, MARKS)
    assert enforcement_of(outcome, Knowledge(**known), NOW) == manifest["status"]["outcome"]
    return manifest


def told(desired: DesiredState, **known: Any) -> dict[str, Any]:
    return dict(manifest_of(desired, **known)["status"])


def result(of: Any, action: Action, reason: str = "", message: str = "") -> Result:
    return Result(of.ref, action, reason, message)


@pytest.mark.parametrize(
    ("results", "health", "writes", "outcome", "reason"),
    [
        ([], TAKEN, True, "Enforced", None),
        ([], None, True, "Pending", None),
        ([], Health(NOT_YET, created=LATELY), True, "Pending", None),
        ([], Health(NOT_YET, created=LONG_AGO), True, "Failed", "ConstraintNotProcessed"),
        ([], Health(NOT_YET, audited=LATELY, created=LONG_AGO), True, "Pending", None),
        ([], replace(TAKEN, audited=LONG_AGO), True, "Enforced", "ConstraintStatusStale"),
        ([], replace(TAKEN, audited=None, violations=None), True, "Enforced", None),
        ([result(CONSTRAINT, Action.REPLACED, "FieldsDropped", "x")], TAKEN, True, "Enforced", "FieldsDropped"),
        ([result(CONSTRAINT, Action.REPLACED)], TAKEN, False, "Planned", None),
        ([result(CONSTRAINT, Action.UNCHANGED)], TAKEN, False, "Enforced", None),
        ([result(CONSTRAINT, Action.FAILED, "Denied", "no")], TAKEN, True, "Failed", "ConstraintUpdateFailed"),
        ([result(CONSTRAINT, Action.FAILED, "Denied", "no")], None, True, "Failed", "ConstraintCreateFailed"),
        ([result(TEMPLATE, Action.CONFLICT, "Conflict", "x")], None, True, "Failed", "ConstraintTemplateConflicts"),
        ([result(CONSTRAINT, Action.REFUSED, "PruneLimit", "x")], TAKEN, True, "Failed", "PruneLimit"),
    ],
)
def test_each_row_of_the_table(
    results: list[Result], health: Health | None, *, writes: bool, outcome: str, reason: str | None
) -> None:
    status = told(
        state(),
        results={each.ref: each for each in results},
        health={CONSTRAINT.ref: health} if health else {},
        writes=writes,
    )

    assert (status["outcome"], status.get("reason")) == (outcome, reason)


def test_gatekeepers_errors_of_the_template_are_told_and_fail_the_member() -> None:
    errors = ("create_error: rego does not compile",)
    health = {TEMPLATE.ref: Health(Pending(errors[0]), errors), CONSTRAINT.ref: TAKEN}

    status = told(state(), health=health)

    assert (status["outcome"], status["reason"], status["message"]) == ("Failed", "TemplateInstallFailed", errors[0])
    assert status["template"]["errors"] == list(errors)


@pytest.mark.parametrize(("made", "outcome"), [(not_applied, "NotApplied"), (unresolved, "Unresolved")])
def test_what_is_not_made_tells_its_own_reason_and_no_object(made: Any, outcome: str) -> None:
    found = made(member(), message=f"{member()}: because")

    status = told(state(found))

    assert status == {"outcome": outcome, "reason": found.reason.value, "message": "because"}


@pytest.mark.parametrize(
    ("role", "action", "reason", "exists", "code"),
    [
        (Role.TEMPLATE, Action.FAILED, "Forbidden", False, "TemplateCreateFailed"),
        (Role.TEMPLATE, Action.FAILED, "Forbidden", True, "TemplateUpdateFailed"),
        (Role.TEMPLATE, Action.FAILED, "Invalid", True, "InvalidTemplate"),
        (Role.TEMPLATE, Action.REJECTED, "TemplateRejected", True, "TemplateInstallFailed"),
        (Role.TEMPLATE, Action.FAILED, "TemplateNotReady", True, "TemplateInstallFailed"),
        (Role.TEMPLATE, Action.CONFLICT, "Conflict", True, "ConstraintTemplateConflicts"),
        (Role.CONSTRAINT, Action.FAILED, "BadRequest", False, "InvalidConstraint"),
        (Role.CONSTRAINT, Action.FAILED, "Denied", False, "ConstraintCreateFailed"),
        (Role.CONSTRAINT, Action.BLOCKED, "DataNotReplicated", False, "DataNotReplicated"),
        (Role.CONSTRAINT, Action.CONFLICT, "Conflict", False, "Conflict"),
        (Role.MUTATOR, Action.FAILED, "Denied", False, "Denied"),
    ],
)
def test_the_add_ons_code_is_used_where_one_fits(
    role: Role, action: Action, reason: str, *, exists: bool, code: str
) -> None:
    assert code_of(Result(CONSTRAINT.ref, action, reason), role, exists=exists) == code


def test_violations_are_told_with_the_first_few_and_left_out_before_any_audit_or_for_a_mutator() -> None:
    first = (Violation("default", "Pod", "bad", "too bad"), Violation("", "Namespace", "worse", "worse"))
    health = {CONSTRAINT.ref: replace(TAKEN, violations=7, first=first)}

    assert told(state(), health=health)["violations"] == {
        "total": 7,
        "first": [
            {"kind": "Pod", "namespace": "default", "name": "bad", "message": "too bad"},
            {"kind": "Namespace", "name": "worse", "message": "worse"},
        ],
    }
    assert "violations" not in told(state(), health={CONSTRAINT.ref: replace(TAKEN, violations=None)})
    alone = replace(desired_state(MUTATOR), outcomes=(Rendered(member("m"), "mutate", "", (MUTATOR.ref,)),))
    mutating = told(alone, health={MUTATOR.ref: Health(Ready(), created=LONG_AGO)})
    assert mutating["outcome"] == "Enforced"
    assert "violations" not in mutating
    assert "enforcementAction" not in mutating


def test_a_name_has_words_people_know_and_digits_of_its_member_alone() -> None:
    one = Member("/sub/x/policyAssignments/Baseline: Pods", "/d/1", reference_id="noPrivileged_Containers")
    other = replace(one, reference_id="noprivileged-containers!")

    assert assigned_name(one).startswith("baseline-pods-noprivileged-containers-")
    assert assigned_name(one) != assigned_name(other)
    assert assigned_name(one) == assigned_name(replace(one, assignment_id=one.assignment_id.upper()))


@pytest.mark.parametrize("name", ["ü€∞", "", "-", "a" * 300, "..", "A B\u0000C", "\ud800"])
def test_whatever_an_assignment_is_called_its_report_can_be_stored(name: str) -> None:
    made = Member(f"/a/{name}", "/d/1", reference_id=name, assignment_name=name * 5000)

    manifest = manifest_of(state(not_applied(made)))

    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", manifest["metadata"]["name"])
    json.dumps(manifest, ensure_ascii=False).encode()
    assert len(json.dumps(manifest)) < 100_000


@pytest.mark.parametrize("letter", [*INVISIBLE, "\ud800"], ids=ascii)
def test_what_cannot_be_seen_does_not_reach_a_report(letter: str) -> None:
    name = f"a{letter}b"
    made = Member(f"/a/{name}", f"/d/{name}", reference_id=name, assignment_name=name, initiative_name=name)
    told_of = (replace(not_applied(made), message=name), replace(unresolved(made), message=name))

    for outcome in told_of:
        assert [text for text in texts_in(manifest_of(state(outcome))) if not text.isprintable()] == []


def texts_in(value: Any) -> list[str]:
    """Every text in a document, keys apart."""
    match value:
        case str():
            return [value]
        case dict():
            return [text for each in value.values() for text in texts_in(each)]
        case list():
            return [text for each in value for text in texts_in(each)]
        case _:
            return []


def test_of_a_constraint_the_time_of_the_audit_alone_makes_no_other_health() -> None:
    def audited(at: str, *names: str) -> Health:
        found = live(CONSTRAINT)
        violations = [{"kind": "Pod", "namespace": "n", "name": name, "message": "m"} for name in names]
        status = {"auditTimestamp": at, "totalViolations": len(names), "violations": violations}
        return health_of(replace(found, manifest={**found.manifest, "status": status}), Role.CONSTRAINT)

    first = audited("2026-03-01T12:00:00Z", "a", "b")

    assert first == audited("2026-03-01T12:01:00Z", "b", "a")
    assert first != audited("2026-03-01T12:01:00Z", "a")
    assert first.violations == 2


@pytest.mark.parametrize(
    ("there", "presumed", "kept"),
    [("OtherMode", True, True), ("OtherMode", False, False), ("", True, False), ("Disabled", True, False)],
)
def test_a_report_on_another_mode_is_not_rewritten_while_that_is_only_presumed(
    there: str, *, presumed: bool, kept: bool
) -> None:
    outcome = NotApplied(member(), NotAppliedReason.MODE, "another mode", presumed=presumed)

    assert adds_nothing(outcome, there) is kept

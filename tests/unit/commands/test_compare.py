"""Azure's compliance beside Gatekeeper's audit: a case per cell of the table, then what is printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from controller.azure.compliance import Component, MemberCompliance
from controller.cluster.kinds import LiveObject
from controller.commands.compare import Audit, Comparison, Verdict, as_json, as_text, audits_of, compare
from controller.policy.model import MemberKey, NotApplied, NotAppliedReason
from tests.unit.cluster_builders import constraint, desired_state, live, member, mutator, not_applied, unresolved

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredState

WEB = Component("/pods/web", "Pod", "web")
CLEAN, VIOLATED = Audit(0, (), "now"), Audit(2, ("default/Pod/web",), "now")
CONSTRAINT = desired_state(constraint())
MUTATOR = desired_state(mutator(by=member()))
NOT_HERE = desired_state(outcomes=[not_applied()])
UNKNOWN = desired_state(outcomes=[unresolved()])


def state(told: str, *, assignment: str = "a", reference: str = "") -> MemberCompliance:
    """What Azure says of a member of the assignment `a`."""
    compliant = {"Compliant": True, "NonCompliant": False}.get(told)
    components = (WEB,) if compliant is False else ()
    return MemberCompliance(f"/ASSIGNMENTS/{assignment}", reference, "/definitions/d", compliant, told, components)


def compared(desired: DesiredState, told: str, audit: Audit | None) -> Comparison:
    audits = {} if audit is None else {member().key: audit}
    [found] = compare(desired, [state(told)] if told else [], audits)
    return found


@pytest.mark.parametrize(
    ("desired", "told", "audit", "verdict"),
    [
        (CONSTRAINT, "Compliant", CLEAN, "same"),
        (CONSTRAINT, "NonCompliant", VIOLATED, "same"),
        (CONSTRAINT, "Compliant", VIOLATED, "differs"),
        (CONSTRAINT, "NonCompliant", CLEAN, "differs"),
        (CONSTRAINT, "Compliant", None, "unknown"),
        (CONSTRAINT, "Exempt", CLEAN, "differs"),
        (CONSTRAINT, "Exempt", None, "unknown"),
        (CONSTRAINT, "NotStarted", VIOLATED, "unknown"),
        (CONSTRAINT, "", VIOLATED, "unknown"),
        (MUTATOR, "NonCompliant", None, "unknown"),
        (UNKNOWN, "NonCompliant", VIOLATED, "unknown"),
        (UNKNOWN, "", None, "unknown"),
        (NOT_HERE, "Compliant", None, "differs"),
        (NOT_HERE, "NonCompliant", None, "differs"),
        (NOT_HERE, "Exempt", None, "same"),
        (NOT_HERE, "NotStarted", None, "same"),
        (NOT_HERE, "", None, "same"),
        (desired_state(), "Compliant", None, "differs"),
    ],
)
def test_every_cell_of_the_table(desired: DesiredState, told: str, audit: Audit | None, verdict: str) -> None:
    assert compared(desired, told, audit).verdict == verdict


def test_members_are_told_apart_by_reference_id_and_ids_in_another_case_are_the_same() -> None:
    desired = desired_state(*(constraint(by=member(reference=name)) for name in ("one", "two")))
    audits = {member(reference="one").key: CLEAN, member(reference="two").key: VIOLATED}

    found = compare(desired, [state("Compliant", reference="ONE"), state("Compliant", reference="two")], audits)

    assert [(each.reference_id, each.verdict) for each in found] == [("ONE", "same"), ("two", "differs")]


def test_an_assignment_that_does_not_apply_as_a_whole_speaks_for_each_member_that_azure_tells() -> None:
    desired = desired_state(outcomes=[not_applied(member(whole=True))])

    found = compare(desired, [state("Exempt", reference="one"), state("Compliant", reference="two")], {})

    assert [(each.reference_id, each.verdict) for each in found] == [("one", "same"), ("two", "differs")]


def test_what_resource_manager_enforces_itself_is_left_out() -> None:
    outcome = NotApplied(member(), NotAppliedReason.MODE, "mode Indexed")

    assert compare(desired_state(outcomes=[outcome]), [state("NonCompliant")], {}) == ()


def test_of_several_states_the_one_at_fault_speaks_for_the_member() -> None:
    for states in (["NonCompliant", "Compliant"], ["Compliant", "NonCompliant"]):
        [found] = compare(CONSTRAINT, map(state, states), {member().key: VIOLATED})
        assert found.verdict is Verdict.SAME


def audited(**status: Any) -> LiveObject:
    made = live(constraint())
    return LiveObject(made.ref, {**made.manifest, "status": status})


def test_an_audit_is_read_from_the_status_of_a_constraint() -> None:
    violations = [{"kind": "Pod", "namespace": "default", "name": "web"}, {"kind": "Namespace", "name": "x"}]
    made = audited(auditTimestamp="2026-01-01T00:00:00Z", totalViolations=30, violations=violations)

    assert audits_of([made]) == {
        MemberKey.of("/assignments/a", ""): Audit(30, ("Namespace/x", "default/Pod/web"), "2026-01-01T00:00:00Z")
    }


@pytest.mark.parametrize("status", [{}, {"totalViolations": 0}, {"auditTimestamp": "2026-01-01T00:00:00Z"}])
def test_a_constraint_that_no_audit_has_seen_says_nothing(status: dict[str, Any]) -> None:
    assert audits_of([audited(**status)]) == {}


def test_the_text_shows_the_objects_of_both_sides_where_they_differ() -> None:
    found = compare(CONSTRAINT, [state("NonCompliant")], {member().key: CLEAN})

    assert list(as_text(found)) == [
        "! differs: the verdicts differ",
        "    /assignments/a",
        "    Azure: NonCompliant, 1 object; Gatekeeper: 0 violations at now",
        "    Azure: Pod web",
        "compare: 0 same, 1 differs, 0 unknown",
    ]


def test_the_json_has_both_sides() -> None:
    found = compare(CONSTRAINT, [state("NonCompliant")], {member().key: VIOLATED})

    document = json.loads(as_json("/cluster", found))

    assert document["counts"] == {"same": 1, "differs": 0, "unknown": 0}
    assert document["members"] == [
        {
            "assignmentId": "/assignments/a",
            "referenceId": "",
            "definitionId": "/definitions/d",
            "verdict": "same",
            "message": "",
            "azure": {"state": "NonCompliant", "components": [{"id": "/pods/web", "type": "Pod", "name": "web"}]},
            "gatekeeper": {"violations": 2, "objects": ["default/Pod/web"], "auditTimestamp": "now"},
        }
    ]

"""Azure's compliance beside Gatekeeper's audit: a case per cell of the table, then what is printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from controller.azure.compliance import Component, MemberCompliance
from controller.cluster.kinds import LiveObject
from controller.commands.compare import (
    AZURE_LIMIT,
    Audit,
    Comparison,
    KubeObject,
    Verdict,
    as_json,
    as_text,
    audits_of,
    compare,
)
from controller.policy.model import MemberKey, NotApplied, NotAppliedReason
from tests.unit.cluster_builders import constraint, desired_state, live, member, mutator, not_applied, unresolved

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredState

WEB = Component("default/web", "pod", "default", "web")
POD = KubeObject("Pod", "default", "web")
CLEAN, VIOLATED = Audit(0, (), "now"), Audit(2, (POD,), "now")
CONSTRAINT = desired_state(constraint())
MUTATOR = desired_state(mutator(by=member()))
NOT_HERE = desired_state(outcomes=[not_applied()])
UNKNOWN = desired_state(outcomes=[unresolved()])


def state(told: str, *components: Component, assignment: str = "a", reference: str = "") -> MemberCompliance:
    """What Azure says of a member of the assignment `a`; the pod web is at fault, where no other is told."""
    compliant = {"Compliant": True, "NonCompliant": False}.get(told)
    components = (components or (WEB,)) if compliant is False else ()
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

    assert [(each.reference_id, each.verdict) for each in found] == [("one", "same"), ("two", "differs")]


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
        MemberKey.of("/assignments/a", ""): Audit(
            30, (KubeObject("Namespace", "", "x"), POD), "2026-01-01T00:00:00Z", capped=True
        )
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
        "    Azure: pod default/web",
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
            "azure": {
                "state": "NonCompliant",
                "components": [{"id": "default/web", "type": "pod", "namespace": "default", "name": "web"}],
                "capped": False,
            },
            "gatekeeper": {
                "violations": 2,
                "objects": [{"kind": "Pod", "namespace": "default", "name": "web"}],
                "auditTimestamp": "now",
                "capped": False,
            },
            "lists": {"onlyInAzure": [], "onlyInGatekeeper": []},
        }
    ]


ELSEWHERE = Component("team-a/web", "Pod", "team-a", "web")
NAMESPACE = Component("team-b", "Namespace", "", "team-b")


def side_by_side(components: list[Component], *objects: KubeObject, **audit: Any) -> Comparison:
    """Both find objects at fault."""
    found = compare(
        CONSTRAINT, [state("NonCompliant", *components)], {member().key: Audit(len(objects), objects, "now", **audit)}
    )
    [only] = found
    return only


def test_two_pods_of_one_name_in_two_namespaces_are_two_objects() -> None:
    found = side_by_side([ELSEWHERE], POD)

    assert found.verdict is Verdict.DIFFERS
    assert list(as_text([found]))[3:5] == [
        "    only in Azure: Pod team-a/web",
        "    only in Gatekeeper: Pod default/web",
    ]


def test_kinds_in_another_case_and_cluster_scoped_objects_are_the_same() -> None:
    found = side_by_side([WEB, NAMESPACE], KubeObject("Namespace", "", "team-b"), POD)

    assert (found.verdict, found.why) == (Verdict.SAME, "")


def test_names_keep_their_case() -> None:
    assert side_by_side([Component("Default/web", "pod", "Default", "web")], POD).verdict is Verdict.DIFFERS


def test_the_lists_are_counted_where_they_differ() -> None:
    found = side_by_side([WEB, ELSEWHERE], POD, KubeObject("Pod", "default", "api"))

    assert found.why == "the objects at fault: 1 only in Azure, 1 only in Gatekeeper"


@pytest.mark.parametrize(
    ("components", "audit"),
    [
        ([ELSEWHERE], {"capped": True}),
        ([Component(f"default/p-{number}", "pod", "default", f"p-{number}") for number in range(AZURE_LIMIT)], {}),
        ([Component("", "pod", None, "web")], {}),
    ],
    ids=["Gatekeeper lists a part", "Azure lists a part", "Azure does not say which"],
)
def test_lists_that_are_not_whole_are_not_compared(components: list[Component], audit: dict[str, Any]) -> None:
    found = side_by_side(components, POD, **audit)

    assert (found.verdict, found.lists) == (Verdict.SAME, None)


def test_a_list_that_is_capped_is_said_to_be() -> None:
    components = [Component(f"default/p-{number}", "pod", "default", f"p-{number}") for number in range(AZURE_LIMIT)]

    [_, _, sides, *_] = as_text([side_by_side(components, POD, capped=True)])

    assert "500 or more objects" in sides
    assert "1 violation (not all of them listed) at" in sides


def test_a_reference_id_keeps_the_case_of_the_initiative() -> None:
    desired = desired_state(constraint(by=member(reference="allowedImages")))

    [found] = compare(desired, [state("Compliant", reference="allowedimages")], {})

    assert found.reference_id == "allowedImages"

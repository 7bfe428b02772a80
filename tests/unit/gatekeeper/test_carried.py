"""What is carried forward of members that are not known for now, and into what state it fits."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.kinds import template_kind
from controller.gatekeeper.carried import CAN_PASS, carry_forward
from controller.gatekeeper.model import DesiredObject, Role
from controller.gatekeeper.syncset import ANNOTATION, SYNCSET_REF, DataKind, kinds_of, syncset
from controller.policy.model import Member, Unresolved, UnresolvedReason
from tests.unit.cluster_builders import MARKS, constraint, desired_state, member, mutator, not_applied, template

if TYPE_CHECKING:
    from collections.abc import Iterable

    from controller.gatekeeper.model import DesiredState, ObjectRef

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
POD: Final = DataKind("", "v1", "Pod")
SERVICE: Final = DataKind("", "v1", "Service")


def unknown(by: Member, reason: UnresolvedReason = UnresolvedReason.UNREADABLE) -> Unresolved:
    return Unresolved(by, reason, f"{by}: 403")


def needing(wanted: DesiredObject, kind: DataKind) -> DesiredObject:
    """The template with the annotation that asks for objects of a kind."""
    metadata: Any = wanted.manifest["metadata"]
    needs = {ANNOTATION: json.dumps([[{"groups": [kind.group], "versions": [kind.version], "kinds": [kind.kind]}]])}
    annotated = {**metadata, "annotations": {**metadata["annotations"], **needs}}
    return DesiredObject.of(Role.TEMPLATE, {**wanted.manifest, "metadata": annotated}, wanted.members)


def carried(now: DesiredState, last: DesiredState | None, at: datetime = NOW) -> DesiredState:
    return carry_forward(now, last, at, MARKS)


def refs(objects: Iterable[DesiredObject]) -> set[ObjectRef]:
    return {each.ref for each in objects}


ONE, TWO = (constraint(by=member(name, definition=name)) for name in ("one", "two"))
BOTH: Final = desired_state(template(members=(*ONE.members, *TWO.members)), mutator(), ONE, TWO)
LISTED: Final = ("one", "two", "m")


def test_every_reason_says_whether_it_can_pass() -> None:
    assert CAN_PASS.keys() == set(UnresolvedReason)


@pytest.mark.parametrize("reason", UnresolvedReason)
def test_only_what_can_pass_is_carried(reason: UnresolvedReason) -> None:
    now = desired_state(outcomes=(unknown(ONE.members[0], reason),), listed=LISTED)

    assert (ONE in carried(now, BOTH).objects) is CAN_PASS[reason]


def test_what_is_known_is_as_it_is_read() -> None:
    now = desired_state(template(members=TWO.members), TWO, outcomes=(not_applied(ONE.members[0]),), listed=LISTED)

    assert carried(now, BOTH) is now
    assert carried(now, None) is now


def test_a_state_of_another_cluster_carries_nothing() -> None:
    now = desired_state(outcomes=(unknown(ONE.members[0]),), listed=LISTED)

    assert carried(now, replace(BOTH, cluster_id="/another")) is now


def test_the_outcome_stays_unresolved_and_says_since_when_its_objects_are_enforced() -> None:
    now = desired_state(outcomes=(unknown(ONE.members[0]),), listed=LISTED)

    first = carried(now, BOTH)
    later = carried(now, first, NOW + timedelta(hours=1))

    [told] = first.outcomes
    assert isinstance(told, Unresolved)
    assert told.message.endswith(": 403; enforced as last known since 2026-03-01T12:00:00Z")
    assert later == first
    again = carried(now, BOTH, NOW + timedelta(hours=1)).outcomes[0]
    assert again.message.endswith("T13:00:00Z")  # type: ignore[union-attr]


def test_an_assignment_that_is_unknown_as_a_whole_keeps_all_that_it_had_and_nothing_else() -> None:
    of_a = [constraint(by=member("a", reference=f"r{number}", definition=f"d{number}")) for number in range(3)]
    last = desired_state(template(), *of_a, ONE)
    now = desired_state(outcomes=(unknown(member("a", whole=True)),), listed=("a",))

    found = carried(now, last)

    assert refs(found.objects) == {template().ref, *refs(of_a)}
    # One of its members is read again, the others are still unknown, now one by one.
    single = desired_state(outcomes=[unknown(each.members[0]) for each in of_a], listed=("a",))
    assert {each.kept_since for each in carried(single, found, NOW + timedelta(1)).outcomes} == {  # type: ignore[union-attr]
        "2026-03-01T12:00:00Z"
    }


def test_a_member_that_had_no_object_is_unresolved_as_ever() -> None:
    now = desired_state(outcomes=(unknown(member("new")),), listed=("new",))

    assert carried(now, BOTH) is now


def test_a_template_that_others_use_is_taken_as_it_is_now_and_names_all_its_users() -> None:
    newer = template(rego="package newer", members=TWO.members)
    now = desired_state(newer, TWO, outcomes=(unknown(ONE.members[0]),), listed=LISTED)

    found = carried(now, BOTH)

    [shared] = [each for each in found.objects if each.role is Role.TEMPLATE]
    assert shared.manifest["spec"] == newer.manifest["spec"]
    metadata: Any = shared.manifest["metadata"]
    before: Any = BOTH.objects[0].manifest["metadata"]
    assert metadata["annotations"] == before["annotations"]
    assert set(shared.members) == {*ONE.members, *TWO.members}
    assert ONE in found.objects


def test_a_template_that_nobody_else_uses_is_carried_to_the_letter() -> None:
    now = desired_state(outcomes=(unknown(ONE.members[0]),), listed=LISTED)

    [kept] = [each for each in carried(now, BOTH).objects if each.role is Role.TEMPLATE]

    assert (kept.manifest, kept.members) == (BOTH.objects[0].manifest, ONE.members)


def test_the_data_that_a_carried_template_looks_up_stays_replicated() -> None:
    other = needing(template("K8sOther", members=(member("other"),)), SERVICE)
    by_other = constraint("K8sOther", by=member("other"))
    pods = needing(template(), POD)
    last = desired_state(pods, other, syncset({POD, SERVICE}, MARKS), ONE, by_other)
    now = desired_state(pods, syncset({POD}, MARKS), ONE, outcomes=(unknown(member("other")),), listed=LISTED)

    found = {each.ref: each for each in carried(now, last).objects}

    assert kinds_of(found[SYNCSET_REF].manifest) == {POD, SERVICE}
    alone = desired_state(outcomes=(unknown(member("other")),), listed=LISTED)
    assert kinds_of({e.ref: e for e in carried(alone, last).objects}[SYNCSET_REF].manifest) == {SERVICE}


def test_what_a_carried_template_looks_up_without_asking_stays_replicated_while_it_was() -> None:
    looking = template(rego="package thing\n\nviolation[{}] { data.inventory.namespace[_].v1.Service[_] }")
    last = desired_state(looking, syncset({POD, SERVICE}, MARKS), ONE)
    now = desired_state(outcomes=(unknown(member("one")),), listed=LISTED)

    found = {each.ref: each for each in carried(now, last).objects}

    assert kinds_of(found[SYNCSET_REF].manifest) == {SERVICE}


def test_everything_unknown_gives_the_same_objects_in_the_same_order() -> None:
    last = desired_state(*sorted(BOTH.objects, key=lambda each: list(Role).index(each.role)))
    outcomes = [unknown(each.members[0]) for each in (ONE, TWO, mutator())]

    found = carried(desired_state(outcomes=outcomes, listed=LISTED), last)

    assert [each.manifest for each in found.objects] == [
        each.manifest for each in sorted(last.objects, key=lambda o: (list(Role).index(o.role), o.ref.kind, o.ref.name))
    ]
    assert {template_kind(each.manifest) for each in found.objects if each.role is Role.TEMPLATE} == {"K8sThing"}

"""What holds for every plan: ten thousand random clusters, and whatever else hypothesis thinks of.

The model of the server stores what is written, adds a default to every constraint, and keeps others' field managers.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.cluster.kinds import LiveObject
from controller.cluster.ownership import Ownership, ownership
from controller.cluster.plan import (
    Answer,
    Blocked,
    Change,
    Conflict,
    Create,
    Delete,
    DeleteReason,
    Invalid,
    Inventory,
    Keep,
    Plan,
    PruneLimit,
    Refuse,
    Rejected,
    Replace,
    Unsure,
    differences,
    make_plan,
    ref_of,
    same,
)
from controller.gatekeeper.model import DesiredState, ObjectRef, Role
from controller.gatekeeper.naming import FIELD_MANAGER, is_managed_name
from tests.unit.cluster_builders import (
    MARKS,
    constraint,
    desired_state,
    foreign,
    live,
    member,
    mutator,
    not_applied,
    template,
    unresolved,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from controller.gatekeeper.model import DesiredObject

STATES: Final = 10_000
DESIRED: Final = (
    template("K8sOne"),
    template("K8sTwo"),
    mutator(),
    *(constraint("K8sOne", by=member(f"one{n}")) for n in range(3)),
    constraint("K8sTwo", by=member("two"), limit=1),
    constraint("K8sTwo", by=member("moved")),
)
FORMER: Final = (
    template("K8sOld"),
    constraint("K8sOld", by=member("moved")),
    constraint("K8sOld", by=member("gone")),
    constraint("K8sOld", by=member("disabled")),
    constraint("K8sOld", by=member("unknown")),
    constraint("K8sTwo", by=member("two", reference="left")),
    *(constraint("K8sOne", by=member(f"unlisted{n}")) for n in range(4)),
    mutator(by=member("unlisted9")),
    template("K8sUnused"),
)
OUTCOMES: Final = (not_applied(member("disabled")), unresolved(member("unknown", definition="u")))
STATE: Final = desired_state(
    *DESIRED,
    outcomes=OUTCOMES,
    listed=["one0", "one1", "one2", "two", "moved", "m", "disabled", "unknown"],
    gone=["gone"],
)
UNKNOWN: Final = "/assignments/unknown"
NOTHING: Final = desired_state(listed=[])


def defaulted(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest as the model of the server stores it."""
    if not str(manifest["apiVersion"]).startswith("constraints."):
        return dict(manifest)
    return {**manifest, "spec": {**manifest["spec"], "defaulted": True}}


def as_stored(found: LiveObject) -> LiveObject:
    return LiveObject(found.ref, defaulted(found.manifest))


def variants(of: DesiredObject) -> Sequence[LiveObject | None]:
    """What may be at an object's name, about as likely as it stands here."""
    labels, annotations = live(of).labels, live(of).annotations
    edited = {**live(of).manifest["spec"], "match": {"excludedNamespaces": ["shop"]}}
    theirs = {"managed-by": "somebody", "team": "shop"}
    return (
        None,
        None,
        as_stored(live(of)),
        as_stored(live(of)),
        as_stored(live(of, labels={**labels, "team": "shop"}, finalizers=["a/b"])),
        live(of, spec=edited),
        as_stored(live(of, labels={}, annotations={})),
        as_stored(live(of, labels={}, annotations={}, managers=("kubectl",))),
        live(of, labels=dict(labels), annotations={}, managers=()),
        live(of, labels=theirs, annotations=dict(annotations), spec=edited),
        live(of, labels=theirs, annotations=dict(annotations), spec=edited, managers=("flux",)),
        foreign(of, spec=edited),
        live(of, deleting=True),
        foreign(of, deleting=True),
    )


BYSTANDERS: Final = (
    foreign(constraint("K8sOld"), name="theirs"),
    foreign(constraint("K8sUnused"), name="theirs"),
    live(constraint("K8sOne"), name="copied-with-our-marks"),
    foreign(template("K8sTheirs")),
    live(mutator(), name="copied-with-our-marks"),
)
CREATED: Final = {of.ref: as_stored(live(of)) for of in DESIRED}
VARIANTS: Final = tuple(variants(of) for of in (*DESIRED, *FORMER))
Objects = dict[ObjectRef, LiveObject]


def cluster(chosen: Iterable[LiveObject | None]) -> Objects:
    return {found.ref: found for found in chosen if found is not None}


def random_cluster(rng: random.Random) -> Objects:
    sparse = rng.random()
    chosen = [rng.choice(each) if rng.random() > sparse else None for each in VARIANTS]
    return cluster([*chosen, *(each for each in BYSTANDERS if rng.random() < 0.3)])


def plan_for(state: DesiredState, objects: Objects, limit: PruneLimit) -> Plan:
    """A plan as the operator makes it: the server is asked about what is unsure."""
    inventory = Inventory(objects)
    first = make_plan(state, inventory, MARKS, limit=limit)
    answers = {
        ref_of(change): Answer(LiveObject(ref_of(change), defaulted(change.target)))
        for change in first.changes
        if isinstance(change, Unsure)
    }
    return make_plan(state, inventory, MARKS, limit=limit, answers=answers) if answers else first


def carried_out(plan: Plan, objects: Objects) -> Objects:
    """The cluster once every write of the plan is done."""
    after = dict(objects)
    for change in plan.changes:
        match change:
            case Create():
                after[ref_of(change)] = CREATED[ref_of(change)]
            case Replace():
                entries = [{"manager": m} for m in sorted({*change.live.managers, FIELD_MANAGER})]
                manifest = {**change.target, "metadata": {**change.target["metadata"], "managedFields": entries}}
                after[ref_of(change)] = as_stored(LiveObject(ref_of(change), manifest))
            case Delete():
                del after[ref_of(change)]
    return after


def is_foreign(found: LiveObject, state: DesiredState) -> bool:
    return ownership(found, MARKS, desired=found.ref in {o.ref for o in state.objects}) is Ownership.FOREIGN


# --- the properties --------------------------------------------------------------------------------------------------


def no_foreign_object_is_touched(state: DesiredState, objects: Objects, plan: Plan) -> None:
    touched = {ref_of(change) for change in plan.writes} & objects.keys()
    assert not [ref for ref in touched if is_foreign(objects[ref], state)]
    doomed = {ref.name for ref in (ref_of(change) for change in plan.of(Delete)) if ref.kind == "ConstraintTemplate"}
    deleted = {ref_of(change) for change in plan.of(Delete)}
    taken_along = [ref for ref, found in objects.items() if ref.kind.lower() in doomed and not found.deleting]
    assert set(taken_along) <= deleted


def only_our_names_are_pruned(plan: Plan) -> None:
    pruned = [ref_of(change) for change in plan.of(Delete)]
    assert all(ref.kind == "ConstraintTemplate" or is_managed_name(ref.name) for ref in pruned)


def no_unproven_delete_is_over_the_limit(state: DesiredState, plan: Plan, objects: Objects, limit: PruneLimit) -> None:
    unproven = [c for c in plan.of(Delete) if isinstance(c, Delete) and c.reason is DeleteReason.UNLISTED]
    wanted = {each.ref for each in state.objects}
    managed = sum(ownership(found, MARKS) is Ownership.OURS and may_count(found, wanted) for found in objects.values())
    if unproven and not limit.forced:
        assert state.listed
        assert managed < limit.minimum or len(unproven) * 100 <= limit.percent * managed
        assert not plan.of(Refuse)


def may_count(found: LiveObject, wanted: set[ObjectRef]) -> bool:
    """What is wanted, or could be pruned: a name that we never touch is nothing that we manage."""
    prunable = found.ref.kind == "ConstraintTemplate" or is_managed_name(found.ref.name)
    return found.ref in wanted or (prunable and not found.deleting)


def every_desired_object_ends(state: DesiredState, plan: Plan) -> None:
    ends = (Create, Replace, Keep, Conflict, Blocked, Rejected, Invalid)
    about = [change for change in plan.changes if hasattr(change, "desired")]
    assert [ref_of(change) for change in about] == [wanted.ref for wanted in state.objects]
    assert all(isinstance(change, ends) for change in about)
    assert len({ref_of(change) for change in plan.changes}) == len(plan.changes)


def the_unknown_is_kept(plan: Plan) -> None:
    deleted = [change.live for change in plan.of(Delete) if isinstance(change, Delete)]
    assert UNKNOWN not in {found.annotations.get("azure-policy-assignment-id") for found in deleted}


def carrying_it_out_twice_changes_nothing(state: DesiredState, objects: Objects, plan: Plan, limit: PruneLimit) -> None:
    after = carried_out(plan, objects)
    # What was refused is recorded: else objects that came or went since would make it pass at the next plan.
    refused = frozenset(str(ref_of(change)) for change in plan.of(Refuse))
    assert plan_for(state, after, replace(limit, refused=refused)).writes == ()
    for change in plan.of(Create, Replace):
        assert isinstance(change, Create | Replace)
        assert same(after[ref_of(change)].manifest["spec"], defaulted(change.desired.manifest)["spec"])


def order_does_not_matter(
    state: DesiredState, objects: Objects, plan: Plan, limit: PruneLimit, shuffle: Callable[[list[Any]], None]
) -> None:
    wanted, outcomes, items = list(state.objects), list(state.outcomes), list(objects.items())
    for each in (wanted, outcomes, items):
        shuffle(each)
    other = DesiredState(state.cluster_id, tuple(wanted), tuple(outcomes), state.listed, state.gone)
    assert in_order(plan_for(other, dict(items), limit)) == in_order(plan)
    assert plan_for(state, dict(items), limit) == plan


def in_order(plan: Plan) -> list[Change]:
    return sorted(plan.changes, key=ref_of)


def check(state: DesiredState, objects: Objects, limit: PruneLimit) -> Plan:
    plan = plan_for(state, objects, limit)
    no_foreign_object_is_touched(state, objects, plan)
    only_our_names_are_pruned(plan)
    no_unproven_delete_is_over_the_limit(state, plan, objects, limit)
    every_desired_object_ends(state, plan)
    if state is STATE:
        the_unknown_is_kept(plan)
    carrying_it_out_twice_changes_nothing(state, objects, plan, limit)
    return plan


LIMITS: Final = (PruneLimit(), PruneLimit(minimum=1), PruneLimit(percent=0, minimum=1), PruneLimit(forced=True))


@pytest.mark.timeout(120)
def test_the_properties_hold_for_ten_thousand_random_clusters() -> None:
    rng, seen = random.Random(20260301), dict.fromkeys(("Create", "Replace", "Delete", "Refuse", "Conflict"), 0)
    began = time.process_time()

    for number in range(STATES):
        objects, state, limit = random_cluster(rng), rng.choice((STATE, STATE, STATE, NOTHING)), rng.choice(LIMITS)
        plan = check(state, objects, limit)
        if number % 20 == 0:
            order_does_not_matter(state, objects, plan, limit, rng.shuffle)
        for change in plan.changes:
            seen[type(change).__name__] = seen.get(type(change).__name__, 0) + 1

    print(f"{STATES} clusters in {time.process_time() - began:.1f} s: {seen}")
    assert set(seen) >= {"Keep", "InUse", "Retain", "Blocked"}
    assert all(seen.values())


@settings(max_examples=150, deadline=None)
@given(
    chosen=st.tuples(*(st.sampled_from(each) for each in VARIANTS)),
    bystanders=st.sets(st.sampled_from(range(len(BYSTANDERS)))),
    state=st.sampled_from((STATE, NOTHING)),
    limit=st.builds(PruneLimit, percent=st.integers(0, 100), minimum=st.integers(0, 20), forced=st.booleans()),
    data=st.randoms(use_true_random=False),
)
def test_the_properties_hold_for_whatever_is_at_any_name(
    chosen: tuple[LiveObject | None, ...],
    bystanders: set[int],
    state: DesiredState,
    limit: PruneLimit,
    data: random.Random,
) -> None:
    objects = cluster([*chosen, *(BYSTANDERS[n] for n in bystanders)])

    plan = check(state, objects, limit)

    order_does_not_matter(state, objects, plan, limit, data.shuffle)


# --- values ----------------------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 0.5]) | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_values_are_the_same_exactly_when_they_have_no_difference(left: Any, right: Any) -> None:
    assert same(left, right) == same(right, left)
    assert same(left, right) is (not list(differences(left, right)))
    assert not list(differences(left, left))


@given(VALUES, VALUES)
def test_the_paths_of_differences_are_distinct_and_fit_on_a_line(left: Any, right: Any) -> None:
    paths = [found.path for found in differences({"spec": left}, {"spec": right})]

    assert len(set(paths)) == len(paths)
    assert all(path.isprintable() and path.startswith("spec") for path in paths)


def test_the_worlds_of_this_file_have_every_role() -> None:
    assert {each.role for each in (*DESIRED, *FORMER)} == {Role.TEMPLATE, Role.MUTATOR, Role.CONSTRAINT}

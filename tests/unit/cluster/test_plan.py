"""The decision: a case per cell of the table in plan.py, then pruning, its limit, and how values are compared."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster.apply import REJECTED_DIGEST
from controller.cluster.changes import (
    Blocked,
    Change,
    Conflict,
    Create,
    Delete,
    DeleteReason,
    InUse,
    Invalid,
    Keep,
    NeedsDryRun,
    Refuse,
    Rejected,
    Replace,
    Retain,
    ref_of,
)
from controller.cluster.diff import ABSENT, Difference, differences, missing, same
from controller.cluster.dry_run import CachedAnswer, CachedEqual, DryRunAnswer, Rejection, spec_digest
from controller.cluster.kinds import LiveObject, template_kind
from controller.cluster.plan import decide, make_plan, target_for
from controller.cluster.prune import HIDDEN, PruneLimit
from controller.gatekeeper.model import DesiredObject, ObjectRef, Role
from tests.unit.cluster_builders import (
    MARKS,
    constraint,
    desired_state,
    foreign,
    inventory,
    live,
    member,
    mutator,
    not_applied,
    template,
    unresolved,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.gatekeeper.model import DesiredState

ALL = [template(), constraint(), mutator()]
IDS = ["template", "constraint", "mutator"]
EDITED = {"enforcementAction": "dryrun"}
every_role = pytest.mark.parametrize("wanted", ALL, ids=IDS)


def decision(
    wanted: DesiredObject,
    found: LiveObject | None,
    answer: DryRunAnswer | None = None,
    *,
    cached: Mapping[str, CachedAnswer] | None = None,
) -> Change:
    return decide(wanted, found, MARKS, cached or {}, answer)


def planned(state: DesiredState, *found: LiveObject, **keywords: Any) -> dict[ObjectRef, Change]:
    made = make_plan(state, inventory(*found), MARKS, **keywords)
    return {ref_of(change): change for change in made.changes}


def only(state: DesiredState, *found: LiveObject, **keywords: Any) -> Change:
    (change,) = planned(state, *found, **keywords).values()
    return change


# --- one desired object ----------------------------------------------------------------------------------------------


@every_role
def test_what_is_not_there_is_created(wanted: DesiredObject) -> None:
    assert decision(wanted, None) == Create(wanted)


def test_a_new_object_tells_which_fields_the_server_would_drop() -> None:
    wanted = constraint(limit=1)
    kept = live(wanted, spec={"enforcementAction": "deny", "match": wanted.manifest["spec"]["match"]})  # type: ignore[index,call-overload]

    assert decision(wanted, None, DryRunAnswer(kept)) == Create(wanted, ("spec.parameters",))


def test_a_foreign_template_is_a_conflict_that_names_its_owner_and_the_way_out() -> None:
    change = decision(template(), foreign(template(), managed_by="flux"))

    assert isinstance(change, Conflict)
    assert change.message == (
        "it is managed by flux: delete it, or label it managed-by=azure-policy-sync to hand it over"
    )


def test_a_template_that_nobody_marked_is_a_conflict() -> None:
    change = decision(template(), live(template(), labels={}, annotations={}, managers=("kubectl",)))

    assert isinstance(change, Conflict)
    assert change.message.startswith("azpolicy did not create it: ")


@pytest.mark.parametrize("wanted", ALL[1:], ids=IDS[1:])
def test_a_constraint_or_mutator_at_our_digits_is_taken_back_from_whoever_marks_it(wanted: DesiredObject) -> None:
    assert isinstance(decision(wanted, foreign(wanted)), NeedsDryRun)


@every_role
def test_what_is_being_deleted_is_made_again_only_once_it_is_gone(wanted: DesiredObject) -> None:
    change = decision(wanted, live(wanted, deleting=True, spec=EDITED))

    assert change == Blocked(wanted, "is being deleted; it is created again when it is gone")


@every_role
def test_what_is_as_desired_is_kept(wanted: DesiredObject) -> None:
    assert decision(wanted, live(wanted)) == Keep(wanted, live(wanted))


@every_role
def test_what_differs_is_asked_about_before_anything_is_written(wanted: DesiredObject) -> None:
    found = live(wanted, spec=EDITED)

    assert decision(wanted, found) == NeedsDryRun(wanted, found, target_for(wanted, found))


def test_a_difference_that_the_server_makes_up_is_none() -> None:
    wanted, found = constraint(), live(constraint())
    found = LiveObject(found.ref, {**found.manifest, "spec": {**found.manifest["spec"], "defaulted": True}})

    assert decision(wanted, found, DryRunAnswer(found)) == Keep(wanted, found)


def test_a_difference_that_stays_is_replaced_and_told() -> None:
    wanted = constraint()
    found = live(wanted, spec={**live(wanted).manifest["spec"], "enforcementAction": "dryrun"})

    change = decision(wanted, found, DryRunAnswer(live(wanted)))

    assert isinstance(change, Replace)
    assert change.differences == (Difference("spec.enforcementAction", "dryrun", "deny"),)
    assert change.target["metadata"]["resourceVersion"] == "1"
    assert change.note == ""


def test_without_an_answer_the_comparison_is_structural_and_says_so() -> None:
    wanted = constraint()

    change = decision(wanted, live(wanted, spec=EDITED), DryRunAnswer(None, unknown="no dry run for you"))

    assert isinstance(change, Replace)
    assert change.note == "compared as written; defaults may show as differences: no dry run for you"


@every_role
def test_what_the_server_refuses_is_invalid(wanted: DesiredObject) -> None:
    refused = DryRunAnswer(None, refusal="admission webhook denied")

    assert decision(wanted, None, refused) == Invalid(wanted, "admission webhook denied")
    assert decision(wanted, live(wanted, spec=EDITED), refused) == Invalid(wanted, "admission webhook denied")


def test_a_field_that_the_server_drops_is_told_at_every_look() -> None:
    wanted = constraint(limit=1)
    found = live(constraint())
    cached = CachedEqual(found, wanted.digest, ("spec.parameters",))

    assert decision(wanted, found, DryRunAnswer(found)) == Keep(wanted, found, ("spec.parameters",))
    assert decision(wanted, found, cached={found.uid: cached}) == Keep(wanted, found, ("spec.parameters",))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"live": live(constraint(), generation=2)}, id="another generation"),
        pytest.param({"live": live(constraint(limit=3))}, id="another live object"),
        pytest.param({"desired_digest": "x"}, id="another desired one"),
    ],
)
def test_an_earlier_answer_counts_only_while_nothing_changed(other: dict[str, Any]) -> None:
    wanted, found = constraint(limit=1), live(constraint())
    known: dict[str, Any] = {"live": found, "desired_digest": wanted.digest}

    assert isinstance(decision(wanted, found, cached={found.uid: CachedEqual(**{**known, **other})}), NeedsDryRun)
    assert isinstance(decision(wanted, found, cached={found.uid: CachedEqual(**known)}), Keep)


def test_an_earlier_answer_about_another_object_of_the_name_does_not_count() -> None:
    wanted, found = constraint(limit=1), live(constraint(), uid="new")
    known = CachedEqual(found, wanted.digest)

    assert isinstance(decision(wanted, found, cached={"old": known}), NeedsDryRun)


def test_a_template_version_that_was_put_back_is_not_tried_again() -> None:
    bad, good = template(rego="bad"), live(template())
    known = Rejection(spec_digest(good), spec_digest(bad))

    assert isinstance(decision(bad, good, cached={good.uid: known}), Rejected)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param(template(rego="bad"), live(template(rego="allow")), id="somebody edited what was put back"),
        pytest.param(template(rego="mended"), live(template()), id="there is another version to try"),
        pytest.param(template(rego="bad"), live(template(), uid="new"), id="it is another object of the name"),
    ],
)
def test_a_rejection_ends_with_what_it_was_about(wanted: DesiredObject, found: LiveObject) -> None:
    known = Rejection(spec_digest(live(template())), spec_digest(template(rego="bad")))

    assert isinstance(decision(wanted, found, cached={"uid-k8sthing": known}), NeedsDryRun)


def test_nobody_keeps_an_edited_template_by_writing_the_mark_of_a_rejection_on_it() -> None:
    wanted = template()
    forged = {**live(wanted).annotations, REJECTED_DIGEST: spec_digest(wanted)}

    assert isinstance(decision(wanted, live(template(rego="allow"), annotations=forged)), NeedsDryRun)


def test_a_template_that_is_as_desired_and_does_not_compile_is_not_called_kept() -> None:
    wanted = template()
    errors = [{"code": "ingest_error", "message": "no"}]
    status = {"byPod": [{"observedGeneration": 1, "templateUID": live(wanted).uid, "errors": errors}]}
    found = LiveObject(wanted.ref, {**live(wanted).manifest, "status": status})

    assert decision(wanted, found) == Rejected(wanted, found, "Gatekeeper rejects it: ingest_error: no")


def test_a_label_of_ours_changed_under_our_own_entry_is_drift() -> None:
    wanted = template()
    found = live(wanted, labels={"managed-by": "somebody"})

    change = decision(wanted, found, DryRunAnswer(live(wanted)))

    assert isinstance(change, Replace)
    assert change.differences == (Difference("labels.managed-by", "somebody", "azure-policy-sync"),)


# --- what is written -------------------------------------------------------------------------------------------------


def test_others_metadata_stays_and_keys_of_ours_that_we_did_not_set_go() -> None:
    wanted = constraint()
    theirs = {"team": "shop", "azure-policy-extra": "x", "constraint-url": "u", "azpolicy.dev/y": "z"}
    found = live(wanted, labels={"tier": "1", "managed-by": "x"}, annotations=theirs, finalizers=["a/b"])

    target = target_for(wanted, found)

    assert target["metadata"]["labels"] == {"tier": "1", "managed-by": "azure-policy-sync"}
    assert target["metadata"]["annotations"] == {"team": "shop", **MARKS.member_annotations(member())}
    assert "finalizers" not in target["metadata"]
    assert target["metadata"]["uid"] == found.uid
    assert "managedFields" not in target["metadata"]


def test_the_status_is_never_written_and_the_live_object_is_not_touched() -> None:
    found = live(constraint(), spec=EDITED)
    found = LiveObject(found.ref, {**found.manifest, "status": {"byPod": []}})
    before = copy.deepcopy(found.manifest)

    assert "status" not in target_for(constraint(), found)
    assert found.manifest == before


def test_a_template_is_written_at_the_version_of_its_document() -> None:
    wanted = template(version="v1beta1")

    assert target_for(wanted, live(template()))["apiVersion"] == "templates.gatekeeper.sh/v1beta1"


# --- constraints and their templates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("found", [None, live(constraint(), spec=EDITED)], ids=["new", "drifted"])
def test_nothing_is_built_on_a_foreign_template(found: LiveObject | None) -> None:
    others = [found] if found else []

    changes = planned(desired_state(template(), constraint()), foreign(template()), *others)

    assert isinstance(changes[template().ref], Conflict)
    assert changes[constraint().ref] == Blocked(constraint(), "its ConstraintTemplate is not ours")


def test_a_template_on_its_way_out_takes_no_new_constraint() -> None:
    changes = planned(desired_state(template(), constraint()), live(template(), deleting=True))

    assert changes[constraint().ref] == Blocked(constraint(), "its ConstraintTemplate is being deleted")


def test_a_template_that_the_server_refuses_blocks_its_constraints_unless_an_earlier_one_is_there() -> None:
    state = desired_state(template(rego="bad"), constraint())
    answers = {template().ref: DryRunAnswer(None, refusal="no")}

    assert planned(state, answers=answers)[constraint().ref] == Blocked(
        constraint(), "its ConstraintTemplate is refused"
    )
    assert planned(state, live(template()), answers=answers)[constraint().ref] == Create(constraint())


def test_a_conflict_over_one_template_blocks_no_other_kind() -> None:
    other = constraint("K8sOther")
    state = desired_state(template(), template("K8sOther"), other)

    assert planned(state, foreign(template()))[other.ref] == Create(other)


# --- pruning ---------------------------------------------------------------------------------------------------------

STAYING = [constraint("K8sStay", by=member(f"stay{n}")) for n in range(9)]
STAYING_LIVE = [live(each) for each in STAYING]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param(desired_state(outcomes=[not_applied()], listed=["a"]), DeleteReason.NOT_APPLIED, id="not applied"),
        pytest.param(
            desired_state(outcomes=[not_applied(member(whole=True))], listed=["a"]),
            DeleteReason.NOT_APPLIED,
            id="nothing of its assignment applies",
        ),
        pytest.param(desired_state(listed=["a"]), DeleteReason.MEMBER_GONE, id="its assignment lost the member"),
        pytest.param(
            desired_state(listed=["b"], gone=["a"]), DeleteReason.ASSIGNMENT_GONE, id="its assignment is gone"
        ),
        pytest.param(desired_state(listed=["b"]), DeleteReason.UNLISTED, id="its assignment is merely not listed"),
    ],
)
@pytest.mark.parametrize("extra", ALL[1:], ids=IDS[1:])
def test_what_is_no_longer_desired_goes_and_says_why(
    extra: DesiredObject, state: DesiredState, expected: DeleteReason
) -> None:
    owner = member()
    made = constraint(by=owner) if extra.role is Role.CONSTRAINT else mutator(by=owner)

    change = only(state, live(made))

    assert isinstance(change, Delete)
    assert change.reason is expected


def test_a_member_that_moved_to_another_kind_goes_after_its_successor() -> None:
    old, new = constraint("K8sThing"), constraint("K8sThingV2")

    change = planned(desired_state(template("K8sThingV2"), new), live(old))[old.ref]

    assert isinstance(change, Delete)
    assert (change.reason, change.successors) == (DeleteReason.MOVED, (new.ref,))


def test_successors_stand_in_one_order_whatever_order_they_were_desired_in() -> None:
    old, new = constraint("K8sThing"), [constraint("K8sThingV3"), constraint("K8sThingV2")]

    change = planned(desired_state(*new), live(old))[old.ref]

    assert isinstance(change, Delete)
    assert change.successors == (new[1].ref, new[0].ref)


@pytest.mark.parametrize("outcome", [unresolved(), unresolved(member(whole=True))], ids=["the member", "all of it"])
def test_what_is_not_understood_is_retained(outcome: Any) -> None:
    assert isinstance(only(desired_state(outcomes=[outcome], listed=["a"]), live(constraint())), Retain)


def test_one_unresolved_member_retains_no_other_of_its_assignment() -> None:
    state = desired_state(outcomes=[unresolved(member(reference="r"))], listed=["a"])

    assert isinstance(only(state, live(constraint(by=member(reference="s")))), Delete)


def test_not_known_outweighs_known_not_to_apply() -> None:
    state = desired_state(outcomes=[not_applied(member(whole=True)), unresolved()], listed=["a"])

    assert isinstance(only(state, live(constraint())), Retain)


def test_an_object_whose_annotations_are_gone_is_retained_while_it_may_be_an_unresolved_members() -> None:
    stripped = live(constraint(), annotations={})

    assert isinstance(only(desired_state(outcomes=[unresolved(member("b"))], listed=["b"]), stripped), Retain)
    change = only(desired_state(listed=["a"]), stripped)
    assert isinstance(change, Delete)
    assert change.reason is DeleteReason.UNLISTED


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(foreign(constraint()), id="another's at a name like ours"),
        pytest.param(live(constraint(), labels={}, annotations={}, managers=()), id="a name like ours without marks"),
        pytest.param(live(constraint(), name="my-own"), id="our marks copied onto another name"),
        pytest.param(live(constraint(), name=f"azurepolicy-k8sthing-{'g' * 20}"), id="a name with other digits"),
        pytest.param(live(constraint(), deleting=True), id="already being deleted"),
        pytest.param(foreign(template()), id="another's template"),
        pytest.param(foreign(mutator()), id="another's mutator"),
    ],
)
def test_what_is_not_ours_to_prune_is_not_in_the_plan(found: LiveObject) -> None:
    assert planned(desired_state(listed=["b"]), found, limit=PruneLimit(forced=True)) == {}


# --- templates -------------------------------------------------------------------------------------------------------


def test_an_unused_template_goes() -> None:
    change = only(desired_state(listed=["b"]), live(template()))

    assert isinstance(change, Delete)
    assert change.reason is DeleteReason.UNUSED


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(foreign(constraint(), name="theirs"), id="another's"),
        pytest.param(live(constraint(), name="copied"), id="with our marks and a name that is not ours"),
    ],
)
def test_a_template_that_others_use_is_kept(user: LiveObject) -> None:
    assert planned(desired_state(listed=["b"]), live(template()), user) == {
        template().ref: InUse(live(template()), (user.ref,))
    }


def test_a_template_whose_constraints_cannot_be_seen_is_retained() -> None:
    there = replace(inventory(live(template())), hidden=frozenset({template().ref.name}))

    assert make_plan(desired_state(listed=["b"]), there, MARKS).changes == (Retain(live(template()), HIDDEN),)


def test_changing_the_spelling_of_its_kind_does_not_part_a_template_from_its_users() -> None:
    edited: Any = copy.deepcopy(live(template()).manifest)
    edited["spec"]["crd"]["spec"]["names"]["kind"] = "k8sThing"
    theirs = foreign(constraint(), name="theirs")

    change = only(desired_state(listed=["b"]), LiveObject(template().ref, edited), theirs)

    assert isinstance(change, InUse)


def test_others_users_that_are_on_their_way_out_hold_no_template() -> None:
    theirs = foreign(constraint(), name="theirs", deleting=True)

    assert isinstance(only(desired_state(listed=["b"]), live(template()), theirs), Delete)


def test_a_template_stays_with_a_constraint_that_is_retained() -> None:
    changes = planned(desired_state(outcomes=[unresolved()], listed=["a"]), live(template()), live(constraint()))

    assert [type(change) for change in changes.values()] == [Retain, Retain]


def test_a_template_whose_definition_is_used_by_an_unresolved_member_stays() -> None:
    state = desired_state(outcomes=[unresolved(member("b", definition="D"))], listed=["b"])

    assert only(state, live(template())) == Retain(live(template()), "an unresolved policy uses its definition")


@pytest.mark.parametrize(
    ("listed", "reason"),
    [(["a"], DeleteReason.UNUSED), (["b"], DeleteReason.UNLISTED)],
    ids=["proven", "not proven"],
)
def test_a_template_is_as_proven_as_its_constraints(listed: list[str], reason: DeleteReason) -> None:
    change = planned(desired_state(listed=listed), live(template()), live(constraint()))[template().ref]

    assert isinstance(change, Delete)
    assert change.reason is reason


# --- the safety stop -------------------------------------------------------------------------------------------------


def going(count: int, *, staying: int = 9) -> dict[ObjectRef, Change]:
    """What becomes of `count` constraints whose assignments are merely not listed, beside some that stay."""
    extra = [live(constraint(by=member(f"x{n}"))) for n in range(count)]
    return planned(desired_state(*STAYING[:staying], listed=["b"]), *STAYING_LIVE[:staying], *extra)


def counted(changes: dict[ObjectRef, Change], kind: type) -> int:
    return sum(isinstance(change, kind) for change in changes.values())


@pytest.mark.parametrize(
    ("count", "staying", "refused"),
    [
        pytest.param(3, 7, 0, id="30 % of 10 is at the limit"),
        pytest.param(4, 9, 4, id="4 of 13 is over it, and none of them goes"),
        pytest.param(4, 6, 4, id="4 of 10 is over it"),
        pytest.param(4, 5, 0, id="9 objects are too few for a limit"),
        pytest.param(10, 0, 10, id="all of 10 is over it"),
        pytest.param(9, 0, 0, id="all of 9 are too few for a limit"),
    ],
)
def test_unproven_deletes_over_the_limit_are_refused(count: int, staying: int, refused: int) -> None:
    changes = going(count, staying=staying)

    assert (counted(changes, Refuse), counted(changes, Delete)) == (refused, count - refused)


def test_a_refusal_says_how_many_how_much_and_how_to_insist() -> None:
    change = next(change for change in going(6).values() if isinstance(change, Refuse))

    assert change.message == (
        "6 of 15 managed objects would be deleted, and Azure does not prove that (limit 30 %); "
        "if that is intended, run: azpolicy apply --force-prune"
    )


def extras(count: int, assignment: str = "x") -> list[LiveObject]:
    return [live(constraint(by=member(assignment, reference=f"r{n}"))) for n in range(count)]


def test_forcing_lifts_the_limit() -> None:
    changes = planned(desired_state(listed=["b"]), *extras(20), limit=PruneLimit(forced=True))

    assert counted(changes, Delete) == 20


def test_percent_and_minimum_are_settings() -> None:
    state = desired_state(*STAYING, listed=["b"])

    assert counted(planned(state, *STAYING_LIVE, *extras(4), limit=PruneLimit(percent=31)), Delete) == 4
    assert counted(planned(state, *STAYING_LIVE, *extras(1), limit=PruneLimit(percent=0)), Refuse) == 1
    assert counted(planned(desired_state(listed=["b"]), *extras(2), limit=PruneLimit(minimum=2)), Refuse) == 2


def test_an_empty_listing_deletes_nothing_however_little_there_is() -> None:
    assert isinstance(only(desired_state(listed=[]), live(constraint())), Refuse)
    assert isinstance(only(desired_state(listed=[]), live(constraint()), limit=PruneLimit(forced=True)), Delete)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(desired_state(listed=["b"], gone=["x"]), id="the assignment is gone"),
        pytest.param(desired_state(listed=["x"]), id="the members are gone"),
        pytest.param(desired_state(outcomes=[not_applied(member("x", whole=True))], listed=["x"]), id="not applied"),
        pytest.param(desired_state(listed=[], gone=["x"]), id="the assignment is gone and it was the only one"),
    ],
)
def test_what_azure_proves_is_never_refused(state: DesiredState) -> None:
    assert counted(planned(state, *extras(20)), Delete) == 20


def test_what_moved_does_not_count() -> None:
    moved = [constraint("K8sThingV2", by=member("x", reference=f"r{n}")) for n in range(20)]

    changes = planned(desired_state(template("K8sThingV2"), *moved), *extras(20))

    assert counted(changes, Delete) == 20


def test_a_template_counts_and_is_refused_with_its_constraints() -> None:
    changes = planned(desired_state(*STAYING[:7], listed=["b"]), *STAYING_LIVE[:7], *extras(3), live(template()))

    assert counted(changes, Refuse) == 4
    assert isinstance(changes[template().ref], Refuse)


def test_a_proven_delete_is_done_beside_refused_ones() -> None:
    changes = planned(desired_state(listed=["p"]), *extras(20), *extras(2, "p"))

    assert (counted(changes, Refuse), counted(changes, Delete)) == (20, 2)


def test_objects_that_only_bear_our_label_do_not_stretch_the_limit() -> None:
    padding = [live(constraint("K8sPad"), name=f"pad-{n}") for n in range(100)]

    changes = planned(desired_state(*STAYING, listed=["b"]), *STAYING_LIVE, *extras(6), *padding)

    assert counted(changes, Refuse) == 6


# --- how values are compared -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param({"a": 1}, {"a": 1}, [], id="equal"),
        pytest.param({"a": 1}, {"a": 1.0}, [], id="a number is its value"),
        pytest.param({"a": 1}, {"a": True}, [("a", 1, True)], id="true is no 1"),
        pytest.param({"a": 0}, {"a": False}, [("a", 0, False)], id="false is no 0"),
        pytest.param({"a": 1}, {"a": "1"}, [("a", 1, "1")], id="text is no number"),
        pytest.param({"a": None}, {}, [("a", None, ABSENT)], id="null is not absent"),
        pytest.param({}, {"a": None}, [("a", ABSENT, None)], id="nor absent null"),
        pytest.param({"a": None}, {"a": False}, [("a", None, False)], id="null is not false"),
        pytest.param({"a": {}}, {"a": []}, [("a", {}, [])], id="an empty list is no empty mapping"),
        pytest.param({"a": [1, 2]}, {"a": [1, 3]}, [("a[1]", 2, 3)], id="lists of one length item by item"),
        pytest.param({"a": [1]}, {"a": [1, 2]}, [("a", [1], [1, 2])], id="other lists whole"),
        pytest.param({"a": [{"b": [0]}]}, {"a": [{"b": [1]}]}, [("a[0].b[0]", 0, 1)], id="deep"),
        pytest.param({"a.b": {"c": 1}}, {}, [('["a.b"]', {"c": 1}, ABSENT)], id="a dot in a key is quoted"),
        pytest.param({"l": {"x.dev/y": 1}}, {"l": {}}, [('l["x.dev/y"]', 1, ABSENT)], id="a key with a domain"),
        pytest.param({"a": {"é": 1}}, {"a": {"é": 2}}, [('a["\\u00e9"]', 1, 2)], id="an unusual key is escaped"),
        pytest.param({"a": {"": 1}}, {"a": {"": 2}}, [('a[""]', 1, 2)], id="an empty key"),
        pytest.param({"a": "é"}, {"a": "e\u0301"}, [("a", "é", "e\u0301")], id="text is compared as it is written"),
        pytest.param({"b": 1, "a": 1}, {"a": 2, "b": 2}, [("a", 1, 2), ("b", 1, 2)], id="in the order of keys"),
    ],
)
def test_differences(before: Any, after: Any, expected: list[tuple[str, Any, Any]]) -> None:
    found = list(differences(before, after))

    assert found == [Difference(*each) for each in expected]
    assert [(type(f.before), type(f.after)) for f in found] == [(type(b), type(a)) for _, b, a in expected]
    assert same(before, after) is (not expected)


def test_a_key_with_a_line_break_makes_no_new_line() -> None:
    (found,) = differences({"a\n+ create\x1b[2J": 1}, {})

    assert str(found).isprintable()


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [({}, {"a": 1}, "a added"), ({"a": 1}, {}, "a removed"), ({"a": 1}, {"a": 2}, "a changed")],
)
def test_a_difference_in_words(before: Any, after: Any, words: str) -> None:
    assert [str(each) for each in differences(before, after)] == [words]


@pytest.mark.parametrize("live_value", [1, 1.0, "true", None])
def test_an_edit_that_changes_only_the_type_is_drift(live_value: Any) -> None:
    wanted = constraint(allow=True)
    found = live(constraint(allow=live_value))

    assert isinstance(decision(wanted, found), NeedsDryRun)
    assert isinstance(decision(wanted, found, DryRunAnswer(live(wanted))), Replace)


def test_a_whole_number_written_with_a_point_is_no_drift() -> None:
    assert isinstance(decision(constraint(limit=2.0), live(constraint(limit=2))), Keep)


@pytest.mark.parametrize(
    ("wanted", "kept", "expected"),
    [
        ({"a": 1}, {"a": 2, "b": 1}, ()),
        ({"a": {"b": 1}}, {"a": {}}, ("spec.a.b",)),
        ({"a": {"b.c": 1}}, {"a": {}}, ('spec.a["b.c"]',)),
        ({"a": [{"b": 1}, {"c": 1}]}, {"a": [{"b": 1}, {}]}, ("spec.a[1].c",)),
        ({"a": [1]}, {}, ("spec.a",)),
        ({"a": [1, 2]}, {"a": [1]}, ()),
        ({"a": 1}, None, ()),
    ],
)
def test_what_the_server_did_not_keep(wanted: Any, kept: Any, expected: tuple[str, ...]) -> None:
    assert missing(wanted, kept) == expected


@pytest.mark.parametrize("spec", [None, {}, {"crd": None}, {"crd": {"spec": None}}, {"crd": {"spec": {"names": {}}}}])
def test_a_template_that_names_no_kind_makes_none(spec: Any) -> None:
    assert template_kind({"spec": spec}) == ""

"""ExpansionTemplates in a plan: made, taken back, left to whoever has one, and gone with what needs them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.changes import (
    Blocked,
    Conflict,
    Create,
    Delete,
    Keep,
    NeedsDryRun,
    Rejected,
    Replace,
    Retain,
    ref_of,
)
from controller.cluster.dry_run import DryRunAnswer
from controller.cluster.kinds import EXPANSION, LiveObject
from controller.cluster.last_state import canonical, of_canonical
from controller.cluster.plan import decide, make_plan
from controller.cluster.webhooks import admitted_kinds
from controller.cluster.written import Kept
from controller.gatekeeper.expansion import EXPANSION_REFS, expansion_templates, with_source
from controller.gatekeeper.model import Role
from controller.migration.parallel import in_dry_run
from tests.unit.cluster_builders import (
    MARKS,
    constraint,
    desired_state,
    foreign,
    inventory,
    live,
    member,
    template,
    unresolved,
)

if TYPE_CHECKING:
    from controller.cluster.changes import Change
    from controller.cluster.kinds import Inventory
    from controller.gatekeeper.model import DesiredState, ObjectRef

WIDE: Final = with_source(constraint(), "All")
CRONJOBS, WORKLOADS = expansion_templates([WIDE], MARKS)
WANTED: Final = desired_state(template(), CRONJOBS, WORKLOADS, WIDE)
THERE: Final = (live(template()), live(WIDE))


def planned(state: DesiredState, found: Inventory) -> dict[ObjectRef, Change]:
    return {ref_of(change): change for change in make_plan(state, found, MARKS).changes}


def theirs(*kinds: str, group: str = "apps", version: str = "v1", **spec: Any) -> Any:
    made = {"group": "", "version": "v1", "kind": "Pod"}
    applies = [{"groups": [group], "versions": [version], "kinds": list(kinds)}]
    whole = {"applyTo": applies, "templateSource": "spec.template", "generatedGVK": made, **spec}
    return foreign(WORKLOADS, name="theirs", spec=whole)


def test_what_is_not_there_is_made_and_what_is_stays() -> None:
    first = planned(WANTED, inventory(*THERE))
    then = planned(WANTED, inventory(*THERE, live(CRONJOBS), live(WORKLOADS)))

    assert all(isinstance(first[ref], Create) for ref in EXPANSION_REFS)
    assert all(isinstance(then[ref], Keep) for ref in EXPANSION_REFS)


def test_a_constraint_that_gets_azures_default_source_is_told_why() -> None:
    """After an upgrade a plan shows the field at each constraint on pods."""
    wanted, old = with_source(constraint(), "Original"), live(constraint())
    stored = DryRunAnswer(live(wanted))

    change = decide(wanted, old, MARKS, {}, stored)

    assert isinstance(change, Replace)
    assert "Azure's default" in change.note


def test_an_enforcement_action_on_ours_is_drift() -> None:
    edited = live(WORKLOADS, spec={**live(WORKLOADS).manifest["spec"], "enforcementAction": "dryrun"})

    assert isinstance(planned(WANTED, inventory(*THERE, edited))[WORKLOADS.ref], NeedsDryRun)


def test_anothers_for_the_same_workloads_is_a_conflict_that_names_it_and_only_for_these() -> None:
    found = planned(WANTED, inventory(*THERE, theirs("Deployment", "StatefulSet")))

    change = found[WORKLOADS.ref]
    assert isinstance(change, Conflict)
    assert "ExpansionTemplate/theirs" in change.message
    assert "makes pods of Deployment, StatefulSet already" in change.message
    assert isinstance(found[CRONJOBS.ref], Create)


@pytest.mark.parametrize(
    "other",
    [
        theirs("Rollout", group="argoproj.io", version="v1alpha1"),
        theirs("Deployment", version="v1beta1"),
        theirs("Deployment", generatedGVK={"group": "apps", "version": "v1", "kind": "ReplicaSet"}),
        theirs("Deployment", applyTo="everything"),
        theirs("Deployment", applyTo=[None, {"kinds": 1}]),
        theirs("Deployment", generatedGVK=None),
    ],
    ids=["another workload", "another version", "no pods", "no list", "no kinds", "nothing"],
)
def test_anothers_for_something_else_is_none(other: Any) -> None:
    assert isinstance(planned(WANTED, inventory(*THERE, other))[WORKLOADS.ref], Create)


def test_a_conflict_is_found_at_once_however_long_anothers_lists_are() -> None:
    """Their combinations would take hours."""
    many = [f"x{number}" for number in range(20_000)]
    long = [{"groups": [*many, "apps"], "versions": [*many, "v1"], "kinds": [*many, "Deployment"]}]

    assert isinstance(planned(WANTED, inventory(*THERE, theirs("", applyTo=long)))[WORKLOADS.ref], Conflict)


def test_ours_stays_as_it_is_when_another_comes_later() -> None:
    """Whoever makes one with enforcementAction dryrun must not switch ours off."""
    found = planned(WANTED, inventory(*THERE, live(WORKLOADS), theirs("Deployment", enforcementAction="dryrun")))

    assert isinstance(found[WORKLOADS.ref], Keep)


@pytest.mark.parametrize(("observed", "expected"), [(1, Rejected), (0, Keep)], ids=["now", "before"])
def test_one_that_gatekeeper_rejects_does_not_look_good(observed: int, expected: type[Change]) -> None:
    """Another's ExpansionTemplate that makes a Deployment of a pod is a cycle with ours, and switches both off."""
    cycle = [{"type": "create_error", "message": "template forms expansion cycle"}]
    said = {"byPod": [{"observedGeneration": observed, "errors": cycle}]}
    rejected = LiveObject(WORKLOADS.ref, {**live(WORKLOADS).manifest, "status": said})

    change = planned(WANTED, inventory(*THERE, live(CRONJOBS), rejected))[WORKLOADS.ref]

    assert isinstance(change, expected)
    assert "expansion cycle" in getattr(change, "message", "expansion cycle")


def test_a_foreign_one_of_our_name_is_a_conflict() -> None:
    assert isinstance(planned(WANTED, inventory(*THERE, foreign(WORKLOADS)))[WORKLOADS.ref], Conflict)


def test_a_gatekeeper_without_the_kind_is_told_and_the_rest_goes_on() -> None:
    absent = replace(inventory(live(template())), absent=frozenset({(EXPANSION.group, EXPANSION.kind)}))

    found = planned(WANTED, absent)

    change = found[WORKLOADS.ref]
    assert isinstance(change, Blocked)
    assert "has no kind ExpansionTemplate" in change.message
    assert isinstance(found[WIDE.ref], Create)


def test_they_go_with_the_last_policy_that_needs_them() -> None:
    plain = constraint()

    found = planned(
        desired_state(template(), plain), inventory(live(template()), live(plain), live(CRONJOBS), live(WORKLOADS))
    )

    assert all(isinstance(found[ref], Delete) for ref in EXPANSION_REFS)


def test_anothers_of_our_name_never_goes() -> None:
    assert WORKLOADS.ref not in planned(desired_state(listed=["a"]), inventory(foreign(WORKLOADS)))


@pytest.mark.parametrize(("stays", "expected"), [(WIDE, Retain), (constraint(), Delete)], ids=["All", "nothing"])
def test_they_stay_with_a_policy_that_is_not_known_and_looks_at_their_pods(stays: Any, expected: type[Change]) -> None:
    state = desired_state(outcomes=[unresolved(member())], listed=["a"])

    found = planned(state, inventory(live(template()), live(stays), live(WORKLOADS)))

    assert isinstance(found[WORKLOADS.ref], expected)


def test_the_last_good_state_keeps_them() -> None:
    assert of_canonical(canonical(Kept(WANTED))).desired == WANTED


def test_gatekeepers_webhook_has_to_be_asked_about_the_workloads() -> None:
    assert {("apps", "Deployment"), ("batch", "CronJob"), ("", "Pod")} <= admitted_kinds(WANTED.objects)


def test_a_dry_run_beside_the_add_on_makes_none() -> None:
    """They would have others' constraints, whose source is All by default, deny workloads."""
    assert not any(each.role is Role.EXPANSION for each in in_dry_run(WANTED).objects)

"""A template whose kind is spelled in other letters than in the cluster: deleted with its constraints, and made again.

The API server never changes the kind of a CustomResourceDefinition, and serves both spellings at one path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster.apply import Action, Applier, ChangeSet, planned
from controller.cluster.changes import (
    Blocked,
    Change,
    Create,
    Delete,
    DeleteReason,
    Keep,
    NeedsDryRun,
    Plan,
    Recreate,
    Retain,
    ref_of,
)
from controller.cluster.client import Response
from controller.cluster.dry_run import DryRunCache
from controller.cluster.inventory import take_inventory
from controller.cluster.plan import make_plan, target_for
from tests.unit.cluster_builders import (
    CLUSTER_ID,
    KIND,
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
from tests.unit.fake_api import BAD_REGO, FakeApi, status

if TYPE_CHECKING:
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import DesiredObject, DesiredState

OLD = KIND.upper()
WANTED = (template(), constraint())
CRD = f"customresourcedefinitions/{KIND.lower()}.constraints.gatekeeper.sh"


@pytest.fixture
def api() -> FakeApi:
    """A cluster with the template and the constraint of the old spelling."""
    there = FakeApi()
    there.put(live(template(OLD)))
    there.put(live(constraint(OLD)))
    return there


async def plan_for(api: FakeApi, *wanted: DesiredObject, **keywords: Any) -> Plan:
    state = desired_state(*wanted, **keywords)
    return make_plan(state, await take_inventory(api, state.objects), MARKS)


async def carry_out(api: FakeApi, plan: Plan, ready_timeout: float = 0.2) -> ChangeSet:
    return await Applier(api, MARKS, DryRunCache(), ready_timeout=ready_timeout).apply(plan)


def decided(state: DesiredState, *found: LiveObject) -> list[Change]:
    return list(make_plan(state, inventory(*found), MARKS).changes)


# --- the plan --------------------------------------------------------------------------------------------------------


def test_a_template_of_another_spelling_is_made_again_and_its_constraint_goes_with_it() -> None:
    old_template, old_constraint = live(template(OLD)), live(constraint(OLD))

    made, created, deleted = decided(desired_state(*WANTED), old_template, old_constraint)

    assert made == Recreate(template(), old_template, OLD)
    assert created == Create(constraint())
    assert deleted == Delete(
        old_constraint, DeleteReason.MOVED, "its policy is enforced by another object now", (template().ref,)
    )


def test_what_is_served_tells_the_spelling_and_not_the_text_of_the_template() -> None:
    edited = live(template(OLD))

    changes = decided(desired_state(*WANTED), edited, live(constraint()))

    assert [type(change) for change in changes] == [NeedsDryRun, Keep]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(foreign(constraint(OLD), name="somebodys"), id="somebody's"),
        pytest.param(live(constraint(OLD, by=member("b"))), id="of a policy that is not resolved"),
    ],
)
def test_a_template_waits_while_a_constraint_is_to_stay(other: LiveObject) -> None:
    state = desired_state(*WANTED, outcomes=[unresolved(member("b"))])

    changes = {ref_of(change): change for change in decided(state, live(template(OLD)), live(constraint(OLD)), other)}

    waiting = changes[template().ref]
    assert isinstance(waiting, Blocked)
    assert f"its kind is {OLD} here" in waiting.message
    assert str(other.ref) in waiting.message
    assert changes[constraint().ref] == Blocked(constraint(), "its ConstraintTemplate cannot be made again yet")
    assert isinstance(changes[constraint(OLD).ref], Retain)


def test_a_constraint_that_is_on_its_way_out_holds_nothing_up() -> None:
    going = foreign(constraint(OLD), name="somebodys", deleting=True)

    changes = decided(desired_state(*WANTED), live(template(OLD)), going)

    assert isinstance(changes[0], Recreate)


def test_the_plan_says_what_happens() -> None:
    told = planned(Recreate(template(), live(template(OLD)), OLD))

    assert (told.action, told.reason) == (Action.REPLACED, "KindSpelled")
    assert told.message == f"its kind is {OLD} here, in other letters: it is made again, and its constraints with it"
    assert [(each.path, each.before, each.after) for each in told.differences] == [
        ("spec.crd.spec.names.kind", OLD, KIND)
    ]


# --- what is listed --------------------------------------------------------------------------------------------------


async def test_a_constraint_bears_the_kind_that_it_has_and_is_listed_once(api: FakeApi) -> None:
    taken = await take_inventory(api, WANTED)

    assert [ref for ref in taken.objects if ref.kind != "ConstraintTemplate"] == [constraint(OLD).ref]
    assert taken.served == {OLD}


# --- carried out -----------------------------------------------------------------------------------------------------


async def test_the_new_spelling_enforces_and_nothing_of_the_old_is_left(api: FakeApi) -> None:
    outcome = await carry_out(api, await plan_for(api, *WANTED))

    assert {str(result.ref): result.action for result in outcome.results} == {
        str(template().ref): Action.REPLACED,
        str(constraint().ref): Action.CREATED,
        str(constraint(OLD).ref): Action.DELETED,
    }
    assert api.found(template().ref).manifest["spec"] == template().manifest["spec"]
    assert api.found(constraint().ref).manifest["kind"] == KIND
    assert [type(change) for change in (await plan_for(api, *WANTED)).changes] == [Keep, Keep]
    assert api.count("DELETE") == 1


async def test_nothing_is_deleted_where_a_constraint_came_to_use_it_since(api: FakeApi) -> None:
    plan = await plan_for(api, *WANTED)
    api.put(foreign(constraint(OLD), name="somebodys"))

    outcome = await carry_out(api, plan)

    assert {result.action for result in outcome.results} == {Action.BLOCKED}
    assert api.count("DELETE") == 0


async def test_who_made_it_again_meanwhile_is_no_fault(api: FakeApi) -> None:
    plan = await plan_for(api, *WANTED)
    api.at("POST", "constrainttemplates", act=lambda: api.put(live(template())))

    outcome = await carry_out(api, plan)

    assert outcome.problems == ()


async def test_the_kind_of_a_template_that_a_repair_made_again_is_not_taken_for_the_old_one(api: FakeApi) -> None:
    plan = await plan_for(api, *WANTED)
    old, new = (
        Response(
            200, {"kind": "CustomResourceDefinition", "metadata": {"uid": kind}, "spec": {"names": {"kind": kind}}}
        )
        for kind in (OLD, KIND)
    )
    api.at("GET", CRD, old)
    # Between two looks at it, the old one went and the new one came.
    api.at("GET", CRD, new, act=lambda: api.put(live(template())))

    outcome = await carry_out(api, plan)

    assert outcome.problems == ()
    assert api.has(constraint().ref)


async def test_a_foreign_template_that_took_its_place_is_left_alone(api: FakeApi) -> None:
    plan = await plan_for(api, *WANTED)
    api.at("POST", "constrainttemplates", act=lambda: api.put(foreign(template())))

    outcome = await carry_out(api, plan)

    assert outcome.results[0].action is Action.BLOCKED
    assert api.found(template().ref).labels == {"managed-by": "somebody"}


async def test_a_kind_that_stays_is_told_and_waited_for_no_longer_than_for_others(api: FakeApi) -> None:
    plan = await plan_for(api, *WANTED)
    crd = {"kind": "CustomResourceDefinition", "spec": {"names": {"kind": OLD}}}
    api.at("GET", CRD, Response(200, crd), times=100)

    outcome = await carry_out(api, plan, ready_timeout=0.01)

    assert outcome.results[0].reason == "TemplateNotReady"
    assert "still there" in outcome.results[0].message


@pytest.mark.parametrize("request_", ["DELETE", "POST"])
async def test_a_refusal_is_told(api: FakeApi, request_: str) -> None:
    plan = await plan_for(api, *WANTED)
    where = "constrainttemplates" if request_ == "POST" else template().ref.name
    api.at(request_, where, status(403, "not by you", "Forbidden"))

    outcome = await carry_out(api, plan)

    assert (outcome.results[0].action, outcome.results[0].reason) == (Action.FAILED, "Forbidden")


async def test_a_template_that_does_not_compile_is_told(api: FakeApi) -> None:
    outcome = await carry_out(api, await plan_for(api, template(rego=BAD_REGO), constraint()))

    assert outcome.results[0].action is Action.REJECTED


async def test_what_discovery_still_tells_of_a_kind_that_is_gone_deletes_nothing() -> None:
    api = FakeApi()
    api.put(live(template()))
    api.put(live(constraint()))
    resource = {"name": KIND.lower(), "kind": OLD, "verbs": ["list"]}
    api.at(
        "GET", "constraints.gatekeeper.sh/v1beta1", Response(200, {"kind": "APIResourceList", "resources": [resource]})
    )

    plan = await plan_for(api, *WANTED)
    outcome = await carry_out(api, plan)

    assert isinstance(plan.changes[0], Recreate)
    assert outcome.problems == ()
    assert api.count("DELETE") == 0


async def test_a_repair_of_one_template_never_writes_a_kind_that_its_definition_does_not_take(api: FakeApi) -> None:
    found = api.found(template().ref)
    change = NeedsDryRun(template(), found, target_for(template(), found))

    outcome = await carry_out(api, Plan(CLUSTER_ID, (change,)))

    assert outcome.results[0].action is Action.BLOCKED
    assert OLD in outcome.results[0].message
    assert api.count("PUT") == 0


async def test_an_edit_of_the_templates_own_spelling_is_put_right() -> None:
    api = FakeApi()
    api.put(live(template()))
    api.edit(template().ref, crd=template(OLD).manifest["spec"]["crd"])  # type: ignore[index,call-overload]
    found = api.found(template().ref)

    outcome = await carry_out(api, Plan(CLUSTER_ID, (NeedsDryRun(template(), found, target_for(template(), found)),)))

    assert outcome.results[0].action is Action.REPLACED
    assert api.found(template().ref).manifest["spec"] == template().manifest["spec"]

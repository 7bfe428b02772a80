"""Carrying out a plan while others write to the same cluster: races that a real one shows too seldom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster.apply import NUDGED, REJECTED_DIGEST, Action, Applier, ChangeSet, Meanwhile, Result
from controller.cluster.changes import (
    Create,
    Delete,
    DeleteReason,
    Invalid,
    Keep,
    NeedsDryRun,
    Plan,
    Rejected,
    Replace,
    Retain,
)
from controller.cluster.dry_run import DryRunCache
from controller.cluster.kinds import LiveObject, kind_of, template_kind
from controller.cluster.plan import decide, target_for
from tests.unit.cluster_builders import CLUSTER_ID, MARKS, constraint, foreign, live, member, mutator, template
from tests.unit.fake_api import BAD_REGO, FakeApi, status
from tests.unit.virtual_time import clock, in_virtual_time

if TYPE_CHECKING:
    from controller.cluster.changes import Change, Decision
    from controller.cluster.dry_run import DryRunAnswer
    from controller.gatekeeper.model import DesiredObject, ObjectRef

DENIED = 'admission webhook "validation.gatekeeper.sh" denied the request: no'
PREVENTED = "ValidatingAdmissionPolicy 'azpolicy-prevention' denied request: azpolicy manages this object: change ..."
EDIT = {"enforcementAction": "dryrun"}


@pytest.fixture
def api() -> FakeApi:
    """An empty cluster."""
    return FakeApi()


@pytest.fixture
def cache() -> DryRunCache:
    """What the process remembers; nothing yet."""
    return DryRunCache()


async def carry_out(api: FakeApi, cache: DryRunCache, *changes: Change, ready_timeout: float = 0.2) -> ChangeSet:
    applier = Applier(api, MARKS, cache, ready_timeout=ready_timeout, nudges=True)
    return await applier.apply(Plan(CLUSTER_ID, changes))


async def one(api: FakeApi, cache: DryRunCache, change: Change) -> Result:
    (result,) = (await carry_out(api, cache, change)).results
    return result


def drifted(api: FakeApi, wanted: DesiredObject, **spec: Any) -> NeedsDryRun:
    """An edited object in the cluster, and the change that repairs it."""
    api.put(live(wanted))
    api.edit(wanted.ref, **(spec or EDIT))
    found = api.found(wanted.ref)
    return NeedsDryRun(wanted, found, target_for(wanted, found))


def again(api: FakeApi, cache: DryRunCache, wanted: DesiredObject) -> Decision:
    return decide(wanted, api.found(wanted.ref) if api.has(wanted.ref) else None, MARKS, cache.entries)


# --- what goes well --------------------------------------------------------------------------------------------------


async def test_a_constraint_is_made_after_its_template_whatever_their_order_in_the_plan(
    api: FakeApi, cache: DryRunCache
) -> None:
    outcome = await carry_out(api, cache, Create(constraint()), Create(template()))

    assert [call.path.rpartition("/")[2] for call in api.calls if call.method == "POST"] == [
        "constrainttemplates",
        "k8sthing",
    ]
    assert {result.action for result in outcome.results} == {Action.CREATED}


async def test_what_was_carried_out_is_kept_at_the_next_look(api: FakeApi, cache: DryRunCache) -> None:
    wanted = (template(), constraint(), mutator())

    await carry_out(api, cache, *map(Create, wanted))

    assert [type(again(api, cache, each)) for each in wanted] == [Keep] * 3


async def test_each_change_is_told_once_it_has_ended(api: FakeApi, cache: DryRunCache) -> None:
    told: list[Result] = []

    outcome = await Applier(api, MARKS, cache).apply(
        Plan(CLUSTER_ID, (Create(constraint()), Create(template()))), told.append
    )

    assert [each.ref.kind for each in told] == ["ConstraintTemplate", "K8sThing"]
    assert {*map(id, told)} == {*map(id, outcome.results)}


# --- others write at the same time -----------------------------------------------------------------------------------


async def test_a_repair_survives_writes_of_the_status_in_between(api: FakeApi, cache: DryRunCache) -> None:
    wanted = mutator()
    change = drifted(api, wanted)
    api.at("PUT", wanted.ref.name, act=lambda: api.touch(wanted.ref), times=3)

    result = await one(api, cache, change)

    assert result.action is Action.REPLACED
    assert api.found(wanted.ref).manifest["spec"] == wanted.manifest["spec"]


async def test_a_repair_gives_up_on_an_object_that_changes_at_every_try(api: FakeApi, cache: DryRunCache) -> None:
    wanted = mutator()
    change = drifted(api, wanted)
    api.at("PUT", wanted.ref.name, act=lambda: api.touch(wanted.ref), times=100)

    result = await one(api, cache, change)

    assert (result.action, result.reason) == (Action.FAILED, "ConcurrentChanges")
    assert api.count("PUT") == 5


async def test_who_was_put_right_by_somebody_else_is_left_alone(api: FakeApi, cache: DryRunCache) -> None:
    wanted = mutator()
    change = drifted(api, wanted)
    api.at("PUT", wanted.ref.name, act=lambda: api.put(live(wanted)))

    result = await one(api, cache, change)

    assert result.action is Action.UNCHANGED
    assert api.count("PUT") == 1


async def test_what_was_deleted_meanwhile_is_created(api: FakeApi, cache: DryRunCache) -> None:
    wanted = mutator()
    change = drifted(api, wanted)
    api.at("PUT", wanted.ref.name, act=lambda: api.remove(wanted.ref))

    assert (await one(api, cache, change)).action is Action.CREATED
    assert api.has(wanted.ref)


async def test_a_repair_does_not_write_over_what_is_being_deleted(api: FakeApi, cache: DryRunCache) -> None:
    wanted = mutator()
    change = drifted(api, wanted)
    api.at("PUT", wanted.ref.name, act=lambda: api.put(live(wanted, deleting=True, spec=EDIT)))

    assert (await one(api, cache, change)).action is Action.BLOCKED
    assert api.found(wanted.ref).manifest["spec"] == EDIT


async def test_what_a_finalizer_keeps_from_going_is_let_go_and_made_again(api: FakeApi, cache: DryRunCache) -> None:
    wanted = constraint()
    api.put(live(template()))
    entry = {"manager": "mallory", "operation": "Update", "fieldsV1": {"f:metadata": {"f:finalizers": {}}}}
    kept = live(wanted, finalizers=["evil.example/hold"], deleting=True)
    kept = LiveObject(kept.ref, {**kept.manifest, "metadata": {**kept.metadata, "managedFields": [entry]}})
    found = api.put(kept)
    change = decide(wanted, found, MARKS, cache.entries)
    assert isinstance(change, Replace)

    result = await one(api, cache, change)

    assert (result.action, result.changed_by) == (Action.REPLACED, ("mallory",))
    assert [each.path for each in result.differences] == ["finalizers"]
    there = api.found(wanted.ref)
    assert not there.deleting
    assert "finalizers" not in there.metadata
    assert there.uid != found.uid


@pytest.mark.parametrize("hold", ["finalizers", "ownerReferences"])
async def test_what_decides_over_the_end_of_our_objects_is_drift(api: FakeApi, cache: DryRunCache, hold: str) -> None:
    wanted = mutator()
    bound: Any = {hold: ["x"]}
    found = api.put(live(wanted, **bound))
    change = decide(wanted, found, MARKS, cache.entries)
    assert isinstance(change, NeedsDryRun)

    assert (await one(api, cache, change)).action is Action.REPLACED
    assert hold not in api.found(wanted.ref).metadata


async def test_what_was_created_by_another_copy_of_us_is_no_error(api: FakeApi, cache: DryRunCache) -> None:
    wanted = mutator()
    api.at("POST", "assign", act=lambda: api.put(live(wanted)))

    assert (await one(api, cache, Create(wanted))).action is Action.UNCHANGED


@pytest.mark.parametrize("change", ["create", "replace"])
async def test_a_template_that_somebody_made_in_between_is_not_overwritten(
    api: FakeApi, cache: DryRunCache, change: str
) -> None:
    wanted = template()
    theirs = foreign(template(rego="theirs"))
    planned: Change = Create(wanted) if change == "create" else drifted(api, template(), targets=[{"rego": "edit"}])
    api.at("POST" if change == "create" else "PUT", "", act=lambda: api.put(theirs))

    result = await one(api, cache, planned)

    assert result.action is Action.CONFLICT
    assert api.found(wanted.ref).manifest["spec"] == theirs.manifest["spec"]


async def test_a_repair_without_its_template_in_the_plan_builds_nothing_on_a_foreign_one(
    api: FakeApi, cache: DryRunCache
) -> None:
    api.put(foreign(template()))

    result = await one(api, cache, Create(constraint()))

    assert (result.action, result.message) == (Action.BLOCKED, "its ConstraintTemplate is not ours")
    assert not api.has(constraint().ref)


async def test_a_repair_of_a_constraint_builds_nothing_on_a_foreign_template_either(
    api: FakeApi, cache: DryRunCache
) -> None:
    change = drifted(api, constraint())
    api.put(foreign(template()))

    result = await one(api, cache, change)

    assert (result.action, result.message) == (Action.BLOCKED, "its ConstraintTemplate is not ours")


async def test_a_loosened_constraint_is_repaired_while_a_gatekeeper_pod_lags_behind_its_template(
    api: FakeApi, cache: DryRunCache
) -> None:
    found = api.put(live(template()))
    api.merge(kind_of(found.ref).path(found.ref.name), {"status": {"byPod": [{"observedGeneration": 0}]}})
    change = drifted(api, constraint())

    outcome = await carry_out(api, cache, Keep(template(), found), change)

    assert [result.action for result in outcome.results] == [Action.UNCHANGED, Action.REPLACED]
    assert api.found(constraint().ref).manifest["spec"] == constraint().manifest["spec"]


# --- the server says no ----------------------------------------------------------------------------------------------


async def test_a_request_that_is_put_off_is_repeated(api: FakeApi, cache: DryRunCache) -> None:
    api.at("POST", "assign", status(429, "later", retry_after=0), times=2)

    assert (await one(api, cache, Create(mutator()))).action is Action.CREATED
    assert api.count("POST") == 3


async def test_a_refusal_by_a_webhook_is_not_repeated_and_hurts_no_other(api: FakeApi, cache: DryRunCache) -> None:
    other = constraint("K8sOther")
    api.at("POST", "k8sthing", status(500, DENIED))

    outcome = await carry_out(
        api, cache, Create(template()), Create(constraint()), Create(template("K8sOther")), Create(other)
    )

    found = {result.ref: result for result in outcome.results}
    assert (found[constraint().ref].action, found[constraint().ref].reason) == (Action.FAILED, "Denied")
    assert found[other.ref].action is Action.CREATED
    assert sum(call.path.endswith("k8sthing") and call.method == "POST" for call in api.calls) == 1


@in_virtual_time
async def test_other_errors_keep_the_servers_own_word() -> None:
    api, cache = FakeApi(), DryRunCache()
    api.at("POST", "assign", status(500, "etcd is unwell", "InternalError"), times=5)

    result = await one(api, cache, Create(mutator()))

    assert (result.action, result.reason) == (Action.FAILED, "InternalError")
    assert result.message == f"Assign/{mutator().ref.name}: etcd is unwell"


TOO_BUSY = status(500, 'failed calling webhook "validation.gatekeeper.sh": context deadline exceeded', "InternalError")


@in_virtual_time
async def test_a_write_whose_webhook_is_too_busy_is_made_once_it_answers() -> None:
    api, cache = FakeApi(), DryRunCache()
    change = drifted(api, mutator())
    api.at("PUT", mutator().ref.name, TOO_BUSY, times=2)
    api.at("POST", "k8sthing", TOO_BUSY, times=4)

    outcome = await carry_out(api, cache, change, Create(template()), Create(constraint()))

    assert [result.action for result in outcome.results] == [Action.REPLACED, Action.CREATED, Action.CREATED]
    assert 4 <= clock() < 5, "a second before each"


@in_virtual_time
async def test_a_write_that_was_made_without_an_answer_is_not_made_twice() -> None:
    api, cache = FakeApi(), DryRunCache()
    late = status(504, "the request did not end in time", "Timeout")
    api.at("POST", "constrainttemplates", late, act=lambda: api.put(live(template())))
    working = busy(api, template(), seconds=25)

    outcome = await carry_out(api, cache, Create(template()), Create(constraint()), ready_timeout=90)

    assert [result.action for result in outcome.results] == [Action.UNCHANGED, Action.CREATED]
    assert (api.count("POST"), api.count("PUT")) == (2, 0)
    assert clock() >= 25, "the constraint waits for Gatekeeper all the same"
    await working


@in_virtual_time
async def test_what_nobody_wants_any_more_is_not_written_again() -> None:
    api = FakeApi()
    wanted = True

    def unwant() -> None:
        nonlocal wanted
        wanted = False

    api.at("POST", "assign", TOO_BUSY, act=unwant)
    applier = Applier(api, MARKS, DryRunCache())
    outcome = await applier.apply(
        Plan(CLUSTER_ID, (Create(mutator()),)), meanwhile=Meanwhile(superseded=lambda _: not wanted)
    )

    assert [result.reason for result in outcome.results] == ["Superseded"]
    assert api.count("POST") == 1


async def test_an_unreadable_cluster_fails_one_change_and_not_the_plan(api: FakeApi, cache: DryRunCache) -> None:
    change = drifted(api, mutator())
    api.at("PUT", mutator().ref.name, status(409, "changed", "Conflict"))
    api.at("GET", mutator().ref.name, status(500, "no", "InternalError"))

    outcome = await carry_out(api, cache, change, Create(template()))

    assert [result.action for result in outcome.results] == [Action.FAILED, Action.CREATED]


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        pytest.param(422, "spec.x: Invalid value", "refusal", id="invalid"),
        pytest.param(500, DENIED, "refusal", id="denied with 500"),
        pytest.param(403, DENIED, "refusal", id="denied with 403"),
        pytest.param(403, PREVENTED, "unknown", id="denied by prevention"),
        pytest.param(403, "forbidden: cannot update", "unknown", id="no right to ask"),
        pytest.param(404, "not found", "unknown", id="gone meanwhile"),
    ],
)
async def test_what_a_dry_run_answers(api: FakeApi, cache: DryRunCache, code: int, message: str, expected: str) -> None:
    change = drifted(api, mutator())
    api.at("PUT", mutator().ref.name, status(code, message))

    answer = await Applier(api, MARKS, cache).answer(change)

    assert getattr(answer, expected) == message
    assert answer.stored is None


@pytest.mark.parametrize(("failures", "expected"), [(2, "stored"), (3, "unknown")])
async def test_a_webhook_that_does_not_answer_in_time_is_asked_again_and_refuses_nothing(
    api: FakeApi, cache: DryRunCache, failures: int, expected: str
) -> None:
    change = drifted(api, mutator())
    api.at("PUT", mutator().ref.name, status(500, "failed calling webhook: deadline exceeded"), times=failures)

    answer = await Applier(api, MARKS, cache).answer(change)

    assert getattr(answer, expected)
    assert not answer.refusal


@pytest.mark.parametrize("audits", [1, 2])
async def test_a_status_that_is_written_before_a_dry_run_is_no_change(
    api: FakeApi, cache: DryRunCache, audits: int
) -> None:
    change, ref = drifted(api, mutator()), mutator().ref
    api.at("PUT", ref.name, act=lambda: api.touch(ref), times=audits)

    answer = await Applier(api, MARKS, cache).answer(change)

    assert answer.stored is not None
    assert answer.stored.manifest["spec"] == mutator().manifest["spec"]


@pytest.mark.parametrize("happens", ["edit", "remove"])
async def test_what_is_changed_before_a_dry_run_is_unknown(api: FakeApi, cache: DryRunCache, happens: str) -> None:
    change, ref = drifted(api, mutator()), mutator().ref
    api.at("PUT", ref.name, act=lambda: api.edit(ref, location="x") if happens == "edit" else api.remove(ref))

    answer = await Applier(api, MARKS, cache).answer(change)

    assert (answer.stored, answer.refusal) == (None, "")
    assert answer.unknown
    assert sum(call.method == "PUT" for call in api.calls) == 1


async def test_a_dry_run_writes_nothing(api: FakeApi, cache: DryRunCache) -> None:
    change = drifted(api, mutator())
    before = api.found(mutator().ref)

    answers: list[DryRunAnswer] = [
        await Applier(api, MARKS, cache).answer(each) for each in (change, Create(mutator(by=member("z"))))
    ]

    assert all(answer.stored for answer in answers)
    assert api.found(mutator().ref) == before
    assert not api.has(mutator(by=member("z")).ref)
    assert (api.count("PUT"), api.count("POST")) == (0, 0)


# --- templates that do not compile -----------------------------------------------------------------------------------

BAD = template(rego=BAD_REGO)


async def test_a_template_that_does_not_compile_is_put_back_and_not_tried_again(
    api: FakeApi, cache: DryRunCache
) -> None:
    good = api.put(live(template()))

    result = await one(api, cache, NeedsDryRun(BAD, good, target_for(BAD, good)))

    assert (result.action, result.reason) == (Action.REJECTED, "TemplateRejected")
    assert result.message == (
        "Gatekeeper rejects it: ingest_error: rego_parse_error(the last good one is back in place)"
    )
    assert api.found(BAD.ref).manifest["spec"] == good.manifest["spec"]
    assert REJECTED_DIGEST in api.found(BAD.ref).annotations
    assert isinstance(again(api, cache, BAD), Rejected)


async def test_an_edit_of_what_was_put_back_is_undone(api: FakeApi, cache: DryRunCache) -> None:
    good = api.put(live(template()))
    await one(api, cache, NeedsDryRun(BAD, good, target_for(BAD, good)))
    api.edit(BAD.ref, targets=[{"target": "admission.k8s.gatekeeper.sh", "rego": "allows everything"}])

    change = again(api, cache, BAD)
    assert isinstance(change, NeedsDryRun)
    await one(api, cache, change)

    assert api.found(BAD.ref).manifest["spec"] == good.manifest["spec"]
    assert isinstance(again(api, cache, BAD), Rejected)


async def test_a_mended_version_is_tried_and_kept(api: FakeApi, cache: DryRunCache) -> None:
    good = api.put(live(template()))
    await one(api, cache, NeedsDryRun(BAD, good, target_for(BAD, good)))
    mended = template(rego="package mended")

    change = again(api, cache, mended)
    assert isinstance(change, NeedsDryRun)

    assert (await one(api, cache, change)).action is Action.REPLACED
    assert isinstance(again(api, cache, mended), Keep)
    assert cache.written.templates == {mended.ref: mended}


async def test_putting_back_survives_writes_in_between(api: FakeApi, cache: DryRunCache) -> None:
    good = api.put(live(template()))
    change = NeedsDryRun(BAD, good, target_for(BAD, good))
    api.at("PUT", "k8sthing")
    api.at("PUT", "k8sthing", act=lambda: api.touch(BAD.ref), times=3)

    await one(api, cache, change)

    assert api.found(BAD.ref).manifest["spec"] == good.manifest["spec"]


async def test_nothing_is_put_back_over_an_object_made_by_another_hand(api: FakeApi, cache: DryRunCache) -> None:
    good = api.put(live(template()))
    theirs = foreign(template(rego="theirs"))
    api.at("PUT", "k8sthing")
    api.at("PUT", "k8sthing", act=lambda: api.put(theirs))

    result = await one(api, cache, NeedsDryRun(BAD, good, target_for(BAD, good)))

    assert result.action is Action.REJECTED
    assert api.found(BAD.ref).manifest["spec"] == theirs.manifest["spec"]


async def test_a_new_template_that_does_not_compile_is_rejected_and_blocks_its_constraints(
    api: FakeApi, cache: DryRunCache
) -> None:
    outcome = await carry_out(api, cache, Create(BAD), Create(constraint()))

    assert [result.action for result in outcome.results] == [Action.REJECTED, Action.BLOCKED]
    assert not api.has(constraint().ref)
    assert isinstance(again(api, cache, BAD), Rejected)


def silent(api: FakeApi, found: LiveObject) -> LiveObject:
    """An object in the cluster that Gatekeeper says nothing of, until it changes."""
    api.put(live(template()))  # which brings the constraints' kind
    made = api.put(found)
    api.merge(kind_of(made.ref).path(made.ref.name), {"status": None})
    return api.found(made.ref)


@pytest.mark.parametrize("wanted", [template(), constraint(), mutator()])
async def test_who_says_nothing_is_asked_again_by_a_change_that_leaves_nothing_behind(
    api: FakeApi, cache: DryRunCache, wanted: DesiredObject
) -> None:
    before = silent(api, live(wanted))

    assert await Applier(api, MARKS, cache).nudge(wanted)
    asked, restored = [call.body for call in api.calls if call.method == "PUT"]
    assert asked["metadata"]["annotations"] == {**before.annotations, NUDGED: "true"}
    assert restored["metadata"]["annotations"] == before.annotations
    after = api.found(wanted.ref)
    assert (after.projection(), after.generation) == (before.projection(), before.generation)


async def test_a_question_that_gatekeeper_answers_at_once_leaves_nothing_behind_either(
    api: FakeApi, cache: DryRunCache
) -> None:
    before = silent(api, live(template()))
    api.at("PUT", "/k8sthing")
    api.at("PUT", "/k8sthing", act=lambda: api.touch(before.ref), times=3)

    assert await Applier(api, MARKS, cache).nudge(template())
    assert api.found(before.ref).projection() == before.projection()
    assert api.count("PUT") == 1 + 3 + 1


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(None, id="it is gone"),
        pytest.param(foreign(template()), id="it is somebody else's"),
    ],
)
async def test_there_is_nobody_to_ask_about(api: FakeApi, cache: DryRunCache, found: LiveObject | None) -> None:
    if found is not None:
        silent(api, found)

    assert not await Applier(api, MARKS, cache).nudge(template())
    assert api.count("PUT") == 0


async def test_who_has_spoken_meanwhile_is_not_asked(api: FakeApi, cache: DryRunCache) -> None:
    api.put(live(template()))

    assert not await Applier(api, MARKS, cache).nudge(template())
    assert api.count("PUT") == 0


async def test_a_question_that_is_refused_was_not_asked(api: FakeApi, cache: DryRunCache) -> None:
    before = silent(api, live(template()))
    api.at("PUT", "/k8sthing", status(500, DENIED))

    assert not await Applier(api, MARKS, cache).nudge(template())
    assert api.found(before.ref).projection() == before.projection()


@pytest.mark.parametrize("kept", [Keep, Rejected, Invalid])
async def test_constraints_go_on_with_the_template_that_is_there(api: FakeApi, cache: DryRunCache, kept: type) -> None:
    found = api.put(live(template()))
    changes: dict[type, Change] = {
        Keep: Keep(template(), found),
        Rejected: Rejected(BAD, found, "no"),
        Invalid: Invalid(BAD, "no"),
    }

    outcome = await carry_out(api, cache, changes[kept], Create(constraint()))

    assert outcome.results[1].action is Action.CREATED


async def test_a_template_that_never_gets_ready_blocks_its_constraints_alone(api: FakeApi, cache: DryRunCache) -> None:
    api.at("GET", "k8sthing.constraints.gatekeeper.sh", status(404, "not found"), times=1000)

    outcome = await carry_out(
        api, cache, Create(template()), Create(constraint()), Create(template("K8sOther")), Create(mutator())
    )

    assert [(result.action, result.reason) for result in outcome.results] == [
        (Action.FAILED, "TemplateNotReady"),
        (Action.BLOCKED, "TemplateNotReady"),
        (Action.CREATED, ""),
        (Action.CREATED, ""),
    ]


@in_virtual_time
async def test_constraints_of_a_template_that_is_ready_are_made_at_once_while_another_template_is_waited_for() -> None:
    api, cache = FakeApi(), DryRunCache()
    api.at("GET", "k8sthing.constraints.gatekeeper.sh", status(404, "not found"), times=10)
    ended: dict[ObjectRef, float] = {}
    others = [constraint("K8sOther", by=member(f"m{number}")) for number in range(20)]
    wanted = (template(), constraint(), template("K8sOther"), *others)

    await Applier(api, MARKS, cache).apply(
        Plan(CLUSTER_ID, tuple(map(Create, wanted))), lambda result: ended.update({result.ref: clock()})
    )

    assert max(ended[each.ref] for each in others) < 0.01
    assert ended[constraint().ref] > 1


@in_virtual_time
async def test_a_template_whose_status_gatekeeper_lost_is_nudged_and_its_constraint_is_made() -> None:
    api, cache = FakeApi(), DryRunCache()
    silent(api, api.put(live(template())))

    outcome = await carry_out(api, cache, Create(constraint()), ready_timeout=90)

    assert [result.action for result in outcome.results] == [Action.CREATED]
    assert NUDGED not in api.found(template().ref).annotations


MANY = tuple(template(f"K8sThing{number}") for number in range(12))


def busy(api: FakeApi, *wanted: DesiredObject, seconds: float) -> asyncio.Task[None]:
    """A Gatekeeper that takes up one after the other, so many seconds each."""

    async def work() -> None:
        for each in wanted:
            await asyncio.sleep(seconds)
            api.hears_of(each.ref)

    api.unheard |= {each.ref.name for each in wanted}
    return asyncio.create_task(work())


@in_virtual_time
async def test_while_gatekeeper_takes_up_other_templates_none_is_given_up_or_nudged() -> None:
    api = FakeApi()
    working = busy(api, *MANY, seconds=25)

    outcome = await carry_out(api, DryRunCache(), *map(Create, MANY), ready_timeout=90)

    assert {result.action for result in outcome.results} == {Action.CREATED}
    assert clock() >= 25 * len(MANY)
    assert api.count("PUT") == 0
    await working


@in_virtual_time
async def test_an_error_that_passes_may_last_while_gatekeeper_takes_up_other_templates() -> None:
    api = FakeApi()
    troubled = MANY[-1].ref
    api.troubled = {troubled.name}
    working = busy(api, *MANY, seconds=25)
    api.unheard.discard(troubled.name)

    outcome = await carry_out(api, DryRunCache(), *map(Create, MANY), ready_timeout=90)

    assert {result.action for result in outcome.results} == {Action.CREATED}
    assert clock() >= 25 * len(MANY)
    await working


@in_virtual_time
async def test_an_error_that_should_pass_and_lasts_is_a_rejection() -> None:
    api = FakeApi()
    api.troubled = {MANY[0].ref.name}

    outcome = await carry_out(api, DryRunCache(), *map(Create, MANY), ready_timeout=90)

    assert [(result.ref, result.reason) for result in outcome.problems] == [(MANY[0].ref, "TemplateRejected")]
    assert "create_error: it is there already" in outcome.problems[0].message
    assert 30 < clock() < 35


@in_virtual_time
async def test_a_template_is_given_up_once_gatekeeper_takes_up_nothing() -> None:
    api = FakeApi()
    api.unheard = {MANY[0].ref.name}

    outcome = await carry_out(api, DryRunCache(), *map(Create, MANY), ready_timeout=90)

    assert [result.reason for result in outcome.problems] == ["TemplateNotReady"]
    assert 90 < clock() < 95


@in_virtual_time
async def test_the_more_templates_wait_the_more_seldom_each_is_looked_at() -> None:
    api = FakeApi()
    crowd = tuple(template(f"K8sThing{number}") for number in range(100))
    working = busy(api, *crowd, seconds=0.2)

    await carry_out(api, DryRunCache(), *map(Create, crowd), ready_timeout=90)

    looks = [call.path for call in api.calls if call.method == "GET" and call.path.endswith("/constrainttemplates")]
    assert 2 * len(crowd) < len(looks) < 45 * clock()
    assert sum("customresourcedefinitions" in call.path for call in api.calls) == len(crowd), "where it decides alone"
    await working


@in_virtual_time
async def test_a_gatekeeper_that_forgot_many_statuses_is_nudged_about_one_after_the_other() -> None:
    api = FakeApi()
    kept = [Keep(each, silent(api, live(each))) for each in MANY]
    using = [Create(constraint(template_kind(each.manifest))) for each in MANY]

    outcome = await carry_out(api, DryRunCache(), *kept, *using, ready_timeout=90)

    assert not outcome.problems
    assert api.count("PUT") == 2 * len(MANY)
    assert 30 < clock() < 45


@in_virtual_time
async def test_a_gatekeeper_that_says_nothing_at_all_is_nudged_about_a_few() -> None:
    api = FakeApi()
    api.unheard = {each.ref.name for each in MANY}

    outcome = await carry_out(api, DryRunCache(), *map(Create, MANY), ready_timeout=90)

    assert {result.reason for result in outcome.results} == {"TemplateNotReady"}
    assert api.count("PUT") == 2 * 5


async def test_a_template_that_the_plan_found_ready_is_not_read_again(api: FakeApi, cache: DryRunCache) -> None:
    found = api.put(live(template()))

    outcome = await carry_out(api, cache, Keep(template(), found), Create(constraint()))

    assert outcome.results[1].action is Action.CREATED
    assert [(call.method, call.path.rpartition("/")[2]) for call in api.calls] == [
        ("GET", "k8sthing.constraints.gatekeeper.sh"),
        ("POST", "k8sthing"),
    ]


async def test_a_template_that_is_gone_since_the_plan_blocks_its_constraints(api: FakeApi, cache: DryRunCache) -> None:
    found = api.put(live(template()))
    api.remove(found.ref)

    outcome = await carry_out(api, cache, Keep(template(), found), Create(constraint()))

    assert (outcome.results[1].action, outcome.results[1].reason) == (Action.FAILED, "TemplateNotReady")
    assert api.count("POST") == 0


# --- deletes ---------------------------------------------------------------------------------------------------------


def delete(found: LiveObject, reason: DeleteReason = DeleteReason.MEMBER_GONE, *successors: DesiredObject) -> Delete:
    return Delete(found, reason, "it goes", tuple(each.ref for each in successors))


async def test_an_object_made_again_under_its_name_is_not_deleted(api: FakeApi, cache: DryRunCache) -> None:
    found = api.put(live(mutator()))
    api.put(foreign(mutator()))

    result = await one(api, cache, delete(found))

    assert (result.action, result.reason) == (Action.FAILED, "ConcurrentChanges")
    assert api.found(mutator().ref).labels == {"managed-by": "somebody"}


async def test_what_is_gone_already_counts_as_deleted(api: FakeApi, cache: DryRunCache) -> None:
    found = api.put(live(mutator()))
    api.at("DELETE", mutator().ref.name, act=lambda: api.remove(mutator().ref))

    assert (await one(api, cache, delete(found))).action is Action.DELETED


async def test_writes_of_the_status_do_not_hold_up_a_delete(api: FakeApi, cache: DryRunCache) -> None:
    found = api.put(live(mutator()))
    api.touch(mutator().ref)

    assert (await one(api, cache, delete(found))).action is Action.DELETED


async def test_a_template_goes_after_its_constraints(api: FakeApi, cache: DryRunCache) -> None:
    templates, constraints = api.put(live(template())), api.put(live(constraint()))

    outcome = await carry_out(api, cache, delete(templates, DeleteReason.UNUSED), delete(constraints))

    assert {result.action for result in outcome.results} == {Action.DELETED}
    assert [call.path.rpartition("/")[2] for call in api.calls if call.method == "DELETE"] == [
        constraint().ref.name,
        "k8sthing",
    ]


@pytest.mark.parametrize("spelled", ["K8sThing", "k8sthing", ""])
async def test_a_template_stays_where_a_constraint_came_to_use_it_since(
    api: FakeApi, cache: DryRunCache, spelled: str
) -> None:
    found = api.put(live(template()))
    found.manifest["spec"]["crd"]["spec"]["names"]["kind"] = spelled
    api.put(foreign(constraint(), name="theirs"))

    result = await one(api, cache, delete(found, DeleteReason.UNUSED))

    assert (result.action, result.reason) == (Action.BLOCKED, "InUse")
    assert api.has(template().ref)


async def test_a_template_whose_kind_is_no_longer_served_stays(api: FakeApi, cache: DryRunCache) -> None:
    """It was when the plan was made: what is there now cannot be seen, and would go with the template."""
    found = api.put(live(template()))
    theirs = api.put(foreign(constraint(), name="theirs"))
    api.hidden = {template().ref.name}

    result = await one(api, cache, delete(found, DeleteReason.UNUSED))

    assert (result.action, result.reason) == (Action.BLOCKED, "InUse")
    assert "not served now" in result.message
    assert api.has(template().ref)
    assert api.has(theirs.ref)


async def test_a_template_stays_with_a_constraint_whose_delete_failed(api: FakeApi, cache: DryRunCache) -> None:
    templates, constraints = api.put(live(template())), api.put(live(constraint()))
    api.at("DELETE", constraint().ref.name, status(500, DENIED))

    outcome = await carry_out(api, cache, delete(templates, DeleteReason.UNUSED), delete(constraints))

    assert [(result.action, result.reason) for result in outcome.results] == [
        (Action.BLOCKED, "InUse"),
        (Action.FAILED, "Denied"),
    ]
    assert outcome.results[0].message == f"kept: its constraint {constraint().ref.name} is still there"


async def test_a_delete_that_hangs_on_a_finalizer_does_not_hang_the_plan(api: FakeApi, cache: DryRunCache) -> None:
    templates, constraints = api.put(live(template())), api.put(live(constraint(), finalizers=["a/b"]))

    outcome = await carry_out(api, cache, delete(templates, DeleteReason.UNUSED), delete(constraints))

    assert {result.action for result in outcome.results} == {Action.DELETED}
    assert api.found(constraint().ref).deleting


async def test_what_moved_goes_once_its_successor_is_enforced(api: FakeApi, cache: DryRunCache) -> None:
    old, new = api.put(live(constraint("K8sOld"))), constraint()

    outcome = await carry_out(
        api, cache, Create(template()), Create(new), delete(old, DeleteReason.MOVED, new), ready_timeout=5
    )

    assert [result.action for result in outcome.results] == [Action.CREATED, Action.CREATED, Action.DELETED]
    methods = [(call.method, call.path.rpartition("/")[2]) for call in api.calls]
    assert methods.index(("POST", "k8sthing")) < methods.index(("DELETE", old.ref.name))


async def test_what_moved_stays_while_its_successor_is_not_enforced(api: FakeApi, cache: DryRunCache) -> None:
    api.gatekeeper_enforces = False
    old, new = api.put(live(constraint("K8sOld"))), constraint()

    outcome = await carry_out(api, cache, Create(template()), Create(new), delete(old, DeleteReason.MOVED, new))

    assert (outcome.results[2].action, outcome.results[2].reason) == (Action.BLOCKED, "SuccessorNotEnforced")
    assert api.has(old.ref)


async def test_what_moved_stays_where_its_successor_failed(api: FakeApi, cache: DryRunCache) -> None:
    old, new = api.put(live(constraint("K8sOld"))), constraint()
    api.at("POST", "k8sthing", status(500, DENIED))

    outcome = await carry_out(api, cache, Create(template()), Create(new), delete(old, DeleteReason.MOVED, new))

    assert outcome.results[2].action is Action.BLOCKED
    assert DENIED in outcome.results[2].message
    assert api.has(old.ref)


async def test_what_writes_nothing_sends_nothing(api: FakeApi, cache: DryRunCache) -> None:
    found = live(constraint())

    outcome = await carry_out(api, cache, Retain(found, "not known"), Invalid(mutator(), "no"))

    assert [result.action for result in outcome.results] == [Action.RETAINED, Action.FAILED]
    assert api.calls == []


async def test_a_replace_names_who_made_the_edit_and_what_differed(api: FakeApi, cache: DryRunCache) -> None:
    wanted = mutator()
    api.put(live(wanted, managers=("azure-policy-sync", "kubectl-edit")))
    api.edit(wanted.ref, location="spec.other")
    found = api.found(wanted.ref)

    result = await one(api, cache, NeedsDryRun(wanted, found, target_for(wanted, found)))

    assert [str(each) for each in result.differences] == ["spec.location changed"]
    assert result.changed_by == ("kubectl-edit",)
    assert isinstance(again(api, cache, wanted), Keep)

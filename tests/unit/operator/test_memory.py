"""What the operator remembers of what it wrote: no editor erases it, no restart loses it, no stranger inherits it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster import last_state
from controller.cluster.apply import Action
from controller.cluster.kinds import kind_of
from controller.errors import SourceError
from controller.gatekeeper.expansion import expansion_templates, with_source
from controller.gatekeeper.model import DesiredObject, Role
from controller.gatekeeper.syncset import ANNOTATION, DataKind, syncset
from controller.operator.settings import PolicySyncRequests
from controller.policy.model import UnresolvedReason
from controller.report.conditions import Mode, ready
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
from tests.unit.fake_api import BAD_REGO, status
from tests.unit.operator.scripted import NAMESPACE, Operator, ScriptedSource, cluster, restored, until
from tests.unit.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredState
    from controller.policy.model import Unresolved
    from tests.unit.fake_api import FakeApi

STATE: Final = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{last_state.NAME}"
WEAKER: Final = {"targets": [{"target": "admission.k8s.gatekeeper.sh", "rego": "package nothing"}]}
DATA: Final = json.dumps([[{"groups": [""], "versions": ["v1"], "kinds": ["Pod"]}]])


def looks_up_pods(kind: str = "K8sThing") -> DesiredObject:
    """A template that needs a SyncSet."""
    plain = template(kind)
    metadata: Any = plain.manifest["metadata"]
    annotated = {**metadata, "annotations": {**metadata["annotations"], ANNOTATION: DATA}}
    return DesiredObject.of(Role.TEMPLATE, {**plain.manifest, "metadata": annotated}, plain.members)


TEMPLATE: Final = looks_up_pods()
ONE: Final = constraint(by=member("one"))
TWO: Final = constraint(by=member("two"))
MUTATOR: Final = with_source(mutator(), "All")
SYNCSET: Final = syncset({DataKind("", "v1", "Pod")}, MARKS)
EXPANSIONS: Final = expansion_templates([MUTATOR], MARKS)
UNOWNED: Final = (SYNCSET, *EXPANSIONS)
OBJECTS: Final = (TEMPLATE, *UNOWNED, MUTATOR, ONE, TWO)
ALL: Final = desired_state(*OBJECTS)
CHANGED: Final[dict[Role, dict[str, Any]]] = {
    Role.TEMPLATE: WEAKER,
    Role.SYNC: {"gvks": []},
    Role.MUTATOR: {"location": "spec.nowhere"},
    Role.CONSTRAINT: {"enforcementAction": "dryrun"},
    Role.EXPANSION: {"enforcementAction": "dryrun"},
}
EACH_ROLE: Final = pytest.mark.parametrize(
    "target", [TEMPLATE, SYNCSET, EXPANSIONS[0], MUTATOR, ONE], ids=lambda each: each.role
)


def strip(api: FakeApi, target: DesiredObject) -> None:
    """Somebody takes every mark off an object, the record of field managers too, and switches it off."""
    nothing = {"labels": None, "annotations": None, "managedFields": None}
    api.merge(kind_of(target.ref).path(target.ref.name), {"metadata": nothing})
    api.edit(target.ref, **CHANGED[target.role])


def replaced(api: FakeApi, target: DesiredObject) -> None:
    """Somebody deletes an object and makes another one of its name that bears no mark."""
    path = kind_of(target.ref).path(target.ref.name)
    api.drop(path)
    theirs = live(target, labels={}, annotations={}, managers=("kubectl",))
    api.put(type(theirs)(theirs.ref, {**theirs.manifest, "spec": {**theirs.manifest["spec"], **CHANGED[target.role]}}))


def writes_of_state(api: FakeApi) -> int:
    """How often the kept state was written."""
    return sum(
        call.method in ("POST", "PUT") and "/configmaps" in call.path and NAMESPACE in call.path for call in api.calls
    )


def writes(api: FakeApi) -> int:
    """How often anything was written, the mutator apart: Gatekeeper is asked about it, as it reports nothing here."""
    changing = [call for call in api.calls if call.method in ("POST", "PUT", "DELETE")]
    return sum(not call.path.endswith(MUTATOR.ref.name) for call in changing)


async def enforced_once(api: FakeApi, desired: DesiredState = ALL) -> None:
    """A first operator enforces a state, keeps it, and ends."""
    async with Operator(api, ScriptedSource(desired)).running() as first:
        await first.in_sync(*desired.objects)
        await until(lambda: STATE in api.paths)


async def read_anew(operator: Operator, answer: DesiredState | Exception, requested: str) -> None:
    """Azure says something else, and somebody asks for a poll: waits until it was made and carried out."""
    operator.source.answer = answer
    operator.loops.take_requests(PolicySyncRequests(requested_at=requested))
    await until(lambda: operator.state.status.handled_request == requested, seconds=200)


# --- ownership -------------------------------------------------------------------------------------------------------


@EACH_ROLE
@pytest.mark.parametrize("attack", [strip, replaced])
@in_virtual_time
async def test_an_object_without_any_mark_is_repaired_at_once(target: DesiredObject, attack: Any) -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(ALL)).running() as operator:
        await operator.in_sync(*OBJECTS)

        attack(api, target)

        await until(lambda: restored(api, target), seconds=3)
        assert api.found(target.ref).labels == MARKS.labels()
        assert not operator.state.status.counts.conflicts


@EACH_ROLE
@pytest.mark.parametrize("attack", [strip, replaced])
@in_virtual_time
async def test_an_object_that_lost_every_mark_while_nobody_looked_is_repaired_by_the_next_operator(
    target: DesiredObject, attack: Any
) -> None:
    api = cluster()
    await enforced_once(api)
    attack(api, target)

    async with Operator(api, ScriptedSource(ALL)).running() as second:
        await until(lambda: restored(api, target), seconds=30)
        assert not second.state.status.counts.conflicts


@EACH_ROLE
@pytest.mark.parametrize("restart", [False, True], ids=["one operator", "a restart between"])
@in_virtual_time
async def test_an_object_without_any_mark_is_pruned_with_its_policy(target: DesiredObject, *, restart: bool) -> None:
    api = cluster()
    other = template("K8sOther")
    staying = [constraint("K8sOther", by=member(f"stays-{number}")) for number in range(12)]
    await enforced_once(api, desired_state(*OBJECTS, other, *staying))
    left = desired_state(other, *staying, outcomes=(not_applied(member("one")), not_applied(member("two"))))
    async with Operator(api, ScriptedSource(desired_state(*OBJECTS, other, *staying))).running() as operator:
        await operator.in_sync(*OBJECTS, *staying)
        if not restart:
            minute = operator.state.now() + timedelta(seconds=60)
            operator.loops.take_requests(PolicySyncRequests(suspended_until=minute))
            await until(lambda: operator.state.status.mode is Mode.SUSPENDED)
            strip(api, target)
            await read_anew(operator, left, "now")
            await until(lambda: not any(api.has(each.ref) for each in OBJECTS), seconds=400)
            return
    strip(api, target)
    async with Operator(api, ScriptedSource(left)).running():
        await until(lambda: not any(api.has(each.ref) for each in OBJECTS), seconds=400)


@in_virtual_time
async def test_a_name_that_was_never_ours_is_a_conflict_and_stays_untouched() -> None:
    api = cluster()
    theirs = api.put(foreign(TEMPLATE, spec={**TEMPLATE.manifest["spec"], **WEAKER}))  # type: ignore[dict-item]
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await until(lambda: operator.state.status.counts.conflicts, seconds=30)
    assert api.found(TEMPLATE.ref) == theirs
    # What is refused is not remembered as ours.
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await until(lambda: operator.state.status.counts.conflicts, seconds=30)
    assert api.found(TEMPLATE.ref) == theirs


@in_virtual_time
async def test_a_damaged_record_is_told_and_ownership_rests_on_marks_as_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = cluster()
    await enforced_once(api)
    strip(api, TEMPLATE)
    strip(api, MUTATOR)
    api.merge(STATE, {"binaryData": {"state.json.gz": "bm90aGluZw=="}})

    async with Operator(api, ScriptedSource(ALL)).running() as operator:
        await until(lambda: operator.state.status.counts.conflicts, seconds=30)
        await until(lambda: restored(api, MUTATOR), seconds=30)
        assert not restored(api, TEMPLATE)
    assert "objects are known as ours by their marks alone" in caplog.text


@in_virtual_time
async def test_objects_made_just_before_a_crash_are_known_by_their_marks() -> None:
    api = cluster()
    api.at("POST", f"{NAMESPACE}/configmaps", status(403, "it crashed before", "Forbidden"), times=1000)
    async with Operator(api, ScriptedSource(ALL)).running() as first:
        await first.in_sync(*OBJECTS)
    assert STATE not in api.paths
    api._steps.clear()

    await enforced_once(api)
    strip(api, TEMPLATE)
    async with Operator(api, ScriptedSource(ALL)).running():
        await until(lambda: restored(api, TEMPLATE), seconds=30)


@in_virtual_time
async def test_many_creations_are_few_writes_of_the_record_and_a_settled_cluster_is_none() -> None:
    api = cluster()
    many = [constraint(by=member(f"m{number}")) for number in range(500)]
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, SYNCSET, *many))).running() as operator:
        await operator.in_sync(TEMPLATE, *many)
        await until(lambda: STATE in api.paths)
        await asyncio.sleep(700)
        written = writes_of_state(api)
        assert written <= 2
        await asyncio.sleep(3600)
        assert writes_of_state(api) == written


@in_virtual_time
async def test_an_object_that_came_back_with_another_uid_is_remembered_at_the_next_compare() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(ALL)).running() as operator:
        await operator.in_sync(*OBJECTS)
        await asyncio.sleep(400)
        written = writes_of_state(api)
        api.remove(ONE.ref)
        await until(lambda: restored(api, ONE), seconds=3)
        uid = api.found(ONE.ref).uid
        await asyncio.sleep(700)
        assert writes_of_state(api) == written + 1
    kept = await operator.loops._deps.last_state.load(None)
    assert kept is not None
    assert kept.uids[ONE.ref] == uid


@in_virtual_time
async def test_a_state_that_could_not_be_read_back_is_told_in_the_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = cluster()
    monkeypatch.setattr(last_state, "LARGEST", 100)
    async with Operator(api, ScriptedSource(ALL)).running() as operator:
        await operator.in_sync(*OBJECTS)
        await until(lambda: operator.state.status.unsaved, seconds=30)
        told = ready(operator.state.status, 0)
        assert (told.status, told.reason) == ("True", "InSyncButNotKept")
        assert "larger than 100 bytes" in told.message
        assert STATE not in api.paths

        monkeypatch.setattr(last_state, "LARGEST", 100_000)
        await until(lambda: not operator.state.status.unsaved, seconds=700)
        assert ready(operator.state.status, 0).reason == "InSync"


# --- the last good template ------------------------------------------------------------------------------------------

BROKEN: Final = template(rego=BAD_REGO)


def without_data(good: DesiredObject) -> DesiredState:
    return desired_state(good, ONE)


@in_virtual_time
async def test_an_edit_made_while_nobody_looked_does_not_become_the_last_good_template() -> None:
    api, good = cluster(), template()
    await enforced_once(api, without_data(good))
    api.edit(good.ref, **WEAKER)

    async with Operator(api, ScriptedSource(without_data(BROKEN))).running() as operator:
        await until(lambda: operator.state.status.problems, seconds=200)
        assert operator.state.status.problems[0].action is Action.REJECTED
        assert restored(api, good)


@in_virtual_time
async def test_the_last_good_template_outlives_restarts_while_azure_has_a_broken_one() -> None:
    api, good = cluster(), template()
    await enforced_once(api, without_data(good))
    for _ in range(2):
        async with Operator(api, ScriptedSource(without_data(BROKEN))).running() as operator:
            await until(lambda: operator.state.status.settled, seconds=200)
            await asyncio.sleep(400)
            assert restored(api, good)

            api.edit(good.ref, **WEAKER)
            await until(lambda: restored(api, good), seconds=30)
        api.edit(good.ref, **WEAKER)


@in_virtual_time
async def test_a_deleted_template_comes_back_in_its_last_good_version_while_azure_has_a_broken_one() -> None:
    api, good = cluster(), template()
    await enforced_once(api, without_data(good))
    async with Operator(api, ScriptedSource(without_data(BROKEN))).running() as operator:
        await until(lambda: operator.state.status.settled, seconds=200)
        await asyncio.sleep(60)

        api.remove(good.ref)

        await until(lambda: restored(api, good), seconds=60)
        await until(lambda: restored(api, ONE), seconds=700)


# --- members that are not known for now ------------------------------------------------------------------------------


def refused(
    by: str = "one", reason: UnresolvedReason = UnresolvedReason.UNREADABLE, *, whole: bool = False
) -> Unresolved:
    return replace(unresolved(member(by, whole=whole), message=f"assignment {by}: 403"), reason=reason)


WITHOUT_ONE: Final = desired_state(TEMPLATE, *UNOWNED, MUTATOR, TWO, outcomes=(refused(),), listed=("one", "two", "m"))
ALL_REFUSED: Final = desired_state(
    outcomes=(refused("one"), refused("two", whole=True), refused("m")), listed=("one", "two", "m")
)


@pytest.mark.parametrize("answer", [WITHOUT_ONE, ALL_REFUSED], ids=["one", "all"])
@pytest.mark.parametrize("restart", [False, True], ids=["one operator", "a restart between"])
@in_virtual_time
async def test_what_is_not_known_for_now_is_defended_as_it_was(answer: DesiredState, *, restart: bool) -> None:
    api = cluster()
    source = ScriptedSource(ALL)
    if restart:
        await enforced_once(api)
        source = ScriptedSource(answer)
    async with Operator(api, source).running() as operator:
        await operator.in_sync(*OBJECTS)
        if not restart:
            await read_anew(operator, answer, "now")
        assert operator.state.status.counts.unresolved

        strip(api, ONE)
        await until(lambda: restored(api, ONE), seconds=3)
        api.remove(ONE.ref)
        await until(lambda: restored(api, ONE), seconds=3)
        api.edit(TEMPLATE.ref, **WEAKER)
        await until(lambda: restored(api, TEMPLATE), seconds=3)
        api.remove(TEMPLATE.ref)
        await until(lambda: all(restored(api, each) for each in OBJECTS), seconds=100)


@in_virtual_time
async def test_what_is_carried_is_carried_through_further_polls_saves_and_restarts_and_nothing_is_written() -> None:
    api = cluster()
    await enforced_once(api)
    async with Operator(api, ScriptedSource(WITHOUT_ONE)).running() as operator:
        await operator.in_sync(*OBJECTS)
        await asyncio.sleep(2000)
        assert operator.source.readings >= 2
        desired = operator.state.desired
        assert desired is not None
        [first] = [each.message for each in desired.outcomes if each.member == member("one")]  # type: ignore[union-attr]
        before = writes(api)
        await asyncio.sleep(2000)
        assert writes(api) == before
    assert "; enforced as last known since 2026-03-01T12:0" in first
    await asyncio.sleep(1000)
    async with Operator(api, ScriptedSource(WITHOUT_ONE)).running() as operator:
        await operator.in_sync(*OBJECTS)
        desired = operator.state.desired
        assert desired is not None
        assert first in {each.message for each in desired.outcomes if each.member == member("one")}  # type: ignore[union-attr]
        api.remove(ONE.ref)
        await until(lambda: restored(api, ONE), seconds=3)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            desired_state(TEMPLATE, *UNOWNED, MUTATOR, TWO, outcomes=(not_applied(member("one")),)), id="not applied"
        ),
        pytest.param(desired_state(TEMPLATE, *UNOWNED, MUTATOR, TWO, gone=("one",)), id="its assignment is gone"),
    ],
)
@in_virtual_time
async def test_azures_word_ends_what_was_carried(answer: DesiredState) -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(ALL)).running() as operator:
        await operator.in_sync(*OBJECTS)
        await read_anew(operator, WITHOUT_ONE, "first")
        assert api.has(ONE.ref)

        await read_anew(operator, answer, "second")

        await until(lambda: not api.has(ONE.ref), seconds=30)


@in_virtual_time
async def test_what_azure_means_otherwise_is_kept_and_not_defended() -> None:
    api = cluster()
    answer = desired_state(
        TEMPLATE,
        *UNOWNED,
        MUTATOR,
        TWO,
        outcomes=(refused(reason=UnresolvedReason.DETAILS),),
        listed=("one", "two", "m"),
    )
    async with Operator(api, ScriptedSource(ALL)).running() as operator:
        await operator.in_sync(*OBJECTS)
        await read_anew(operator, answer, "now")
        assert restored(api, ONE)

        api.edit(ONE.ref, enforcementAction="dryrun")
        await asyncio.sleep(700)

        assert not restored(api, ONE)
        assert api.has(ONE.ref)


@EACH_ROLE
@in_virtual_time
async def test_what_was_replaced_while_it_was_not_defended_is_ours_once_it_is_desired_again(
    target: DesiredObject,
) -> None:
    api = cluster()
    unclear = tuple(refused(by, UnresolvedReason.DETAILS) for by in ("one", "two", "m"))
    answer = desired_state(outcomes=unclear, listed=("one", "two", "m"))
    async with Operator(api, ScriptedSource(ALL)).running() as operator:
        await operator.in_sync(*OBJECTS)
        await read_anew(operator, answer, "unclear")
        replaced(api, target)
        await read_anew(operator, answer, "unclear as before")

        await read_anew(operator, ALL, "clear again")

        await until(lambda: restored(api, target), seconds=200)
        assert not operator.state.status.counts.conflicts


@in_virtual_time
async def test_what_is_carried_is_still_defended_while_the_whole_source_is_away() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(ALL)).running() as operator:
        await operator.in_sync(*OBJECTS)
        await read_anew(operator, WITHOUT_ONE, "first")
        await read_anew(operator, SourceError("503"), "second")
        api.remove(ONE.ref)
        await until(lambda: restored(api, ONE), seconds=3)
    async with Operator(api, ScriptedSource(SourceError("503"))).running():
        api.remove(ONE.ref)
        await until(lambda: restored(api, ONE), seconds=30)

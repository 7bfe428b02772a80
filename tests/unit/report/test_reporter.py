"""What the reporter writes when the API server refuses part of it: everything else, and no more often than it helps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster.kinds import ASSIGNED_POLICY, POLICY_SYNC, constraint_kind
from controller.gatekeeper.model import ObjectRef
from controller.report import reporter
from controller.report.assigned import assigned_policy
from controller.report.events import COLLECTION, EventDraft
from controller.report.health import health_of
from tests.unit.cluster_builders import constraint, desired_state, member, template
from tests.unit.fake_api import FakeApi, status
from tests.unit.operator.scripted import Operator, ScriptedSource, cluster, until
from tests.unit.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import Role
    from controller.report.health import Health

TEMPLATE = template()
OBJECTS = [constraint(by=member(name)) for name in ("one", "two", "three")]
REF = ObjectRef("constraints.gatekeeper.sh", "K8sThing", "azurepolicy-x")
INVALID = status(422, "spec.assignment.id: too long", "Invalid")


def operator() -> Operator:
    return Operator(cluster(), ScriptedSource(desired_state(TEMPLATE, *OBJECTS)))


def written(api: FakeApi, path: str) -> list[Any]:
    return [call for call in api.calls if call.path.startswith(path) and call.method in ("POST", "PUT")]


def assigned(api: FakeApi) -> set[str]:
    return {path for path in api.paths if path.startswith(f"{ASSIGNED_POLICY.path()}/")}


def events(api: FakeApi) -> list[str]:
    return [call.body["note"] for call in api.calls if call.path == COLLECTION]


def ready(api: FakeApi) -> str:
    path = POLICY_SYNC.path("default")
    found = (api.read(path).get("status") or {}) if path in api.paths else {}
    return str(next((each["reason"] for each in found.get("conditions", ()) if each["type"] == "Ready"), ""))


@in_virtual_time
async def test_one_refused_report_freezes_neither_the_others_nor_status_nor_events() -> None:
    async with operator().running() as running:
        api = running.api
        api.at("POST", ASSIGNED_POLICY.path(), INVALID)

        await running.in_sync(TEMPLATE, *OBJECTS)
        await until(lambda: ready(api) == "InSync")
        await until(lambda: len(assigned(api)) == len(OBJECTS) - 1, seconds=5)
        await until(lambda: any(note.startswith("created") for note in events(api)), seconds=5)


@in_virtual_time
async def test_a_report_that_is_always_refused_is_tried_again_once_in_a_full_sync() -> None:
    async with operator().running() as running:
        api = running.api
        api.at("POST", ASSIGNED_POLICY.path(), INVALID, times=1000)
        await running.in_sync(TEMPLATE, *OBJECTS)
        await until(lambda: ready(api) == "InSync")
        for number in range(50):
            running.loops._deps.reporter.add_event(EventDraft(REF, "u", "Test", f"note {number}"))
            await asyncio.sleep(2)

        assert "note 49" in events(api)
        assert len(written(api, ASSIGNED_POLICY.path())) <= 2 * len(OBJECTS)


@pytest.mark.parametrize("times", [1, 3])
def test_an_event_that_the_server_has_no_time_for_is_sent_later(times: int) -> None:
    @in_virtual_time
    async def check() -> None:
        async with operator().running() as running:
            api = running.api
            await running.in_sync(TEMPLATE, *OBJECTS)
            await until(lambda: len(events(api)) == 1 + len(OBJECTS))
            api.at("POST", COLLECTION, status(500, "no time"), times=times)
            running.loops._deps.reporter.add_event(EventDraft(REF, "u", "Test", "important"))

            await until(lambda: events(api).count("important") == times + 1)

    check()


@in_virtual_time
async def test_a_refused_event_is_in_the_log_and_holds_up_no_other() -> None:
    async with operator().running() as running:
        api = running.api
        await running.in_sync(TEMPLATE, *OBJECTS)
        await until(lambda: len(events(api)) == 1 + len(OBJECTS))
        api.at("POST", COLLECTION, status(422, "no such event", "Invalid"))
        for note in ("refused", "taken"):
            running.loops._deps.reporter.add_event(EventDraft(REF, "u", "Test", note))

        await until(lambda: "taken" in events(api), seconds=5)
        assert events(api).count("refused") == 1


@in_virtual_time
async def test_a_deletion_that_is_refused_holds_up_nothing() -> None:
    async with operator().running() as running:
        api = running.api
        stale = ASSIGNED_POLICY.path("a-stale")
        api.place(stale, {"kind": "AssignedPolicy", "metadata": {"name": "a-stale"}, "spec": {}, "status": {}})
        api.at("DELETE", stale, status(403, "an admission policy says no", "Forbidden"), times=1000)

        await running.in_sync(TEMPLATE, *OBJECTS)
        await until(lambda: ready(api) == "InSync")
        await until(lambda: len(assigned(api)) == len(OBJECTS) + 1, seconds=5)


@in_virtual_time
async def test_a_full_compare_reads_and_judges_again_only_what_has_moved() -> None:
    judged: list[ObjectRef] = []
    read: list[str] = []

    def health(live: LiveObject, role: Role, known: Health | None) -> Health:
        judged.append(live.ref)
        return health_of(live, role, known)

    def of(live: LiveObject) -> Any:
        read.append(live.ref.name)
        return written_of(live)

    written_of = reporter._Written.of
    async with operator().running() as running:
        api = running.api
        await running.in_sync(TEMPLATE, *OBJECTS)
        await until(lambda: len(assigned(api)) == len(OBJECTS), seconds=20)
        edited = min(assigned(api))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reporter, "health_of", health)
            patch.setattr(reporter._Written, "of", of)
            running.loops.wake()
            await asyncio.sleep(5)
            assert (judged, read) == ([], [])
            lists = [call.by_metadata for call in api.calls if call.path == ASSIGNED_POLICY.path()]
            assert lists[-1] is True

            api.touch(OBJECTS[0].ref)
            api.merge(edited, {"status": {"outcome": "Failed"}})
            running.loops.wake()
            await until(lambda: api.read(edited)["status"]["outcome"] == "Enforced", seconds=5)

        assert judged == [OBJECTS[0].ref]
        assert read == [edited.rpartition("/")[2]] * 2  # as it was edited, and as it was restored


@in_virtual_time
async def test_a_report_is_made_up_again_only_for_a_member_of_which_something_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    def counted(outcome: Any, *rest: Any) -> Any:
        made.append(outcome.member.assignment_id.rpartition("/")[2])
        return assigned_policy(outcome, *rest)

    monkeypatch.setattr(reporter, "assigned_policy", counted)
    async with operator().running() as running:
        api = running.api
        await running.in_sync(TEMPLATE, *OBJECTS)
        await until(lambda: ready(api) == "InSync")
        await until(lambda: len(assigned(api)) == len(OBJECTS))
        await asyncio.sleep(30)
        made.clear()
        audited = {"auditTimestamp": "2026-03-01T12:00:00Z", "totalViolations": 7}
        path = f"{constraint_kind(OBJECTS[1].ref.kind).path(OBJECTS[1].ref.name)}"
        api.tamper(path, ("status",), {**api.read(path)["status"], **audited})

        await until(lambda: any(call.body["status"].get("violations") for call in written(api, ASSIGNED_POLICY.path())))
        await asyncio.sleep(30)
        assert made == ["two"]

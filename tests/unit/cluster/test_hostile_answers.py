"""The client and its watchers against answers that are deep, large, malformed or endless: the rest goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from controller.bounded_json import CUT, DEEPEST
from controller.cluster import client as client_module
from controller.cluster.client import Connection, KubeClient
from controller.cluster.kinds import MUTATORS, TEMPLATE, LiveObject
from controller.cluster.watch import Watcher
from controller.errors import ClusterError
from tests.unit.virtual_time import clock, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from controller.gatekeeper.model import ObjectRef

ASSIGN = MUTATORS[0]
DEEP = '{"a":' * 5000 + "1" + "}" * 5000


def item(name: str, *, spec: str = "{}", status: str = "{}", version: int = 7) -> str:
    """An object's JSON; spec and status are JSON texts, however deep."""
    metadata = json.dumps({"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "generation": 1})
    return f'{{"metadata": {metadata}, "spec": {spec}, "status": {status}}}'


def listing(*items: str, after: str = "") -> str:
    metadata = json.dumps({"resourceVersion": "7", "continue": after})
    return f'{{"kind": "List", "metadata": {metadata}, "items": [{",".join(items)}]}}'


def event(kind: str, document: str) -> str:
    return f'{{"type": "{kind}", "object": {document}}}\n'


@dataclass
class Server:
    """An API server that answers lists and watches with what a test says; `asked` has the query of every request."""

    lists: Callable[[web.Request], str] = lambda _: listing()
    watches: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    asked: list[dict[str, str]] = field(default_factory=list)
    connection: Connection = field(default_factory=Connection)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        if "watch" not in request.query:
            return web.Response(
                text=self.lists(request), status=self.status, content_type="application/json", headers=self.headers
            )
        response = web.StreamResponse()
        await response.prepare(request)
        for line in self.watches:
            await response.write(line.encode())
        self.watches = []
        return response


@dataclass(frozen=True)
class _At(Connection):
    url: str = ""

    async def configuration(self) -> Configuration:
        return Configuration(host=self.url)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.connection = _At(url=f"http://127.0.0.1:{runner.addresses[0][1]}")
    yield server
    await runner.cleanup()


async def test_of_a_list_the_deep_object_alone_cannot_be_read_and_is_named(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.lists = lambda _: listing(item("one"), item("deep", spec=DEEP), item("two", spec='{"x": [1]}'))

    async with KubeClient(server.connection) as client:
        listed = await client.list_live(ASSIGN)
        again = await client.list_live(ASSIGN)

    assert listed is not None
    assert [(live.ref.name, live.cut) for live in listed[0]] == [("one", False), ("deep", True), ("two", False)]
    assert listed[0][2].manifest["spec"] == {"x": [1]}
    assert listed[0][1].uid == "uid-deep"
    assert listed == again
    [record] = [each for each in caplog.records if each.levelname == "WARNING"]
    assert record.message == f"Assign/deep is nested deeper than {DEEPEST} levels: what is deeper is not read"


async def test_one_deep_object_can_be_looked_at(server: Server) -> None:
    server.lists = lambda _: listing(item("deep", status=DEEP))

    async with KubeClient(server.connection) as client:
        live = await client.get_live(ASSIGN, "deep")

    assert live is not None
    assert live.cut
    assert CUT in json.dumps(live.manifest["status"])
    assert live.digest() == LiveObject.of(ASSIGN, json.loads(item("deep"))).digest()


async def test_a_watch_goes_on_after_a_deep_object(server: Server) -> None:
    told: list[tuple[str, bool]] = []
    done = asyncio.Event()

    def changed(ref: ObjectRef, live: LiveObject | None) -> None:
        told.append((ref.name, live is not None and live.cut))
        if ref.name == "last":
            done.set()

    server.watches = [event("ADDED", item("deep", spec=DEEP)), event("MODIFIED", item("last", version=9))]
    async with KubeClient(server.connection) as client:
        watching = asyncio.create_task(Watcher(client, ASSIGN, changed).run())
        await done.wait()
        watching.cancel()

    assert told == [("deep", True), ("last", False)]


@pytest.mark.parametrize(
    "line",
    [
        "x\n",
        "7\n",
        "[]\n",
        "{}\n",
        '{"type": "ADDED"}\n',
        '{"type": "ADDED", "object": []}\n',
        '{"type": "ADDED", "object": {"metadata": 1}}\n',
        '{"type": "ADDED", "object": {"metadata": {"name": "a"}}}\n',
        '{"type": "ERROR", "object": "x"}\n',
        '{"type": "ERROR", "object": {"code": "x"}}\n',
        f"{'[' * 5000}\n",
    ],
    ids=range(11),
)
async def test_what_is_no_event_ends_the_watch_and_a_list_follows(server: Server, line: str) -> None:
    async with KubeClient(server.connection) as client:
        server.watches = [line]
        with pytest.raises(ClusterError, match="watching assign"):
            async for _ in client.watch(ASSIGN, "7"):
                pass


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"n{index}" for index in range(40)]

    def page(request: web.Request) -> str:
        size, start = int(request.query["limit"]), int(request.query.get("continue", "0"))
        end = min(start + size, len(names))
        items = (item(name, spec=json.dumps({"x": "y" * 1000})) for name in names[start:end])
        return listing(*items, after=str(end) if end < len(names) else "")

    server.lists = page
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 12_000)
    async with KubeClient(server.connection) as client:
        listed = await client.list_live(ASSIGN)

    assert listed is not None
    assert [live.ref.name for live in listed[0]] == names


async def test_one_object_that_is_too_large_is_an_error_that_says_so(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.lists = lambda _: listing(item("large", spec=json.dumps({"x": "y" * 2000})))
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 1000)

    async with KubeClient(server.connection) as client:
        with pytest.raises(ClusterError, match="assign: the answer is larger than"):
            await client.list_live(ASSIGN)


async def test_an_event_that_is_too_large_ends_the_watch(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.watches = [event("ADDED", item("large", spec=json.dumps({"x": "y" * 2000})))]
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 1000)

    async with KubeClient(server.connection) as client:
        with pytest.raises(ClusterError, match="an event is larger than"):
            async for _ in client.watch(ASSIGN, "7"):
                pass


@pytest.mark.parametrize(
    "body", ['{"kind": "List", "items": 7}', '{"kind": "List", "items": [7, {}, {"metadata": []}]}']
)
async def test_what_is_no_object_is_not_listed(server: Server, body: str) -> None:
    server.lists = lambda _: body

    async with KubeClient(server.connection) as client:
        assert await client.list_live(TEMPLATE) == ((), "")


async def test_a_wait_that_is_no_number_is_none(server: Server) -> None:
    server.headers, server.status = {"Retry-After": "²"}, 500
    server.lists = lambda _: '{"kind": "Status", "message": "no"}'

    async with KubeClient(server.connection) as client:
        assert (await client.request("GET", "/api/v1/x")).retry_after is None


# --- watchers --------------------------------------------------------------------------------------------------------


class Streams(KubeClient):
    """A client whose watches end at once, or do what a test says."""

    def __init__(self, *, act: Callable[[], None] = lambda: None, events: int = 0) -> None:
        super().__init__(Connection())
        self.opened: list[float] = []
        self._act = act
        self._events = events

    async def list_live(self, _: Any) -> Any:
        return (LiveObject.of(ASSIGN, json.loads(item("one"))), LiveObject.of(ASSIGN, json.loads(item("two")))), "7"

    async def watch(self, *_: Any, **__: Any) -> Any:
        self.opened.append(clock())
        self._act()
        for number in range(self._events):
            yield client_module.WatchEvent("BOOKMARK", LiveObject.of(ASSIGN, {}), str(number))


async def run_for(watcher: Watcher, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await watcher.run()


@pytest.mark.parametrize("events", [0, 1])
def test_a_watch_that_ends_at_once_is_opened_ever_more_slowly(events: int) -> None:
    @in_virtual_time
    async def check() -> None:
        client = Streams(events=events)
        await run_for(Watcher(client, ASSIGN, lambda *_: None), 600.0)

        gaps = [round(later - earlier, 3) for earlier, later in zip(client.opened, client.opened[1:], strict=False)]
        assert gaps[0] < 0.5
        assert gaps == sorted(gaps)
        assert gaps[-1] == 5.0
        assert len(client.opened) < 130

    check()


def test_a_fault_in_what_follows_from_one_object_keeps_no_other_from_being_told_of() -> None:
    told: list[str] = []

    def changed(ref: ObjectRef, _: LiveObject | None) -> None:
        if ref.name == "one":
            raise KeyError("status")
        told.append(ref.name)

    def observed(ref: ObjectRef, _: LiveObject | None) -> None:
        raise TypeError(ref.name)

    @in_virtual_time
    async def check() -> None:
        await run_for(Watcher(Streams(), ASSIGN, changed, observed=observed), 1.0)

    check()
    assert told == ["two"]


def test_a_watcher_that_fails_says_so_and_starts_again_at_once(caplog: pytest.LogCaptureFixture) -> None:
    faults = [RuntimeError("a fault of ours")]

    def fail_once() -> None:
        if faults:
            raise faults.pop()

    @in_virtual_time
    async def check() -> None:
        client = Streams(act=fail_once)
        await run_for(Watcher(client, ASSIGN, lambda *_: None), 1.0)

        assert client.opened[1] - client.opened[0] < 0.5

    check()
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.message == "the watcher of Assign failed and starts again"

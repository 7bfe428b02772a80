"""One small watcher for each managed kind: it reports which objects changed, and never decides.

An accelerator only: whatever it misses, the next full compare finds. Status-only events are
dropped here, before any decision, because every audit rewrites every constraint's status.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from controller.cluster.kinds import FIXED_KINDS, constraint_kind
from controller.errors import ClusterError
from controller.gatekeeper.model import ObjectRef
from controller.times import loop_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from controller.cluster.client import KubeClient
    from controller.cluster.kinds import Inventory, Kind, LiveObject, Resource

log = logging.getLogger("azpolicy")
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_LASTING: Final = 10.0
_CHANGES: Final = {"ADDED", "MODIFIED"}


class Watches:
    """The watchers of one cluster; `changed` gets an object's ref and what is there now (None: nothing).

    `observed` gets every event, those too that change nothing but a status.
    """

    def __init__(
        self,
        client: KubeClient,
        changed: Callable[[ObjectRef, LiveObject | None], None],
        observed: Callable[[ObjectRef, LiveObject | None], None],
    ) -> None:
        self._client = client
        self._changed = changed
        self._observed = observed
        self._watchers: dict[tuple[str, str], tuple[Watcher, asyncio.Task[None]]] = {}

    def begin(self, kind: Kind, objects: Iterable[LiveObject], position: str) -> None:
        """Watches a kind from where its list ended, unless it is being watched."""
        key = (kind.group, kind.kind)
        watcher = self._watchers.get(key)
        if watcher is not None and not watcher[1].done():
            return
        seen = {live.ref.name: live for live in objects if live.ref.kind == kind.kind}
        started = Watcher(self._client, kind, self._changed, position=position, seen=seen, observed=self._observed)
        self._watchers[key] = (started, asyncio.create_task(started.run()))

    def follow(self, inventory: Inventory) -> None:
        """Watches every kind of the inventory from where its list ended; watchers of kinds that are gone end."""
        for key in self._watchers.keys() - inventory.positions.keys():
            self._watchers.pop(key)[1].cancel()
        fixed = {(kind.group, kind.kind): kind for kind in FIXED_KINDS}
        for key, position in inventory.positions.items():
            objects = (live for ref, live in inventory.objects.items() if (ref.group, ref.kind) == key)
            self.begin(fixed.get(key) or constraint_kind(key[1]), objects, position)

    @property
    def kinds(self) -> int:
        """How many kinds are being watched."""
        return sum(not task.done() for _, task in self._watchers.values())

    async def close(self) -> None:
        """Ends every watcher."""
        tasks = [task for _, task in self._watchers.values()]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._watchers.clear()


class Watcher:
    """Lists and watches one kind for ever; a kind that vanishes is news about its objects, not an end."""

    def __init__(
        self,
        client: KubeClient,
        kind: Resource,
        changed: Callable[[ObjectRef, LiveObject | None], None],
        *,
        position: str = "",
        seen: Mapping[str, LiveObject] | None = None,
        observed: Callable[[ObjectRef, LiveObject | None], None] = lambda *_: None,
    ) -> None:
        """`position` is the resourceVersion to go on from (none: list first), `seen` the objects by name there."""
        self._client = client
        self._kind = kind
        self._changed = changed
        self._position = position
        self._seen = dict(seen or {})
        self._observed = observed

    async def run(self) -> None:
        """Until it is cancelled; whatever goes wrong, it lists and watches again."""
        pause = _FIRST_PAUSE / 2
        while True:
            begun = loop_time()
            try:
                await self._follow()
            except ClusterError as error:
                # 410: too old; 404: the kind is gone. In every other case a list shows what was missed.
                log.debug("watch ended kind=%s error=%s", self._kind.kind, error)
                self._position = ""
            except Exception:
                log.exception("the watcher of %s failed and starts again", self._kind.kind)
                self._position = ""
            # A server ends a watch after minutes. One that lasts no time is opened again ever more slowly.
            pause = _FIRST_PAUSE if loop_time() - begun > _LASTING else min(pause * 2, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _follow(self) -> None:
        """Lists where that is needed, and watches until the server ends it."""
        if not self._position:
            await self._list()
        async with contextlib.aclosing(self._client.watch(self._kind, self._position)) as events:
            async for event in events:
                self._position = event.position
                if event.type in _CHANGES:
                    self._tell(event.live.ref.name, event.live)
                elif event.type == "DELETED":
                    self._tell(event.live.ref.name, None)

    def _tell(self, name: str, live: LiveObject | None) -> None:
        ref = ObjectRef(self._kind.group, self._kind.kind, name)
        _safely(self._observed, ref, live)
        before = self._seen.pop(name, None)
        if live is not None and not live.deleting:
            self._seen[name] = live
            if before is not None and live.reads_as(before):
                return
        _safely(self._changed, ref, live)

    async def _list(self) -> None:
        listed = await self._client.list_live(self._kind)
        items, position = listed or ((), "")
        there = {live.ref.name for live in items}
        for name in self._seen.keys() - there:
            self._tell(name, None)
        for live in items:
            self._tell(live.ref.name, live)
        if listed is None:
            raise ClusterError(f"{self._kind.kind} is not served", status=HTTPStatus.NOT_FOUND)
        self._position = position


def _safely(told: Callable[[ObjectRef, LiveObject | None], None], ref: ObjectRef, live: LiveObject | None) -> None:
    """Passes an object on; a fault in what follows must not keep back other objects."""
    try:
        told(ref, live)
    except Exception:
        log.exception("what follows from a change of %s failed", ref)

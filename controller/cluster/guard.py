"""Guards Gatekeeper: restores its Deployments, Services and webhook configurations when somebody deletes them.

The configurations also where they were changed so that the API server no longer asks. What it remembers of them is kept
in a ConfigMap and outlives a restart. Never its RBAC, its Secret, its kinds or its namespace: who takes those away has
uninstalled it, and then what was remembered is forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from controller.cluster.config_maps import ConfigMapStore
from controller.cluster.fights import FightDetector
from controller.cluster.foreign import mapping_at, mappings_at, text_at
from controller.cluster.guard_rules import (
    DEPLOYMENT,
    GUARDED,
    Evidence,
    Look,
    Standing,
    compared,
    does_nothing,
    dump,
    is_healthy,
    load,
    resource_of,
    restorable,
    service_account,
    standing,
)
from controller.cluster.health import unanswered
from controller.cluster.kinds import CRD_PATH, TEMPLATE
from controller.cluster.watch import Watcher
from controller.errors import ClusterError
from controller.gatekeeper.naming import GATEKEEPER_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from controller.cluster.client import KubeClient, Response
    from controller.cluster.guard_rules import Manifest
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import ObjectRef
    from controller.gatekeeper.naming import OwnershipMarks

log = logging.getLogger("azpolicy")
NAME: Final = "azure-policy-sync-gatekeeper"
SETTLE_SECONDS: Final = 2.0
LONGEST_SETTLE: Final = 10.0
LOOK_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 3.0
RETRY_SECONDS: Final = 5.0
_KEY: Final = "objects.json"


# --- where it is kept ------------------------------------------------------------------------------------------------


class ComponentStore:
    """Gatekeeper's components as they last worked, in a ConfigMap in the operator's own namespace."""

    def __init__(self, client: KubeClient, namespace: str, marks: OwnershipMarks) -> None:
        self._maps = ConfigMapStore(client, namespace, marks)
        self._kept: str | None = None

    async def load(self) -> dict[ObjectRef, Manifest]:
        """What was remembered; nothing where there is none or it cannot be used. ClusterError where nobody answers."""
        there = await self._maps.read(NAME)
        if there is None:
            return {}
        text = text_at(there, "data", _KEY)
        try:
            good = load(text)
        except ValueError as error:
            where = self._maps.where(NAME)
            log.warning("the record of Gatekeeper is not used %s reason=%r", where, str(error))
            return {}
        self._kept = text
        return good

    async def save(self, good: Mapping[ObjectRef, Manifest]) -> None:
        """Keeps it; asks nothing of the server where it is what is kept."""
        text = dump(good)
        if text == self._kept:
            return
        self._kept = None
        there = await self._maps.read(NAME)
        await self._maps.write(NAME, {"data": {_KEY: text}}, there, purpose="recording Gatekeeper")
        self._kept = text

    async def forget(self) -> None:
        """What was remembered before the guard was switched off must not come back when it is switched on again."""
        await self._maps.delete(NAME)


# --- the guard -------------------------------------------------------------------------------------------------------


class Guard:
    """Looks after Gatekeeper's parts until it is cancelled.

    `writes` says whether anything may be written now; `restored` is called with what was restored, and why. `evidence`
    tells what is known of webhook configurations besides.
    """

    def __init__(
        self,
        client: KubeClient,
        store: ComponentStore,
        *,
        writes: Callable[[], bool],
        restored: Callable[[ObjectRef, str], None],
        evidence: Callable[[], Evidence] = Evidence,
    ) -> None:
        self._client = client
        self._store = store
        self._writes = writes
        self._restored = restored
        self._evidence = evidence
        self._good: Mapping[ObjectRef, Manifest] | None = None
        self._fights = FightDetector()
        self._news = asyncio.Event()
        self._told: dict[ObjectRef | None, str] = {}

    async def run(self) -> None:
        """Watches, and compares at every look: a watch is an accelerator only."""
        async with asyncio.TaskGroup() as group:
            for resource in GUARDED:
                watcher = Watcher(self._client, resource, lambda *_: None, observed=self._observed)
                group.create_task(watcher.run())
            group.create_task(self._looks())

    def wake(self) -> None:
        """Whether it may write can have changed: what it only reported until now is due."""
        self._news.set()

    def _observed(self, ref: ObjectRef, live: LiveObject | None) -> None:
        """Takes a change over at once: what is deleted in the next moment comes back as it was last.

        A status alone is no news: a rollout would make dozens of looks.
        """
        if self._good is None:
            self._news.set()
        elif (
            live is not None
            and is_healthy(live)
            and standing(live, self._good.get(ref), self._evidence()) is Standing.GOOD
        ):
            if self._good.get(ref) != restorable(live):
                self._good = {**self._good, ref: restorable(live)}
                self._news.set()
        elif ref in self._good:
            self._news.set()

    async def _looks(self) -> None:
        wait = 0.0
        while True:
            await self._news_within(wait)
            # Who uninstalls or replaces Gatekeeper takes a moment for it: what he is at must be seen whole.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_SETTLE):
                    while await self._news_within(SETTLE_SECONDS):
                        pass
            try:
                wait = await self.look()
            except ClusterError as error:
                # The watches report no more news of what this look would have kept or restored.
                self._tell(None, f"Gatekeeper is not guarded error={str(error)!r}")
                wait = RETRY_SECONDS
            else:
                self._told.pop(None, None)

    async def _news_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    async def look(self) -> float:
        """Compares, brings back, remembers; seconds to the next look. ClusterError where nobody answers."""
        if self._good is None:
            self._good = await self._store.load()
        there = await self._there()
        look = compared(self._good, there, self._evidence())
        if look.lost and (why := await self._uninstalled(look)):
            log.warning("Gatekeeper is uninstalled (%s): its record is forgotten", why)
            look = Look({ref: manifest for ref, manifest in look.good.items() if ref not in look.lost})
        self._good = look.good
        self._told = {ref: text for ref, text in self._told.items() if ref is None or ref in look.lost}
        if not self._writes():
            self._only_tell(look)
            return LOOK_SECONDS
        wait = await self._mend(look)
        await self._store.save(look.good)
        return wait

    async def _there(self) -> list[LiveObject]:
        listed = await asyncio.gather(*(self._client.list_live(resource) for resource in GUARDED))
        return [live for items, _ in filter(None, listed) for live in items]

    async def _uninstalled(self, look: Look) -> str:
        """The evidence for that; empty where there is none, and where it may not be read."""
        namespace = f"/api/v1/namespaces/{GATEKEEPER_NAMESPACE}"
        accounts = {service_account(each) for ref, each in look.good.items() if resource_of(ref) is DEPLOYMENT}
        needed = {
            f"namespace {GATEKEEPER_NAMESPACE}": namespace,
            "kind ConstraintTemplate": f"{CRD_PATH}/{TEMPLATE.plural}.{TEMPLATE.group}",
            **{f"service account {name}": f"{namespace}/serviceaccounts/{name}" for name in sorted(accounts)},
        }
        for what, path in needed.items():
            if _gone(await self._client.request("GET", path)):
                return f"its {what} is gone"
        return ""

    def _only_tell(self, look: Look) -> None:
        for ref, left in look.lost.items():
            what = "was deleted or emptied" if left is None or does_nothing(left) else "does not enforce any more"
            self._tell(ref, f"{ref} of Gatekeeper {what}; nothing is restored now")

    async def _mend(self, look: Look) -> float:
        """Brings back what is due; seconds until the rest of it is."""
        wait = LOOK_SECONDS
        for ref, emptied in look.lost.items():
            if (held := self._fights.delay(ref, time.monotonic())) > 0:
                self._tell(ref, f"somebody keeps deleting {ref} of Gatekeeper; it is restored more and more slowly")
                wait = min(wait, held)
            # A webhook that nobody answers would at best do nothing, and at worst refuse every request.
            elif why := await unanswered(self._client, mappings_at(look.good[ref], "webhooks")):
                self._tell(ref, f"{ref} of Gatekeeper is not restored yet: {why}")
                wait = min(wait, ANSWER_SECONDS)
            else:
                await self._bring_back(ref, look.good[ref], emptied)
        return wait

    async def _bring_back(self, ref: ObjectRef, manifest: Manifest, emptied: LiveObject | None) -> None:
        resource = resource_of(ref)
        if emptied is None:
            response = await self._client.create(resource, manifest)
        else:
            response = await self._client.replace(resource, {**emptied.manifest, "webhooks": manifest["webhooks"]})
        if response.ok:
            self._fights.repaired(ref, time.monotonic())
            why = _cause(emptied)
            log.warning("restored %s of Gatekeeper: %s", ref, why)
            self._restored(ref, why)
        # Otherwise somebody else was faster: the next look sees what is there.
        elif response.status not in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
            self._tell(ref, f"{ref} of Gatekeeper cannot be restored error={response.message!r}")

    def _tell(self, about: ObjectRef | None, text: str) -> None:
        """Logs what is new."""
        if self._told.get(about) != text:
            log.warning("%s", text)
        self._told[about] = text


def _cause(emptied: LiveObject | None) -> str:
    if emptied is None:
        return "it was deleted"
    return "its webhooks were removed" if does_nothing(emptied) else "its webhooks did not enforce"


def _gone(response: Response) -> bool:
    deleting = "deletionTimestamp" in mapping_at(response.body, "metadata")
    return response.status == HTTPStatus.NOT_FOUND or (response.ok and deleting)

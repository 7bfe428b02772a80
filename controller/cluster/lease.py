"""Which of several replicas leads: leader election by a Lease, safe when clocks, networks and processes fail.

A follower trusts no clock but its own: it takes a lease over only once it has itself seen it unchanged for as long as
the lease lasts. The leader counts from the moment it *sent* its last good renewal and stops a third of that time
earlier, so what it had under way has ended before anybody else begins. `remaining` is the fence for its writes
(`KubeClient(fence=...)`): it needs no task to run in time, so even a process that was frozen writes nothing late.

The elector has a KubeClient of its own, without that fence: it writes before it leads, and it must not queue behind
requests that hang. Requests are bounded here, which `kubernetes.aio`'s elector does not do.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self

from controller.cluster.foreign import mapping_at, text_at, text_map_at, whole_at
from controller.cluster.installation import Installation
from controller.errors import ClusterError
from controller.gatekeeper.naming import FIELD_MANAGER
from controller.times import parse_moment, write_moment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from controller.cluster.client import KubeClient

log = logging.getLogger("azpolicy")
NAME: Final = "azure-policy-sync"
LAST_GOOD: Final = "azpolicy.dev/last-good-sync"
MANAGED_BY_KEY: Final = "azpolicy.dev/managed-by"
INSTALLATION_KEY: Final = "azpolicy.dev/installation"
DURATION: Final = 10.0
_RELEASE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """Which lease, and how fast; `identity` must be of this process alone (a pod's name and something random).

    The lease says of which `installation` its holder is.
    """

    namespace: str
    identity: str
    installation: Installation = field(default_factory=Installation)
    name: str = NAME
    duration: float = DURATION
    renew_every: float = 2.0

    @property
    def collection(self) -> str:
        """The API path that a lease is made at."""
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def path(self) -> str:
        """The API path of the lease."""
        return f"{self.collection}/{self.name}"

    @property
    def safe_seconds(self) -> float:
        """For how long a renewal allows writes; the rest is the reserve in which they end."""
        return self.duration * 2 / 3

    @property
    def request_seconds(self) -> float:
        """How long a request may take: another attempt must fit in after one that hangs."""
        return self.duration / 3


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease as the server has it; `holder` is empty when it was released."""

    manifest: Mapping[str, Any] = field(repr=False)
    holder: str
    renewed: str
    duration: float
    acquired: str
    transitions: int
    last_good: datetime | None
    managed_by: str = ""
    place: str = ""

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Self:
        """Reads a Lease, whose fields may hold anything."""
        return cls(
            manifest,
            holder=text_at(manifest, "spec", "holderIdentity"),
            renewed=text_at(manifest, "spec", "renewTime"),
            duration=float(whole_at(manifest, "spec", "leaseDurationSeconds") or DURATION),
            acquired=text_at(manifest, "spec", "acquireTime"),
            transitions=whole_at(manifest, "spec", "leaseTransitions"),
            last_good=parse_moment(text_at(manifest, "metadata", "annotations", LAST_GOOD)),
            managed_by=text_at(manifest, "metadata", "annotations", MANAGED_BY_KEY),
            place=text_at(manifest, "metadata", "annotations", INSTALLATION_KEY),
        )


class Claim(StrEnum):
    """What a replica may do about the lease as it saw it."""

    ABSENT = "absent"
    FREE = "free"
    OURS = "ours"
    EXPIRED = "expired"
    HELD = "held"


_TAKE: Final = frozenset(Claim) - {Claim.HELD}
_GIVE_UP: Final = frozenset({Claim.OURS})


def claim(lease: Lease | None, identity: str, unchanged: float) -> Claim:
    """Whether the lease may be taken; `unchanged` is for how many seconds we saw its holder not renew it.

    lease    holder      unchanged           claim
    none     -           -                   ABSENT   make it
    there    nobody      -                   FREE     take it
    there    ourselves   -                   OURS     renew it; what we did under it before has ended
    there    another     as long as it lasts EXPIRED  take it
    there    another     less                HELD     look again later
    """
    if lease is None:
        return Claim.ABSENT
    if not lease.holder:
        return Claim.FREE
    if lease.holder == identity:
        return Claim.OURS
    return Claim.EXPIRED if unchanged >= lease.duration else Claim.HELD


def written(
    lease: Lease | None, settings: LeaseSettings, holder: str, now: datetime, last_good: datetime | None
) -> dict[str, Any]:
    """The manifest by which `holder` takes, renews or (empty) gives up the lease, at the version that was seen."""
    taken = lease is None or holder not in {"", lease.holder}
    old: Mapping[str, Any] = lease.manifest if lease else {"metadata": {"name": settings.name}}
    metadata = dict(mapping_at(old, "metadata"))
    noted = {} if last_good is None else {LAST_GOOD: write_moment(last_good, "microseconds")}
    of = settings.installation
    named = {MANAGED_BY_KEY: of.marks.managed_by, INSTALLATION_KEY: of.place}
    metadata["annotations"] = {**text_map_at(metadata, "annotations"), **named, **noted}
    spec = {
        **mapping_at(old, "spec"),
        "holderIdentity": holder,
        "leaseDurationSeconds": math.ceil(settings.duration),
        "acquireTime": lease.acquired if lease and not taken else write_moment(now, "microseconds"),
        "renewTime": write_moment(now, "microseconds"),
        "leaseTransitions": lease.transitions + taken if lease else 0,
    }
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


class Leadership:
    """One replica's part in the election. `clock` must be monotonic; `now` is only written, never compared."""

    def __init__(
        self,
        client: KubeClient,
        settings: LeaseSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._now = now
        self._lease: Lease | None = None
        self._since = -math.inf
        self._known = False
        self._until = -math.inf
        self._last_good: datetime | None = None
        self._error = ""
        self._stood_by_for = ""

    # --- what others ask ------------------------------------------------------------------------------------------

    def remaining(self) -> float:
        """For how many seconds writing is still safe; 0 when not leading."""
        return max(0.0, self._until - self._clock())

    @property
    def is_leading(self) -> bool:
        """Whether this replica leads."""
        return self.remaining() > 0

    @property
    def lease(self) -> Lease | None:
        """The lease as it was last seen; None where nothing is known of it."""
        return self._lease

    @property
    def holder(self) -> str:
        """The identity that was last seen on the lease; empty when nobody's, or nothing is known."""
        return self._lease.holder if self._lease else ""

    @property
    def held_by_another(self) -> str:
        """Why this replica waits for ever: the holder is of another installation. Empty where it is of ours, or none.

        Two installations in one namespace have one Lease, and only one of them may write.
        """
        lease = self._lease
        installation = self._settings.installation
        if lease is None or not lease.holder or not installation.is_other(lease.managed_by, lease.place):
            return ""
        why = installation.why_refused(lease.managed_by, lease.place)
        return f"the Lease {self._settings.namespace}/{self._settings.name} is held by {lease.holder} of {why}"

    @property
    def last_good(self) -> datetime | None:
        """The time of the last good sync: as noted here, else as the lease has it; None where neither does."""
        return self._last_good

    def note(self, last_good: datetime | None) -> None:
        """Makes the next renewal write the time of the last good sync; None keeps the one in the lease."""
        self._last_good = last_good or self._last_good

    # --- the election ---------------------------------------------------------------------------------------------

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Runs `work` whenever, and only while, the lease is ours; returns when the work has ended by itself.

        The lease is given up when the work ends or raises and when this is cancelled, after the work was waited for.
        """
        while True:
            await self._acquire()
            if await self._hold(work):
                return

    async def _acquire(self) -> None:
        while not await self._attempt(self._settings.request_seconds):
            await self._pause()
        self._stood_by_for = ""
        log.info("acquired lease=%s identity=%s", self._settings.name, self._settings.identity)

    async def _pause(self) -> None:
        """Waits for the next look: at the latest until the lease, as it was seen last, has expired."""
        left = self._lease.duration - self._unchanged() if self._lease else 0.0
        await asyncio.sleep(min(self._pace(), left) if left > 0 else self._pace())

    async def _hold(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Runs the work while the lease is renewed: True when it ended by itself, False when the lease was lost."""
        working = asyncio.ensure_future(work())
        renewing = asyncio.create_task(self._renew())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if lost := not working.done():
                log.warning("lost lease=%s holder=%s", self._settings.name, self.holder)
        finally:
            await self._stop(working, renewing)
        return not lost

    async def _stop(self, working: asyncio.Future[None], renewing: asyncio.Future[None]) -> None:
        """Ends the work, renewing until it has ended; then gives the lease up. What they raised is raised here."""
        for task in (working, renewing):
            task.cancel()
            await asyncio.wait({task})
        await self._release()
        for task in (working, renewing):
            if not task.cancelled():
                task.result()

    async def _renew(self) -> None:
        """Renews until the lease is lost: not renewed in time, or taken by another."""
        due = self._clock()
        while True:
            due += self._pace()
            await asyncio.sleep(min(max(0.0, due - self._clock()), self.remaining()))
            if not self.is_leading:
                return
            await self._attempt(min(self._settings.request_seconds, self.remaining()))

    async def _attempt(self, seconds: float) -> bool:
        """Takes or renews the lease where that may be done: whether it was. Ends in time, and no failure is raised."""
        try:
            async with asyncio.timeout(seconds):
                ours = await self._write(self._settings.identity, _TAKE)
        except (ClusterError, TimeoutError) as error:
            self._failed(error)
            return False
        self._error = ""
        return ours

    async def _release(self) -> None:
        """Gives up what is still ours, so that nobody has to wait until it expires; tried once, for a short time."""
        if not self.is_leading:
            return
        self._until = -math.inf  # from here on another may lead
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                if await self._write("", _GIVE_UP):
                    log.info("released lease=%s", self._settings.name)
        except (ClusterError, TimeoutError) as error:
            self._failed(error)

    # --- requests -------------------------------------------------------------------------------------------------

    async def _write(self, holder: str, allowed: frozenset[Claim]) -> bool:
        """Writes the holder if what we know allows it; once more with a fresh look if that proved to be old."""
        for _ in range(2):
            if not self._known:
                await self._look()
            if claim(self._lease, self._settings.identity, self._unchanged()) not in allowed:
                self._stand_by()
                return False
            if await self._put(holder):
                return True
        return False

    async def _look(self) -> None:
        manifest = await self._client.get(self._settings.path)
        self._see(Lease.of(manifest) if manifest else None)

    def _see(self, lease: Lease | None) -> None:
        """Takes in what the server answered, only now: the renewal that it shows was sent before."""
        if lease is None or self._lease is None or lease.manifest.get("spec") != self._lease.manifest.get("spec"):
            self._since = self._clock()
        self._lease = lease
        self._known = True
        if lease is not None and not self.is_leading:
            self._last_good = lease.last_good

    def _stand_by(self) -> None:
        self._until = -math.inf
        self._known = False
        if self._stood_by_for != self.holder:
            if other := self.held_by_another:
                log.error("standing by for another installation error=%r", other)
            else:
                log.info("standing by holder=%s", self.holder)
        self._stood_by_for = self.holder

    async def _put(self, holder: str) -> bool:
        """One write at the version that was seen; False when somebody was faster, and on to a fresh look."""
        manifest = written(self._lease, self._settings, holder, self._now(), self._last_good)
        method, path = ("PUT", self._settings.path) if self._lease else ("POST", self._settings.collection)
        self._known = False  # unless it is answered: it may have been done all the same
        sent = self._clock()
        response = await self._client.request(method, path, query={"fieldManager": FIELD_MANAGER}, body=manifest)
        if response.status == HTTPStatus.CONFLICT or (response.status == HTTPStatus.NOT_FOUND and method == "PUT"):
            return False
        if not response.ok:
            raise response.error(f"writing lease {self._settings.namespace}/{self._settings.name}")
        self._until = sent + self._settings.safe_seconds if holder else -math.inf
        self._see(Lease.of(response.body))
        return True

    # --- small things ---------------------------------------------------------------------------------------------

    def _pace(self) -> float:
        return self._settings.renew_every * random.uniform(0.9, 1.1)  # noqa: S311 - jitter

    def _unchanged(self) -> float:
        return self._clock() - self._since

    def _failed(self, error: ClusterError | TimeoutError) -> None:
        """Logs what is new, not the same at every attempt."""
        words = str(error) or "no answer in time"
        if words != self._error:
            log.warning("lease=%s not reachable holder=%s error=%r", self._settings.name, self.holder, words)
        self._error = words

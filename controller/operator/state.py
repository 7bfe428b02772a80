"""What the loops of one leader session know. They alone change it; reports read it.

Nothing of a report is read back: whatever happens while something is reported, the loops go on as before.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.foreign import text_at
from controller.gatekeeper.probe import without_probe
from controller.operator.settings import PolicySyncRequests
from controller.report.conditions import Mode, SyncState
from controller.times import loop_time, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import DesiredObject, DesiredState, ObjectRef
    from controller.operator.settings import Settings

STALE_LOOPS: Final = 600.0  # seconds; one reading of Azure may take 300


class Loop(StrEnum):
    """The loops that must advance for the process to be alive."""

    SYNC = "sync"
    REPAIR = "repair"


@dataclass
class OperatorState:
    """Shared by the loops of one session; `now` is the wall clock, aware.

    `desired` is the last good desired state and `index` its objects by name, with what the last plan added. `status` is
    what the PolicySync's status says of the sync. `sync_wanted` asks for a full sync soon; `complete` is set once the
    cluster was listed whole. `probe` are the objects that are desired besides while enforcement is to be probed.
    """

    settings: Settings
    dry_run: bool = False
    probe: tuple[DesiredObject, ...] = ()
    now: Callable[[], datetime] = utc_now
    requests: PolicySyncRequests = field(default_factory=PolicySyncRequests)
    desired: DesiredState | None = None
    index: dict[ObjectRef, DesiredObject] = field(default_factory=dict)
    status: SyncState = field(default_factory=SyncState)
    sync_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._recalled = False
        self._changed: Callable[[], None] = lambda: None
        self._beats = dict.fromkeys(Loop, loop_time())

    def on_change(self, changed: Callable[[], None]) -> None:
        """Calls `changed` whenever `status` has become another one."""
        self._changed = changed

    def update(self, **changes: Any) -> None:
        """Replaces fields of `status`."""
        status = replace(self.status, **changes)
        if status != self.status:
            self.status = status
            self._changed()

    @property
    def probing(self) -> bool:
        """Whether enforcement is to be probed: a dry run has no right to make what that needs."""
        return self.settings.probe and not self.dry_run

    def want(self, desired: DesiredState) -> None:
        """Takes over a new desired state, with the probe's objects where enforcement is to be probed."""
        probe = self.probe if self.probing else ()
        self.desired = replace(desired, objects=(*without_probe(desired.objects), *probe))
        self.index = {wanted.ref: wanted for wanted in self.desired.objects}

    def recall(self, live: LiveObject | None) -> None:
        """Takes over what the live PolicySync's status remembers of requests that were carried out, once."""
        if self._recalled or live is None:
            return
        self._recalled = True
        self.update(
            handled_request=text_at(live.manifest, "status", "lastHandledRequest"),
            forced_prune=text_at(live.manifest, "status", "lastForcedPrune"),
        )

    @property
    def mode(self) -> Mode:
        """What is done with a plan now."""
        if self.dry_run:
            return Mode.DRY_RUN
        # Asked for every result of a sync: the clock only where it matters.
        suspended = self.requests.suspended_until is not None and self.requests.suspended(self.now())
        return Mode.SUSPENDED if suspended else Mode.ENFORCE

    def beat(self, loop: Loop) -> None:
        """Notes that a loop advances."""
        self._beats[loop] = loop_time()

    def alive(self) -> bool:
        """Whether every loop advances."""
        return all(loop_time() - beat < STALE_LOOPS for beat in self._beats.values())

"""Where a desired state comes from: a snapshot or Azure itself; the same for a command and for the operator."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from controller.azure.model import InUse
from controller.azure.snapshot import fingerprint, read_snapshot
from controller.errors import InputError
from controller.gatekeeper.desired import desired_state
from controller.gatekeeper.providers import make_provider
from controller.gatekeeper.syncset import InventoryKinds
from controller.policy.assigned import next_change
from controller.times import utc_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from controller.azure.arm import ArmReader, Reading
    from controller.azure.model import AzureState, ClusterResource
    from controller.config import SourceOptions
    from controller.gatekeeper.model import DesiredState
    from controller.gatekeeper.naming import RunningTemplate
    from controller.gatekeeper.sources import TemplateProvider


class InCluster(Protocol):
    """What a reading may want to know of the cluster that it is for."""

    async def running_templates(self) -> Mapping[str, RunningTemplate]:
        """Where our templates in the cluster came from, by name."""

    async def in_use(self) -> InUse:
        """What our objects in the cluster name."""


@dataclass(frozen=True, slots=True)
class NoCluster:
    """Nothing is known of a cluster: `render` asks none."""

    async def running_templates(self) -> Mapping[str, RunningTemplate]:
        """None."""
        return {}

    async def in_use(self) -> InUse:
        """Nothing."""
        return InUse()


class StateReader(Protocol):
    """Reads what Azure says, whole or not at all."""

    async def read(self, cluster: InCluster) -> AzureState:
        """Everything, or SourceError or InputError."""

    async def changed(self) -> bool:
        """Whether a reading would likely return something new already."""

    @property
    def figures(self) -> Mapping[str, float]:
        """What the last reading cost, for metrics; empty where nothing was measured."""


@dataclass
class SnapshotReader:
    """A snapshot; changed as soon as one of its files is."""

    path: Path
    cluster: ClusterResource | None
    figures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._seen = ""

    async def read(self, cluster: InCluster) -> AzureState:  # noqa: ARG002 - a snapshot proves nothing gone
        """The snapshot now; its fingerprint is taken before, so that a change during the reading is seen afterwards."""
        self._seen = await asyncio.to_thread(self._fingerprint)
        return await asyncio.to_thread(read_snapshot, self.path, self.cluster)

    async def changed(self) -> bool:
        """Whether a file came, went or was written since the last reading."""
        return await asyncio.to_thread(self._fingerprint) != self._seen

    def _fingerprint(self) -> str:
        """The snapshot's, or what is wrong with it: it is read again when that changes, not before."""
        try:
            return fingerprint(self.path)
        except InputError as error:
            return str(error)


@dataclass
class AzureReader:
    """Azure Resource Manager, read at every poll."""

    reader: ArmReader
    figures: Mapping[str, float] = field(default_factory=dict)

    async def read(self, cluster: InCluster) -> AzureState:
        """All of it; assignments that the cluster's objects name and Azure no longer lists are asked for one by one."""
        named = await cluster.in_use()
        reading = await self.reader.read(named.assignments, named.definitions)
        self.figures = {"requests": float(reading.requests), **reading.remaining_reads}
        return reading.state

    async def changed(self) -> bool:
        """Azure announces nothing."""
        return False


@dataclass(slots=True)
class Source:
    """Reads Azure's state and turns it into the desired state at the moment of reading.

    `changes_at` is when the last reading next means something else, aware; None where it never does. `now` is the wall
    clock.
    """

    reader: StateReader
    provider: TemplateProvider
    options: SourceOptions
    inventory: InventoryKinds = field(default_factory=InventoryKinds)
    now: Callable[[], datetime] = utc_now
    changes_at: datetime | None = field(default=None, init=False)
    _state: AzureState | None = field(default=None, init=False, repr=False)

    async def read(self, cluster: InCluster) -> DesiredState:
        """The desired state now; InputError or SourceError when the source cannot be read whole."""
        return await self._desired(await self.reader.read(cluster), cluster)

    async def read_again(self, cluster: InCluster) -> DesiredState:
        """What the last reading means now: an exemption ends when it says so, whether or not Azure can be read then.

        ClusterError where the cluster cannot be read. Needs a last reading, which there is where `changes_at` is set.
        """
        assert self._state is not None
        return await self._desired(self._state, cluster)

    async def _desired(self, state: AzureState, cluster: InCluster) -> DesiredState:
        now = self.now()
        desired = await desired_state(
            state,
            self.provider,
            now=now,
            marks=self.options.marks,
            excluded_namespaces=self.options.excluded_namespaces,
            running=await cluster.running_templates(),
            inventory=self.inventory,
            expansion=self.options.expansion,
        )
        self._state, self.changes_at = state, next_change(state, now)
        return desired

    @property
    def description(self) -> str:
        """What is read, in words."""
        return f"snapshot {self.options.snapshot}" if self.options.snapshot else f"Azure ({self.options.azure.cloud})"

    async def changed(self) -> bool:
        """Whether a reading would likely return something new before the next poll is due."""
        return await self.reader.changed()


@asynccontextmanager
async def open_source(options: SourceOptions) -> AsyncIterator[Source]:
    """The source that the options name; it is closed at the end."""
    provider = make_provider(
        options.templates, hosts=options.template_hosts, pins=options.template_pins, cache=options.template_cache
    )
    inventory = InventoryKinds.of(options.inventory_kinds)
    if options.snapshot is not None:
        yield Source(SnapshotReader(options.snapshot, options.cluster()), provider, options, inventory)
        return
    async with open_azure(options) as reader:
        yield Source(AzureReader(reader), provider, options, inventory)


async def read_desired_state(options: SourceOptions) -> DesiredState:
    """Reads the source once, without a cluster: the desired state."""
    async with open_source(options) as source:
        return await source.read(NoCluster())


async def read_azure(options: SourceOptions) -> Reading:
    """One reading of all of Azure itself, with the documents behind it; InputError where a snapshot is given."""
    async with open_azure(options) as reader:
        return await reader.read(thorough=True)


@asynccontextmanager
async def open_azure(options: SourceOptions) -> AsyncIterator[ArmReader]:
    """Azure as the options say; InputError where they name a snapshot.

    The SDK is imported here and nowhere else, for a snapshot does not need it.
    """
    if options.snapshot is not None:
        raise InputError("this command reads Azure itself: remove --snapshot (AZPOLICY_SNAPSHOT)")
    settings = options.azure.settings(options.cluster(), os.environ)
    from controller.azure.arm import ArmReader  # noqa: PLC0415

    async with ArmReader(settings) as reader:
        yield reader

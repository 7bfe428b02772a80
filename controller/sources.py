"""Where an operator's desired state comes from: a snapshot on disk, or Azure itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from controller.azure.snapshot import fingerprint, read_snapshot
from controller.gatekeeper.desired import desired_state
from controller.gatekeeper.providers import make_provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.gatekeeper.model import DesiredState
    from controller.gatekeeper.naming import RunningTemplate
    from controller.gatekeeper.sources import TemplateProvider
    from controller.options import SourceOptions


@dataclass
class SnapshotSource:
    """A snapshot; changed as soon as one of its files is."""

    options: SourceOptions

    def __post_init__(self) -> None:
        options = self.options
        self._provider: TemplateProvider = make_provider(
            options.templates,
            hosts=options.template_hosts,
            pins=options.template_pins,
            cache=options.template_cache,
        )
        self._read = ""

    async def read(self, running: Mapping[str, RunningTemplate]) -> DesiredState:
        """The snapshot's desired state now; InputError or SourceError when it cannot be read whole."""
        options = self.options
        assert options.snapshot is not None
        # Taken before reading: a change meanwhile is seen as one afterwards.
        self._read = await self._fingerprint()
        state = await asyncio.to_thread(read_snapshot, options.snapshot, options.cluster_id)
        return await desired_state(
            state,
            self._provider,
            now=datetime.now(UTC),
            marks=options.marks,
            excluded_namespaces=options.excluded_namespaces,
            running=running,
        )

    async def changed(self) -> bool:
        """Whether a file came, went or was written since the last reading."""
        return await self._fingerprint() != self._read

    async def _fingerprint(self) -> str:
        assert self.options.snapshot is not None
        return await asyncio.to_thread(fingerprint, self.options.snapshot)

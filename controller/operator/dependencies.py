"""What the loops of one leader session work with, and which failures pass by themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from controller.report.violations import ViolationStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from controller.cluster.apply import Applier
    from controller.cluster.client import KubeClient
    from controller.cluster.cluster_record import ClusterRecord
    from controller.cluster.last_state import LastState
    from controller.cluster.planner import Planner
    from controller.cluster.written import Written
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.report.metrics import Metrics
    from controller.report.reporter import Reporter


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the loops work with, bound once; `good_at` gets the time of every good sync, `synced` is told of every one.

    `namespace` is the operator's own.
    """

    client: KubeClient
    planner: Planner
    applier: Applier
    cluster_record: ClusterRecord
    last_state: LastState
    marks: OwnershipMarks
    metrics: Metrics
    reporter: Reporter
    namespace: str
    good_at: Callable[[datetime], None] = lambda _: None
    violations: ViolationStore = field(default_factory=ViolationStore)
    synced: Callable[[], None] = lambda: None

    @property
    def written(self) -> Written:
        """What this process remembers of what it wrote, which its plans go by."""
        return self.planner.cache.written

"""Prometheus metrics of the operator: what an alert needs to know, and no more."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from controller.cluster.apply import Action
from controller.policy.model import NotApplied, Unresolved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from controller.cluster.apply import ChangeSet, Result
    from controller.gatekeeper.model import DesiredState


# The `_created` series double the page and say nothing here.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """One operator's metrics in a registry of their own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_good = clock()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._syncs = Counter("azpolicy_syncs", "Full syncs by result.", ["result"], registry=self.registry)
        self._changes = Counter(
            "azpolicy_changes", "Changes written to the cluster.", ["action", "cause"], registry=self.registry
        )
        self._repaired = Counter(
            "azpolicy_drift_repaired", "Objects restored after somebody else changed them.", registry=self.registry
        )
        self._polls = Counter("azpolicy_source_polls", "Readings of the source.", ["result"], registry=self.registry)
        self._gauges = {
            name: Gauge(f"azpolicy_{name}", text, registry=self.registry)
            for name, text in (
                ("managed_objects", "Objects that the desired state has."),
                ("members_enforced", "Assignment members that became objects."),
                ("members_unresolved", "Assignment members whose meaning here is not known."),
                ("members_not_applied", "Assignment members known not to apply here."),
                ("conflicts", "Desired objects whose name something foreign has."),
                ("problems", "Objects of the last sync that failed, conflict or are refused."),
                ("fights", "Objects that somebody else keeps changing back."),
                ("watched_kinds", "Kinds with an open watch."),
                ("last_good_sync_timestamp_seconds", "When the source was last read and applied whole."),
            )
        }
        age = Gauge(
            "azpolicy_last_good_sync_age_seconds",
            "Time since the source was last read and applied whole.",
            registry=self.registry,
        )
        age.set_function(lambda: self._clock() - self._last_good)
        self._requests = Gauge("azpolicy_arm_requests", "Requests of the last poll.", registry=self.registry)
        self._remaining = Gauge(
            "azpolicy_arm_remaining_reads", "Reads that ARM still allows.", ["scope"], registry=self.registry
        )
        self._repair_seconds = Histogram(
            "azpolicy_repair_seconds", "From a watch event to the restored object.", registry=self.registry
        )

    def polled(self, *, ok: bool) -> None:
        """Counts a reading of the source."""
        self._polls.labels("success" if ok else "failure").inc()

    def reading(self, figures: Mapping[str, float]) -> None:
        """What the last reading of the source cost: requests sent, and reads that ARM still allows by its headers."""
        for name, value in figures.items():
            (self._requests if name == "requests" else self._remaining.labels(name)).set(value)

    def synced(self, desired: DesiredState, outcome: ChangeSet) -> None:
        """Takes over the figures of a finished full sync."""
        actions = Tally(result.action for result in outcome.results)
        members = Tally(type(o) for o in desired.outcomes)
        unresolved, not_applied = members[Unresolved], members[NotApplied]
        figures = {
            "managed_objects": len(desired.objects),
            "members_enforced": len(desired.outcomes) - unresolved - not_applied,
            "members_unresolved": unresolved,
            "members_not_applied": not_applied,
            "conflicts": actions[Action.CONFLICT],
            "problems": len(outcome.problems),
        }
        for name, value in figures.items():
            self._gauges[name].set(value)
        self._syncs.labels("problems" if outcome.problems else "success").inc()

    def good(self) -> None:
        """The source was read whole and carried out."""
        self._last_good = self._clock()
        self._gauges["last_good_sync_timestamp_seconds"].set(self._last_good)

    def failed(self) -> None:
        """A full sync could not be carried out."""
        self._syncs.labels("failure").inc()

    def changed(self, result: Result, *, cause: str) -> None:
        """Counts one write; cause is `azure` or `drift`."""
        self._changes.labels(result.action.value, cause).inc()
        if cause == "drift":
            self._repaired.inc()

    def repaired(self, seconds: float) -> None:
        """One repair's time from its watch event."""
        self._repair_seconds.observe(seconds)

    def watching(self, kinds: int) -> None:
        """How many kinds have an open watch."""
        self._gauges["watched_kinds"].set(kinds)

    def fighting(self, objects: int) -> None:
        """How many objects are being fought over."""
        self._gauges["fights"].set(objects)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)

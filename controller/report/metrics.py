"""Prometheus metrics of the operator: what an alert needs to know, and no more."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from controller.cluster.apply import WRITE_ACTIONS
from controller.cluster.guard_rules import GUARDED
from controller.report.assigned import Enforcement
from controller.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from controller.cluster.apply import Result
    from controller.report.conditions import Counts
    from controller.report.health import Health


# The `_created` series double the page and say nothing here.
disable_created_metrics()  # type: ignore[no-untyped-call]
# Azure Monitor drops series with longer values of labels.
_LONGEST_LABEL: Final = 1000
_LAGS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class PolicyViolations(NamedTuple):
    """How many objects violate one member of an assignment: by its ids, its policy's name, and what becomes of them."""

    assignment: str
    reference: str
    policy: str
    action: str
    total: int


class _ByPolicy(Collector):
    """The violations of each audited member as they are when somebody scrapes: a member that is gone has no series."""

    def __init__(self) -> None:
        self.read: Callable[[], Iterable[PolicyViolations]] = tuple

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The one family."""
        family = GaugeMetricFamily(
            "azpolicy_policy_violations",
            "Violating objects in Gatekeeper's last audit, by member of an assignment.",
            labels=PolicyViolations._fields[:-1],
        )
        # Two series with the same labels would spoil the whole page.
        totals = {each[:-1]: each.total for each in self.read()}
        for labels, total in totals.items():
            family.add_metric([printable(label[:_LONGEST_LABEL]) for label in labels], total)
        yield family


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
            "azpolicy_drift_repaired",
            "Objects restored after somebody else changed them.",
            ["kind", "name"],
            registry=self.registry,
        )
        self._polls = Counter("azpolicy_source_polls", "Readings of the source.", ["result"], registry=self.registry)
        self._gauges = {
            name: Gauge(f"azpolicy_{name}", text, registry=self.registry)
            for name, text in (
                ("managed_objects", "Objects in the desired state."),
                ("members_enforced", "Assignment members that became objects."),
                ("members_unresolved", "Assignment members whose meaning here is not known."),
                ("members_not_applied", "Assignment members known not to apply here."),
                ("members_pending", "Assignment members that Gatekeeper has not accepted yet."),
                ("members_failed", "Assignment members whose objects are not as they should be."),
                ("templates_failed", "Templates that Gatekeeper rejects, or whose next version it rejects."),
                ("violations", "Violating objects in Gatekeeper's last audit, all constraints together."),
                ("gatekeeper_ready", "1 while Gatekeeper is installed and asked by the API server."),
                ("leader", "1 in the replica that leads."),
                ("poll_interval_seconds", "Time between polls of the source."),
                ("conflicts", "Desired objects whose name a foreign object has."),
                ("problems", "Objects of the last sync that failed, conflict or are refused."),
                ("fights", "Objects that somebody else keeps changing back."),
                ("watched_kinds", "Kinds with an open watch."),
                ("last_good_sync_timestamp_seconds", "When the source was last read and applied as a whole."),
            )
        }
        self._brought_back = Counter(
            "azpolicy_gatekeeper_restored",
            "Parts of Gatekeeper restored after somebody deleted them.",
            ["kind"],
            registry=self.registry,
        )
        age = Gauge(
            "azpolicy_last_good_sync_age_seconds",
            "Time since the source was last read and applied as a whole.",
            registry=self.registry,
        )
        age.set_function(lambda: self._clock() - self._last_good)
        self._requests = Gauge("azpolicy_arm_requests", "Requests of the last poll.", registry=self.registry)
        self._remaining = {
            what: Gauge(f"azpolicy_arm_remaining_{what}", words, ["scope"], registry=self.registry)
            for what, words in (
                ("reads", "Reads that ARM still allows, by bucket."),
                ("writes", "Writes that ARM still allows, by bucket; it counts a POST as one."),
                ("requests", "Requests that a service behind ARM still allows, by bucket."),
            )
        }
        self._repair_seconds = Histogram(
            "azpolicy_repair_seconds", "From a watch event to the restored object.", registry=self.registry
        )
        self._loop_lag = Histogram(
            "azpolicy_event_loop_lag_seconds",
            "How late the event loop runs what is due, looked at ten times a second.",
            buckets=_LAGS,
            registry=self.registry,
        )
        self._by_policy = _ByPolicy()
        self.registry.register(self._by_policy)
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """A series that appears with its first count shows no increase: those known beforehand are there at once."""
        for result in ("success", "problems", "failure"):
            self._syncs.labels(result)
        for result in ("success", "failure"):
            self._polls.labels(result)
        for action, cause in itertools.product(sorted(WRITE_ACTIONS), ("azure", "drift")):
            self._changes.labels(action.value, cause)
        for resource in GUARDED:
            self._brought_back.labels(resource.kind)

    def polled(self, *, ok: bool) -> None:
        """Counts a reading of the source."""
        self._polls.labels("success" if ok else "failure").inc()

    def reading(self, figures: Mapping[str, float]) -> None:
        """What the last reading of the source cost: `requests` sent, and what ARM still allows, by bucket.

        A bucket is named as the end of ARM's header says, such as `subscription-global-reads`. One that the last
        reading took nothing from is left out: what it held before may no longer be true.
        """
        for gauge in self._remaining.values():
            gauge.clear()
        for name, value in figures.items():
            if name == "requests":
                self._requests.set(value)
            elif (what := name.rpartition("-")[2]) in self._remaining:
                self._remaining[what].labels(name).set(value)

    def synced(self, counts: Counts, *, problems: bool) -> None:
        """Takes over the figures of a finished full sync."""
        figures = {
            "managed_objects": counts.objects,
            "members_enforced": counts.enforced,
            "members_unresolved": counts.unresolved,
            "members_not_applied": counts.not_applied,
            "conflicts": counts.conflicts,
            "problems": counts.problems,
        }
        for name, value in figures.items():
            self._gauges[name].set(value)
        self._syncs.labels("problems" if problems else "success").inc()

    def reported(self, outcomes: Sequence[str], health: Iterable[Health], *, templates_failed: int) -> None:
        """What Gatekeeper makes of the members and finds: `outcomes` are those of all AssignedPolicies."""
        self._gauges["members_pending"].set(outcomes.count(Enforcement.PENDING))
        self._gauges["members_failed"].set(outcomes.count(Enforcement.FAILED))
        self._gauges["templates_failed"].set(templates_failed)
        self._gauges["violations"].set(sum(each.violations or 0 for each in health))

    def policies(self, read: Callable[[], Iterable[PolicyViolations]] = tuple) -> None:
        """What is read in the thread of each scrape from now on; without it nothing, as in a replica that stands by."""
        self._by_policy.read = read

    def gatekeeper(self, *, ready: bool) -> None:
        """Whether Gatekeeper is there and asked."""
        self._gauges["gatekeeper_ready"].set(ready)

    def gatekeeper_restored(self, kind: str) -> None:
        """Counts a part of Gatekeeper that was restored."""
        self._brought_back.labels(kind).inc()

    def leading(self, *, leads: bool) -> None:
        """Whether this replica leads."""
        self._gauges["leader"].set(leads)

    def polls_every(self, seconds: float) -> None:
        """The interval of polls."""
        self._gauges["poll_interval_seconds"].set(seconds)

    def last_good(self, at: float) -> None:
        """When the source was last read and applied whole, by this replica or one before it; seconds since 1970."""
        self._last_good = at
        self._gauges["last_good_sync_timestamp_seconds"].set(at)

    def good(self) -> None:
        """The source was read whole and carried out."""
        self.last_good(self._clock())

    def failed(self) -> None:
        """A full sync could not be carried out."""
        self._syncs.labels("failure").inc()

    def changed(self, result: Result, *, cause: str) -> None:
        """Counts one write; cause is `azure` or `drift`."""
        self._changes.labels(result.action.value, cause).inc()
        if cause == "drift":
            self._repaired.labels(result.ref.kind, result.ref.name).inc()

    def repaired(self, seconds: float) -> None:
        """One repair's time from its watch event."""
        self._repair_seconds.observe(seconds)

    def lagged(self, seconds: float) -> None:
        """How late the event loop was this time."""
        self._loop_lag.observe(seconds)

    def watching(self, kinds: int) -> None:
        """How many kinds have an open watch."""
        self._gauges["watched_kinds"].set(kinds)

    def fighting(self, objects: int) -> None:
        """How many objects are being fought over."""
        self._gauges["fights"].set(objects)

    def text(self) -> bytes:
        """The exposition format; a tenth of a second for thousands of policies, so not for the event loop."""
        return generate_latest(self.registry)

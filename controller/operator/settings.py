"""The operator's settings, the PolicySync over the environment over the default; and what it asks for now and then.

The environment (or the command line) makes the base; each field of `spec` that is set replaces its part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.azure.declared import DeclaredCluster
from controller.gatekeeper.naming import FORCE_PRUNE, REQUESTED_AT
from controller.times import duration, parse_moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from controller.cluster.kinds import LiveObject
    from controller.cluster.prune import PruneLimit
    from controller.config import SourceOptions


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, in seconds: polls of the source, full compares without a cause. Both get up to 10 % of jitter."""

    poll: float = 900.0
    resync: float = 300.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator works by, and a PolicySync can set."""

    source: SourceOptions
    pace: Pace
    limit: PruneLimit


@dataclass(frozen=True, slots=True)
class PolicySyncRequests:
    """What a PolicySync asks for beside settings; all empty where there is none. Times are aware UTC."""

    generation: int = 0
    requested_at: str = ""
    force_prune: str = ""
    suspended_until: datetime | None = None
    suspend_reason: str = ""

    def suspended(self, now: datetime) -> bool:
        """Whether nothing is to be written at a time."""
        return self.suspended_until is not None and now < self.suspended_until

    @property
    def suspension(self) -> str:
        """The suspension in words, empty where there is none."""
        if self.suspended_until is None:
            return ""
        reason = f": {self.suspend_reason}" if self.suspend_reason else ""
        return f"suspended until {self.suspended_until:%Y-%m-%dT%H:%M:%SZ}{reason}"


def requests_of(live: LiveObject | None) -> PolicySyncRequests:
    """Reads a live PolicySync; a suspension without an end that is a time is none."""
    if live is None:
        return PolicySyncRequests()
    suspend = _spec(live).get("suspend") or {}
    return PolicySyncRequests(
        generation=live.generation,
        requested_at=live.annotations.get(REQUESTED_AT, ""),
        force_prune=live.annotations.get(FORCE_PRUNE, ""),
        suspended_until=parse_moment(str(suspend.get("until", ""))),
        suspend_reason=str(suspend.get("reason", "")),
    )


def settings_of(live: LiveObject | None, base: Settings) -> Settings:
    """The settings that a live PolicySync makes of the base; InputError for a value that cannot be used."""
    spec = _spec(live) if live is not None else {}
    pace = replace(
        base.pace,
        poll=duration(spec["interval"], "PolicySync default: spec.interval") if "interval" in spec else base.pace.poll,
        resync=duration(spec["resync"], "PolicySync default: spec.resync") if "resync" in spec else base.pace.resync,
    )
    percent = int(spec.get("pruneLimit", base.limit.percent))
    return Settings(_source(spec, base.source), pace, replace(base.limit, percent=percent))


def _source(spec: Mapping[str, Any], base: SourceOptions) -> SourceOptions:
    chosen = spec.get("source")
    snapshot = base.snapshot if chosen is None else Path(chosen["path"]) if chosen["kind"] == "Snapshot" else None
    # One replaces the other: a cluster is named or declared, not both.
    named = (spec.get("clusterId"), _declared(spec.get("declaredCluster")))
    cluster_id, declared = named if any(named) else (base.cluster_id, base.declared)
    return replace(
        base,
        snapshot=snapshot,
        cluster_id=cluster_id,
        declared=declared,
        templates=spec.get("templates") or base.templates,
        azure=replace(base.azure, cloud=spec.get("cloud") or base.azure.cloud),
    )


def _declared(told: Mapping[str, Any] | None) -> DeclaredCluster | None:
    if not told:
        return None
    tags = tuple(sorted((told.get("tags") or {}).items()))
    return DeclaredCluster(told["scope"], told["name"], told.get("type", ""), told.get("location", ""), tags)


def _spec(live: LiveObject) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = live.manifest.get("spec") or {}
    return spec

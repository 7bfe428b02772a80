"""The operator's settings, the PolicySync over the environment over the default; and what it asks for now and then.

The environment (or the command line) makes the base; each field of `spec` that is set replaces its part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.azure.declared import DeclaredCluster
from controller.cluster.foreign import mapping_at, text_at, text_map_at, value_at, whole_at
from controller.cluster.report_objects import BY_SETTING
from controller.errors import InputError
from controller.gatekeeper.expansion import Expansion
from controller.gatekeeper.naming import FORCE_PRUNE, REQUESTED_AT
from controller.times import duration, parse_moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from controller.cluster.kinds import LiveObject
    from controller.cluster.prune import PruneLimit
    from controller.cluster.report_objects import ReportApi
    from controller.config import SourceOptions


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, in seconds: polls of the source, full compares without a cause. Both get up to 10 % of jitter."""

    poll: float = 900.0
    resync: float = 300.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator works by, and a PolicySync can set; `probe` is whether enforcement is probed.

    `reports` is the API that reports of policies are written to, None for none.
    """

    source: SourceOptions
    pace: Pace
    limit: PruneLimit
    probe: bool = False
    reports: ReportApi | None = None


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
    suspend = mapping_at(live.manifest, "spec", "suspend")
    return PolicySyncRequests(
        generation=live.generation,
        requested_at=live.annotations.get(REQUESTED_AT, ""),
        force_prune=live.annotations.get(FORCE_PRUNE, ""),
        suspended_until=parse_moment(text_at(suspend, "until")),
        suspend_reason=text_at(suspend, "reason"),
    )


def settings_of(live: LiveObject | None, base: Settings) -> Settings:
    """The settings that a live PolicySync makes of the base; InputError for a value that cannot be used."""
    spec = mapping_at(live.manifest, "spec") if live is not None else {}
    interval, resync = text_at(spec, "interval"), text_at(spec, "resync")
    pace = replace(
        base.pace,
        poll=duration(interval, "PolicySync default: spec.interval") if interval else base.pace.poll,
        resync=duration(resync, "PolicySync default: spec.resync") if resync else base.pace.resync,
    )
    percent = whole_at(spec, "pruneLimit", default=base.limit.percent)
    probe = value_at(spec, "probe")
    return Settings(
        _source(spec, base.source),
        pace,
        replace(base.limit, percent=percent),
        probe=probe if isinstance(probe, bool) else base.probe,
        reports=_reports(text_at(spec, "reports"), base.reports),
    )


def _reports(chosen: str, base: ReportApi | None) -> ReportApi | None:
    if chosen and chosen not in BY_SETTING:
        raise InputError(f"PolicySync default: spec.reports: {chosen!r} is none of {', '.join(BY_SETTING)}")
    return BY_SETTING[chosen] if chosen else base


def _source(spec: Mapping[str, Any], base: SourceOptions) -> SourceOptions:
    # One replaces the other: a cluster is named or declared, not both.
    named = (text_at(spec, "clusterId"), _declared(mapping_at(spec, "declaredCluster")))
    cluster_id, declared = named if any(named) else (base.cluster_id, base.declared)
    return replace(
        base,
        snapshot=_snapshot(mapping_at(spec, "source"), base),
        cluster_id=cluster_id or None,
        declared=declared,
        templates=text_at(spec, "templates") or base.templates,
        azure=replace(base.azure, cloud=text_at(spec, "cloud") or base.azure.cloud),
        expansion=_expansion(text_at(spec, "expansion")) or base.expansion,
    )


def _expansion(given: str) -> Expansion | None:
    if given and given not in set(Expansion):
        raise InputError(f"PolicySync default: spec.expansion: {given!r} is none of {', '.join(Expansion)}")
    return Expansion(given) if given else None


def _declared(spec: Mapping[str, Any]) -> DeclaredCluster | None:
    if not spec:
        return None
    scope, name, kind, location = (text_at(spec, key) for key in ("scope", "name", "type", "location"))
    return DeclaredCluster(scope, name, kind, location, tuple(sorted(text_map_at(spec, "tags").items())))


def _snapshot(chosen: Mapping[str, Any], base: SourceOptions) -> Path | None:
    match text_at(chosen, "kind"), text_at(chosen, "path"):
        case "", _:
            return base.snapshot
        case "Snapshot", "":
            raise InputError("PolicySync default: spec.source: a source of kind Snapshot needs a path")
        case "Snapshot", path:
            return Path(path)
        case _:
            return None

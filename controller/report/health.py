"""Gatekeeper's status of an object, reduced to what a report needs.

Every audit rewrites every constraint's status: what changes there though nothing happened, the time of the audit, is
compared by no one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from controller.cluster.foreign import mapping_at, text_at, whole_at
from controller.cluster.lean import FIRST, Violation, first_violations
from controller.cluster.readiness import Pending, Ready, constraint_verdict, template_errors
from controller.gatekeeper.model import Role
from controller.times import parse_moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from controller.cluster.kinds import LiveObject
    from controller.cluster.readiness import Verdict


@dataclass(frozen=True, slots=True)
class Health:
    """One live object: what Gatekeeper makes of it, and what its last audit found (`violations` None: no audit yet).

    `audited` and `created` are aware UTC, None where the object does not say. `version` is its resourceVersion,
    `content` that of the live object.
    """

    verdict: Verdict
    errors: tuple[str, ...] = ()
    violations: int | None = None
    first: tuple[Violation, ...] = ()
    audited: datetime | None = field(default=None, compare=False)
    created: datetime | None = None
    version: str = field(default="", compare=False)
    content: object = field(default=None, compare=False, repr=False)


def health_of(live: LiveObject, role: Role, known: Health | None = None) -> Health:
    """The health of a live template, constraint or mutator; `known` was found of the object at an earlier time."""
    if known is not None and known.content is live.content:
        return known if known.version == live.version else _audited_again(known, live)
    created = parse_moment(text_at(live.manifest, "metadata", "creationTimestamp"))
    version = text_at(live.manifest, "metadata", "resourceVersion")
    if role is Role.TEMPLATE:
        errors = template_errors(live)
        return Health(
            Pending("; ".join(errors)) if errors else Ready(),
            errors[:FIRST],
            created=created,
            version=version,
            content=live.content,
        )
    status = mapping_at(live.manifest, "status")
    return Health(
        verdict=constraint_verdict(live) if role not in (Role.SYNC, Role.EXPANSION) else Ready(),
        violations=_count(status),
        first=first_violations(status),
        audited=parse_moment(text_at(status, "auditTimestamp")),
        created=created,
        version=version,
        content=live.content,
    )


def _audited_again(known: Health, live: LiveObject) -> Health:
    """The health of an object of which nothing moved but the time of its audit."""
    audited = parse_moment(text_at(live.manifest, "status", "auditTimestamp"))
    return replace(known, audited=audited, version=live.version)


def _count(status: Mapping[str, Any]) -> int | None:
    total = whole_at(status, "totalViolations", default=-1)
    return total if text_at(status, "auditTimestamp") and total >= 0 else None

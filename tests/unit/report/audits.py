"""Constraints as an audit leaves them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from tests.unit.cluster_builders import live

if TYPE_CHECKING:
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import DesiredObject

_VERSIONS: Final = itertools.count(1000)
AUDITED: Final = "2026-03-01T12:00:00Z"


def finding(number: int, **changes: Any) -> dict[str, Any]:
    """One entry of a status as Gatekeeper writes it."""
    return {
        "group": "",
        "version": "v1",
        "kind": "Pod",
        "namespace": "shop",
        "name": f"web-{number:03}",
        "message": f"pod web-{number:03} is bad",
        "enforcementAction": "deny",
        **changes,
    }


def audit(wanted: DesiredObject, *found: Any, total: Any = None, **status: Any) -> dict[str, Any]:
    """The status of a constraint that Gatekeeper has taken, and what its audit found."""
    taken = {"constraintUID": live(wanted).uid, "observedGeneration": 1, "enforced": True}
    said = {"auditTimestamp": AUDITED, "totalViolations": len(found) if total is None else total, **status}
    return {"byPod": [taken], "violations": list(found), **said}


def audited(wanted: DesiredObject, *found: Any, total: Any = None, **status: Any) -> LiveObject:
    """A constraint as an audit leaves it."""
    known = live(wanted, resourceVersion=str(next(_VERSIONS)))
    return replace(known, manifest={**known.manifest, "status": audit(wanted, *found, total=total, **status)})

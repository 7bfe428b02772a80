"""All that reports are made of, at one moment: for those who show it to people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.gatekeeper.model import DesiredState, ObjectRef
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.report.assigned import Knowledge
    from controller.report.violations import Findings


@dataclass(frozen=True, slots=True)
class Known:
    """Nothing of it changes later, so that another thread may read it.

    `sync` is the live PolicySync, None where there is none; `changes` are the last changes, newest first; `findings`
    are what the last audit found of each constraint.
    """

    desired: DesiredState | None
    knowledge: Knowledge
    sync: Mapping[str, Any] | None
    changes: tuple[Mapping[str, str], ...]
    findings: Mapping[ObjectRef, Findings]
    marks: OwnershipMarks

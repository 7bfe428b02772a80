"""Whose object it is: stripped marks are drift, not a way out; foreign things are never touched.

docs/design.md (Ownership) says why.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from controller.cluster.kinds import kind_of
from controller.gatekeeper.model import Role
from controller.gatekeeper.naming import (
    ASSIGNMENT_ID,
    CONSTRAINT_INSTALLED_BY,
    FIELD_MANAGER,
    MANAGED_BY_LABEL,
    REFERENCE_ID,
    TEMPLATE_INSTALLED_BY,
)
from controller.policy.model import MemberKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import ObjectRef
    from controller.gatekeeper.naming import OwnershipMarks

NOTHING: Final[Mapping[ObjectRef, str]] = MappingProxyType({})


class Ownership(StrEnum):
    """Ours, or anybody else's."""

    OURS = "ours"
    FOREIGN = "foreign"


def ownership(
    live: LiveObject, marks: OwnershipMarks, *, desired: bool = False, written: Mapping[ObjectRef, str] = NOTHING
) -> Ownership:
    """Whose a live object is; `desired` when a desired object has its name, `written` are the uids that we wrote.

    What we remember counts first, because it is not in the object, where an editor could take it away:

    | `written` has             | desired | whose                 |
    |---------------------------|---------|-----------------------|
    | its uid                   | any     | ours                  |
    | its name with another uid | yes     | ours: made by another |
    | its name with another uid | no      | as below              |
    | nothing                   | any     | as below              |

    | entry of our field manager | managed-by  | installed-by ours | desired constraint, mutator | whose   |
    |----------------------------|-------------|-------------------|-----------------------------|---------|
    | yes, and it is desired     | any         | any               | any                         | ours    |
    | yes                        | ours, none  | any               | no                          | ours    |
    | yes                        | another's   | any               | no                          | foreign |
    | no                         | any         | any               | yes: our digits make it     | ours    |
    | no                         | ours        | any               | no                          | ours    |
    | no                         | another's   | any               | no                          | foreign |
    | no                         | none        | yes               | no                          | ours    |
    | no                         | none        | no                | no                          | foreign |

    All installations write as one field manager. So of what we do not want, another's label counts more than that: it
    may be another installation's. On what we want, such a label is drift.
    """
    known = written.get(live.ref)
    if known is not None and (desired or known == live.uid):
        return Ownership.OURS
    label = live.labels.get(MANAGED_BY_LABEL)
    if FIELD_MANAGER in live.managers and (desired or label is None):
        return Ownership.OURS
    if desired and kind_of(live.ref).role in (Role.CONSTRAINT, Role.MUTATOR):
        return Ownership.OURS
    if label is not None:
        return Ownership.OURS if marks.known(label) else Ownership.FOREIGN
    installers = (live.annotations.get(CONSTRAINT_INSTALLED_BY), live.annotations.get(TEMPLATE_INSTALLED_BY))
    return Ownership.OURS if any(map(marks.known, installers)) else Ownership.FOREIGN


def member_of(annotations: Mapping[str, str]) -> MemberKey | None:
    """The member that a live constraint or mutator belongs to, None when its annotations do not say."""
    assignment_id = annotations.get(ASSIGNMENT_ID)
    return MemberKey.of(assignment_id, annotations.get(REFERENCE_ID, "")) if assignment_id else None

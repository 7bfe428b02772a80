"""The types of change that a plan consists of, and the plan itself: frozen, so what is printed is what is applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from controller.cluster.diff import Difference
from controller.cluster.kinds import template_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import DesiredObject, ObjectRef


class DeleteReason(StrEnum):
    """Why an object may go; all but UNLISTED are proven by Azure: docs/design.md (Safety stop)."""

    NOT_APPLIED = "NotApplied"
    MEMBER_GONE = "MemberGone"
    ASSIGNMENT_GONE = "AssignmentGone"
    MOVED = "Moved"
    UNUSED = "Unused"
    UNLISTED = "Unlisted"


@dataclass(frozen=True, slots=True)
class Create:
    """Not there: made as desired."""

    desired: DesiredObject
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replace:
    """There but different: PUT of `target` with the live resourceVersion."""

    desired: DesiredObject
    live: LiveObject
    target: Mapping[str, Any]
    differences: tuple[Difference, ...]
    after: Mapping[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Recreate:
    """A template whose kind is spelled otherwise here, as `before`: deleted, with its constraints, and made again.

    The API server takes the new spelling in the template, but in no CustomResourceDefinition: spec.names.kind is
    immutable there. Gatekeeper then enforces the constraints that it knows until it restarts, and takes no others.
    """

    desired: DesiredObject
    live: LiveObject
    before: str

    @property
    def message(self) -> str:
        """What happens, for people."""
        return f"its kind is {self.before} here, in other letters: it is made again, and its constraints with it"

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The kind, before and after."""
        return (Difference("spec.crd.spec.names.kind", self.before, template_kind(self.desired.manifest)),)


@dataclass(frozen=True, slots=True)
class Keep:
    """As desired. `dropped` are desired fields that the kind's schema does not have: the server prunes them."""

    desired: DesiredObject
    live: LiveObject
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """No longer desired. Waits until every ref in `successors` is enforced; a template there takes it along."""

    live: LiveObject
    reason: DeleteReason
    message: str
    successors: tuple[ObjectRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """Would be deleted, but nothing proves it and too many would go."""

    live: LiveObject
    message: str


@dataclass(frozen=True, slots=True)
class Retain:
    """Kept because what its member means is not known."""

    live: LiveObject
    message: str


@dataclass(frozen=True, slots=True)
class InUse:
    """A template kept because constraints that are not ours use it."""

    live: LiveObject
    users: tuple[ObjectRef, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something foreign has the name: never overwritten, never deleted."""

    desired: DesiredObject
    message: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Not made, because what it needs is not ours or did not come about."""

    desired: DesiredObject
    message: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A template version that Gatekeeper is known not to take; the last good one stays."""

    desired: DesiredObject
    live: LiveObject
    message: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """The API server or an admission webhook refuses what is desired."""

    desired: DesiredObject
    message: str


@dataclass(frozen=True, slots=True)
class NeedsDryRun:
    """Differs as written; a dry run decides whether it differs as stored."""

    desired: DesiredObject
    live: LiveObject
    target: Mapping[str, Any]


Unwritten: TypeAlias = Keep | Refuse | Retain | InUse | Conflict | Blocked | Rejected | Invalid
Decision: TypeAlias = Create | Replace | NeedsDryRun | Keep | Conflict | Blocked | Rejected | Invalid
Change: TypeAlias = Create | Replace | Recreate | Delete | NeedsDryRun | Unwritten
WRITES: Final = (Create, Replace, Recreate, Delete)
PROBLEMS: Final = (Conflict, Blocked, Rejected, Invalid, Refuse)


def ref_of(change: Change) -> ObjectRef:
    """The object that a change is about."""
    match change:
        case Delete() | Refuse() | Retain() | InUse():
            return change.live.ref
        case _:
            return change.desired.ref


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, in order of creation; frozen, so what is printed is what is applied."""

    cluster_id: str
    changes: tuple[Change, ...]

    def of(self, *types: type) -> tuple[Change, ...]:
        """The changes of the given classes."""
        return tuple(change for change in self.changes if isinstance(change, types))

    @property
    def writes(self) -> tuple[Change, ...]:
        """What would change the cluster."""
        return self.of(*WRITES)

    @property
    def problems(self) -> tuple[Change, ...]:
        """Conflicts, refusals and what Gatekeeper or the server will not take."""
        return self.of(*PROBLEMS)

"""The desired state: the objects a cluster should hold, and for every member what became of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from controller.policy.model import MemberKey, NotApplied, Unresolved

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from controller.jsontypes import Json
    from controller.policy.model import Member


def digest(value: object) -> str:
    """SHA-256 of a JSON value in canonical form, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Role(StrEnum):
    """What an object is for; the order is that of creation, as far as nothing has to wait."""

    TEMPLATE = "template"
    SYNC = "sync"
    MUTATOR = "mutator"
    CONSTRAINT = "constraint"
    EXPANSION = "expansion"
    REPORT = "report"


_ROLE_ORDER: Final = {role: position for position, role in enumerate(Role)}


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """Identity of a cluster-scoped object, without its version: versions come and go, the object stays."""

    group: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class DesiredObject:
    """One manifest (apiVersion, kind, metadata, spec; no nulls) and the members that want it."""

    ref: ObjectRef
    role: Role
    manifest: Mapping[str, Json]
    members: tuple[Member, ...]
    digest: str

    @classmethod
    def of(cls, role: Role, manifest: Mapping[str, Json], members: tuple[Member, ...]) -> DesiredObject:
        """Wraps a manifest that has apiVersion, kind and metadata.name."""
        group = str(manifest["apiVersion"]).rpartition("/")[0]
        metadata = manifest["metadata"]
        assert isinstance(metadata, dict)
        ref = ObjectRef(group, str(manifest["kind"]), str(metadata["name"]))
        return cls(ref, role, manifest, members, digest(manifest))


def in_order(objects: Iterable[DesiredObject]) -> tuple[DesiredObject, ...]:
    """The objects in the order of their creation, the same for the same ones."""
    return tuple(sorted(objects, key=lambda each: (_ROLE_ORDER[each.role], each.ref.kind, each.ref.name)))


@dataclass(frozen=True, slots=True)
class Rendered:
    """The member became these objects; notes are worth a user's look but change nothing."""

    member: Member
    effect: str
    enforcement_action: str
    objects: tuple[ObjectRef, ...]
    template_source: str = ""
    template_digest: str = ""
    notes: tuple[str, ...] = ()
    effect_from: str = ""


Outcome = Rendered | NotApplied | Unresolved


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What the cluster should hold. Frozen: the last good one is kept and shared by poll and repair.

    `listed` are folded ids of assignments that the source lists; `gone` those that Azure proves deleted.
    """

    cluster_id: str
    objects: tuple[DesiredObject, ...]
    outcomes: tuple[Outcome, ...]
    listed: frozenset[str]
    gone: frozenset[str] = frozenset()

    def unresolved_keys(self) -> frozenset[MemberKey]:
        """Members whose live objects are kept; a whole assignment's key has the reference id `*`."""
        return frozenset(
            MemberKey(o.member.key.assignment_id, "*") if o.member.whole else o.member.key
            for o in self.outcomes
            if isinstance(o, Unresolved)
        )

"""What one process remembers between plans: what dry runs answered, so that no question is asked twice, and more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from controller.cluster.kinds import LiveObject
from controller.cluster.written import Written
from controller.gatekeeper.model import digest

if TYPE_CHECKING:
    from collections.abc import Collection

    from controller.cluster.changes import NeedsDryRun
    from controller.gatekeeper.model import DesiredObject


@dataclass(frozen=True, slots=True)
class DryRunAnswer:
    """What a dry run answered: the object as it would be stored, the refusal's words, or why there is no answer."""

    stored: LiveObject | None
    refusal: str = ""
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class CachedEqual:
    """What was found equal, by a dry run where only that can tell: while the live object and what is desired stay.

    `live` is the object as it was judged, without its status.
    """

    live: LiveObject
    desired_digest: str
    dropped: tuple[str, ...] = ()

    def is_of(self, live: LiveObject, desired: DesiredObject) -> bool:
        """Whether it was found of this very reading of the object."""
        return self.desired_digest == desired.digest and live.is_same_reading(self.live)

    def holds(self, live: LiveObject, desired: DesiredObject) -> bool:
        """Whether these are still equal."""
        return self.desired_digest == desired.digest and live.reads_as(self.live)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A template version that Gatekeeper rejected; the digests of the restored spec and of the bad one.

    Known to this process alone, by uid: an annotation that said so could be forged to keep an edited template.
    """

    live_spec: str
    desired_spec: str


CachedAnswer: TypeAlias = CachedEqual | Rejection


@dataclass(slots=True)
class DryRunCache:
    """What one process remembers between plans: answers of dry runs, and what was written."""

    entries: dict[str, CachedAnswer] = field(default_factory=dict)
    written: Written = field(default_factory=Written)
    verbatim: set[str] = field(default_factory=set)

    def remember_equal(self, live: LiveObject, desired: DesiredObject, dropped: tuple[str, ...]) -> None:
        """Remembers that this live object is what the server makes of this desired one.

        Where that is the desired spec to the letter, no later difference can be the server's defaulting, and a repair
        need not ask before it writes.
        """
        known = self.entries.get(live.uid)
        if isinstance(known, CachedEqual) and known.is_of(live, desired) and known.dropped == dropped:
            return
        if live.manifest.get("spec") == desired.manifest.get("spec"):
            self.verbatim.add(desired.digest)
        self.entries[live.uid] = CachedEqual(live.without_status(), desired.digest, dropped)

    def retain(self, uids: Collection[str], desired_digests: Collection[str]) -> None:
        """Drops what is remembered of objects that are gone and of what is no longer desired."""
        self.entries = {uid: known for uid, known in self.entries.items() if uid in uids}
        self.verbatim.intersection_update(desired_digests)

    def answer(self, change: NeedsDryRun) -> DryRunAnswer | None:
        """What a dry run would answer, where that is known without one."""
        if change.desired.digest not in self.verbatim:
            return None
        return DryRunAnswer(LiveObject(change.live.ref, change.target))


def spec_digest(template: DesiredObject | LiveObject) -> str:
    """What distinguishes one version of a template from another, regardless of the policies that use it."""
    return digest(template.manifest.get("spec"))

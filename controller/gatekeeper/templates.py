"""Which template runs if several sources have one name: a cluster can have only one ConstraintTemplate of it.

As on AKS the newcomer is not installed and the one that runs keeps running (ConstraintTemplateConflicts in
https://learn.microsoft.com/azure/governance/policy/how-to/determine-non-compliance). Without a word from the
cluster a template from a store wins over one that a definition carries, which anybody may have written, and then the
source that sorts first, so that every run decides alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller.gatekeeper.documents import DocumentKind, TemplateDocument
from controller.gatekeeper.model import ObjectRef
from controller.gatekeeper.naming import TEMPLATE_GROUP
from controller.gatekeeper.sources import Unavailable, Wanted
from controller.policy.model import PublicUrl, UnresolvedReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from controller.gatekeeper.naming import RunningTemplate
    from controller.gatekeeper.sources import Documents
    from controller.policy.model import DocumentSource


@dataclass(frozen=True, slots=True)
class Chosen:
    """The template that a source's policies are built on; `url` is empty where the definition carries the text."""

    document: TemplateDocument
    ref: ObjectRef
    url: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing can be built on a source's template."""

    reason: UnresolvedReason
    message: str


@dataclass(frozen=True, slots=True, order=True)
class _Address:
    """What distinguishes one source from another: its URL, or the decoded text in the definition."""

    url: str
    digest: str

    def __str__(self) -> str:
        return self.url or f"a template in a definition (digest {self.digest[:12]})"

    def distance(self, running: RunningTemplate | None) -> int:
        """How far this is from the template that runs: 0 the same source, 1 the same text, 2 another."""
        if running is None or (self.url == running.url and (self.url or self.digest == running.digest)):
            return 0
        return 1 if self.digest == running.digest else 2


def choose_templates(
    sources: Iterable[DocumentSource], documents: Documents, running: Mapping[str, RunningTemplate]
) -> dict[DocumentSource, Chosen | Refusal]:
    """For each source the template to build on, or why there is none."""
    chosen: dict[DocumentSource, Chosen | Refusal] = {}
    claims: dict[str, dict[_Address, list[tuple[DocumentSource, TemplateDocument]]]] = {}
    unread: set[str] = set()
    for source in sources:
        url = source.url if isinstance(source, PublicUrl) else ""
        document = documents[Wanted(source, DocumentKind.TEMPLATE)]
        if isinstance(document, Unavailable):
            unread.add(url)
            chosen[source] = Refusal(document.cause, document.reason)
        else:
            assert isinstance(document, TemplateDocument)
            address = _Address(url, document.digest)
            claims.setdefault(document.name, {}).setdefault(address, []).append((source, document))
    for name, claimants in claims.items():
        chosen |= _settle(name, claimants, running.get(name), unread)
    return chosen


def _settle(
    name: str,
    claimants: dict[_Address, list[tuple[DocumentSource, TemplateDocument]]],
    running: RunningTemplate | None,
    unread: set[str],
) -> dict[DocumentSource, Chosen | Refusal]:
    """One winner for a template name; the others' policies are refused and both sides say so."""
    nearest = {address: address.distance(running) for address in claimants}
    winner = min(claimants, key=lambda address: (nearest[address], not address.url, address))
    # The one that runs is still asked for but cannot be read now: to put another in its place would be a takeover.
    holder = running.url if running and nearest[winner] and running.url in unread - {""} else str(winner)
    others = sorted(str(address) for address in claimants if address != winner)
    notes = tuple(f"template {name} is also wanted from {other}, which is not installed" for other in others)
    settled: dict[DocumentSource, Chosen | Refusal] = {}
    for address, users in claimants.items():
        for source, document in users:
            if str(address) == holder:
                settled[source] = Chosen(
                    document, ObjectRef(TEMPLATE_GROUP, "ConstraintTemplate", name), address.url, notes
                )
            else:
                message = f"template {name} is taken: it comes from {holder}, {address} is not installed beside it"
                settled[source] = Refusal(UnresolvedReason.TEMPLATE_CONFLICT, message)
    return settled

"""Brings the definitions and initiatives that are in use, in few requests: what cannot change is asked for once.

A built-in's exact version never changes; a floating version moves when Microsoft publishes one; what a tenant wrote
itself changes in place, so each scope that holds some of it in use is listed at every read.

|            | exact version | newest, or a pattern | of a scope (custom)         |
|------------|---------------|----------------------|-----------------------------|
| definition | for ever      | an hour              | at every read, one list     |
| initiative | an hour: its members float | an hour | at every read, one list     |

Of an initiative with hundreds of members a few are for clusters. Where more built-ins are new than a read has requests
left, those of category Kubernetes are listed once: the list shows the text of most that matter. That a definition is
not in it is no proof of its mode (docs/decisions/010-few-requests.md): it is presumed to be of another mode, and read
as soon as a read has requests left.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Final

from controller.azure.client import ArmRefusal
from controller.azure.model import (
    Initiative,
    PolicyDefinition,
    Unreadable,
    Version,
    VersionKind,
    VersionPattern,
    fold,
)
from controller.azure.parse import parse_resource, scope_of
from controller.azure.proofs import says_not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from controller.azure.client import ArmClient, Document
    from controller.azure.parse import Resource

EXPAND: Final = "LatestDefinitionVersion, EffectiveDefinitionVersion"
# An id that Azure finds malformed spoils what needs it, as one that may not be read does, and nothing else. So does a
# 404 that does not speak of the definition.
_CATEGORY: Final = "category eq 'Kubernetes'"
_UNREADABLE: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


class Kind(StrEnum):
    """What a catalogue holds, as ARM spells the collection."""

    DEFINITIONS = "policyDefinitions"
    INITIATIVES = "policySetDefinitions"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A definition or initiative in use; `version` is exact, a pattern, or empty for the newest."""

    definition_id: str
    version: str

    @property
    def key(self) -> tuple[str, str]:
        """The form in which two of them are the same."""
        return fold(self.definition_id), self.version.strip().casefold()

    @property
    def scope(self) -> str:
        """Where it is kept; empty for a built-in."""
        return scope_of(self.definition_id)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document and what it says; no document where Azure refused to show one."""

    resource: Resource
    document: Document | None


@dataclass(frozen=True, slots=True)
class _Kept:
    found: tuple[Fetched, ...]
    until: float


@dataclass(frozen=True, slots=True)
class Brought:
    """What is there of what was wanted. `presumed`: the folded ids of definitions that have yet to be read."""

    found: list[Fetched]
    presumed: frozenset[str] = frozenset()


_Held = dict[str, Fetched] | ArmRefusal


class Catalogue:
    """The definitions, or the initiatives, in use. It remembers what may be remembered, and nothing that is unused."""

    def __init__(
        self, arm: ArmClient, kind: Kind, *, api_version: str, floating: float, clock: Callable[[], float]
    ) -> None:
        self._arm = arm
        self._kind = kind
        self._floating = floating
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._heads: tuple[Mapping[str, Fetched], float] = ({}, -inf)
        self._query = {"api-version": api_version}
        if kind is Kind.INITIATIVES:
            self._query["$expand"] = EXPAND

    async def bring(self, wanted: Iterable[Wanted], *, limit: float = inf, running: Collection[str] = ()) -> Brought:
        """Every version that is wanted and there. One that is not there is left out: its members are Unresolved.

        So is one that may not be read (403), or whose id is none to Azure (400), as an Unreadable that says so: what
        needs it is kept as it is, and a custom definition high up in the tree does not stop everything else. An
        api-version that the cloud does not have says nothing about any definition: it is raised.

        Built-ins that are likely of another mode are read while the client has sent fewer than `limit` requests;
        `running` are folded ids of definitions that the cluster has objects of, which are not presumed to be of any.
        """
        distinct = {each.key: each for each in wanted if f"/{self._kind}/".casefold() in each.definition_id.casefold()}
        for_clusters = {key[0] for key, kept in self._kept.items() if any(map(_is_for_clusters, kept.found))}
        self._kept = {key: kept for key, kept in self._kept.items() if key in distinct}
        presumed = await self._presume(distinct.values(), limit, {*running, *for_clusters})
        scopes = {fold(each.scope): each.scope for each in distinct.values() if each.scope}
        lists = await self._arm.together(partial(self._held, scope) for scope in scopes.values())
        held = dict(zip(scopes, lists, strict=True))
        asked = [each for each in distinct.values() if each.key[0] not in presumed]
        batches = await self._arm.together(partial(self._find, each, held) for each in asked)
        found = {_identity(each): each for batch in batches for each in batch}
        return Brought(list(found.values()), presumed)

    async def _presume(self, wanted: Iterable[Wanted], limit: float, known: Collection[str]) -> frozenset[str]:
        """The folded ids of built-ins that are not read this time: none where there are requests enough for all."""
        new = self._new(wanted)
        if len(new) <= limit - self._arm.requests:
            self._heads = ({}, -inf)
            return frozenset()
        heads = await self._list_heads()
        if not heads:
            return frozenset()  # an empty list is none: it says nothing about any definition
        for each in new:
            head = heads.get(each.key[0])
            if head is not None and _is_newest(head.resource, each.version):
                self._keep(each, (head,))
        new = self._new(new)
        matter = {each.key for each in new if each.key[0] in known or _is_for_clusters(heads.get(each.key[0]))}
        unlikely = sorted({each.key[0] for each in new if each.key not in matter})
        spare = int(limit) - self._arm.requests - len(matter)
        return frozenset(unlikely[max(0, spare) :])

    def _new(self, wanted: Iterable[Wanted]) -> list[Wanted]:
        """The built-ins that would have to be asked for."""
        return [each for each in wanted if not each.scope and self._remembered(each) is None]

    async def _list_heads(self) -> Mapping[str, Fetched]:
        """The newest version of each built-in of category Kubernetes, by folded id; none where Azure does not list it.

        The filter is one of Policy Definitions - List Built In (learn.microsoft.com, REST API of Azure Policy).
        """
        heads, until = self._heads
        if self._clock() < until:
            return heads
        path = f"/providers/Microsoft.Authorization/{self._kind}"
        try:
            documents = await self._arm.list(path, {**self._query, "$filter": _CATEGORY})
        except ArmRefusal as refusal:
            bearable(refusal)
            documents = []
        heads = {fold(str(each.get("id"))): fetched(each) for each in documents}
        self._heads = (heads, self._clock() + self._floating)
        return heads

    async def _held(self, scope: str) -> _Held:
        """What a scope itself holds, by folded id, or why it may not be listed."""
        path = f"{scope}/providers/Microsoft.Authorization/{self._kind}"
        try:
            documents = await self._arm.list(path, {**self._query, "$filter": "atExactScope()"})
        except ArmRefusal as refusal:
            return bearable(refusal)
        return {fold(str(each.get("id"))): fetched(each) for each in documents}

    async def _find(self, wanted: Wanted, held: dict[str, _Held]) -> Collection[Fetched]:
        if not wanted.scope:
            return await self._built_in(wanted)
        match held[fold(wanted.scope)]:
            case ArmRefusal() as refusal:
                return [Fetched(Unreadable(wanted.definition_id, str(refusal)), None)]
            case known:
                head = known.get(fold(wanted.definition_id))
                # What a list does not show may be hidden from the reader, so it is asked for by itself.
                shown = head is not None and _fits(head.resource, wanted.version)
                return [head] if head is not None and shown else await self._fetch(wanted)

    async def _built_in(self, wanted: Wanted) -> Collection[Fetched]:
        remembered = self._remembered(wanted)
        if remembered is not None:
            return remembered
        found = tuple(await self._fetch(wanted))
        if found and all(each.document is not None for each in found):
            self._keep(wanted, found)
        return found

    def _remembered(self, wanted: Wanted) -> tuple[Fetched, ...] | None:
        kept = self._kept.get(wanted.key)
        return kept.found if kept is not None and self._clock() < kept.until else None

    def _keep(self, wanted: Wanted, found: tuple[Fetched, ...]) -> None:
        fixed = self._kind is Kind.DEFINITIONS and Version.parse(wanted.version) is not None
        fixed = fixed and all(_fits(each.resource, wanted.version) for each in found)
        self._kept[wanted.key] = _Kept(found, inf if fixed else self._clock() + self._floating)

    async def _fetch(self, wanted: Wanted) -> Collection[Fetched]:
        """The versions that fit; where none does, those that there are, so that it can be said which."""
        path, version = wanted.definition_id, wanted.version.strip()
        try:
            exact = Version.parse(version) is not None and await self._get_or_none(f"{path}/versions/{version}")
            if exact:
                return [exact]
            versions = (
                [fetched(each) for each in await self._arm.list(f"{path}/versions", self._query)] if version else []
            )
            # A list without anything may hide what may not be read.
            found = versions or [fetched(await self._arm.get(path, self._query))]
        except ArmRefusal as refusal:
            if says_not_found(refusal, self._kind):
                return []
            return [Fetched(Unreadable(wanted.definition_id, str(bearable(refusal))), None)]
        return [each for each in found if _fits(each.resource, version)] or found

    async def _get_or_none(self, path: str) -> Fetched | None:
        """What is at the path; None where Azure Policy says that there is nothing."""
        try:
            return fetched(await self._arm.get(path, self._query))
        except ArmRefusal as refusal:
            if says_not_found(refusal, self._kind):
                return None
            raise


def bearable(refusal: ArmRefusal) -> ArmRefusal:
    """The refusal, where it concerns one definition or one scope; raised where it passes, or all reading fails so."""
    if refusal.about_api_version or refusal.status not in _UNREADABLE:
        raise refusal
    return refusal


def fetched(document: Document) -> Fetched:
    """The document with what it says; InputError where it is no ARM resource at all."""
    place = str(document.get("id") or "Azure")
    return Fetched(parse_resource(document, place) or Unreadable(place, f"{place}: its type is unknown"), document)


def _fits(resource: Resource, version: str) -> bool:
    """Whether a resource is what `version` asks for, by its numbers."""
    if not isinstance(resource, PolicyDefinition | Initiative) or resource.version is None or not version:
        return True
    if (exact := Version.parse(version)) is not None:
        return resource.version == exact
    pattern = VersionPattern.parse(version)
    return pattern is not None and pattern.matches(resource.version)


def _is_newest(head: Resource, version: str) -> bool:
    """Whether the newest version is the one that is wanted; a preview is only where it is asked for exactly."""
    if not isinstance(head, PolicyDefinition) or not _fits(head, version):
        return False
    exact = Version.parse(version) is not None
    return exact or head.version is None or head.version.kind is not VersionKind.PREVIEW


def _is_for_clusters(found: Fetched | None) -> bool:
    """Whether a definition is of the mode that is for the objects in a cluster."""
    resource = None if found is None else found.resource
    return isinstance(resource, PolicyDefinition) and resource.for_clusters


def _identity(found: Fetched) -> tuple[str, str]:
    version = getattr(found.resource, "version", None)
    return fold(found.resource.id), str(version or "")

"""Brings the definitions and initiatives that are in use, in few requests: what cannot change is asked for once.

A built-in's exact version never changes; a floating version moves when Microsoft publishes one; what a tenant wrote
itself changes in place, so each scope that holds some of it in use is listed at every read.

|            | exact version | newest, or a pattern | of a scope (custom)         |
|------------|---------------|----------------------|-----------------------------|
| definition | for ever      | an hour              | at every read, one list     |
| initiative | an hour: its members float | an hour | at every read, one list     |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Final

from controller.azure.client import ArmRefusal
from controller.azure.model import Initiative, PolicyDefinition, Unreadable, Version, VersionPattern, fold
from controller.azure.parse import parse_resource, scope_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from controller.azure.client import ArmClient, Document
    from controller.azure.parse import Resource

EXPAND: Final = "LatestDefinitionVersion, EffectiveDefinitionVersion"
# An id that Azure finds malformed spoils what needs it, as one that may not be read does, and nothing else.
_UNREADABLE: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN)


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
        self._query = {"api-version": api_version}
        if kind is Kind.INITIATIVES:
            self._query["$expand"] = EXPAND

    async def bring(self, wanted: Iterable[Wanted]) -> list[Fetched]:
        """Every version that is wanted and there. One that is not there (404) is left out: its members are Unresolved.

        So is one that may not be read (403), or whose id is none to Azure (400), as an Unreadable that says so: what
        needs it is kept as it is, and a custom definition high up in the tree does not stop everything else.
        """
        distinct = {each.key: each for each in wanted if f"/{self._kind}/".casefold() in each.definition_id.casefold()}
        self._kept = {key: kept for key, kept in self._kept.items() if key in distinct}
        scopes = {fold(each.scope): each.scope for each in distinct.values() if each.scope}
        lists = await self._arm.together(partial(self._held, scope) for scope in scopes.values())
        held = dict(zip(scopes, lists, strict=True))
        batches = await self._arm.together(partial(self._find, each, held) for each in distinct.values())
        found = {_identity(each): each for batch in batches for each in batch}
        return list(found.values())

    async def _held(self, scope: str) -> _Held:
        """What a scope itself holds, by folded id, or why it may not be listed."""
        path = f"{scope}/providers/Microsoft.Authorization/{self._kind}"
        try:
            documents = await self._arm.list(path, {**self._query, "$filter": "atExactScope()"})
        except ArmRefusal as refusal:
            if refusal.status not in (*_UNREADABLE, HTTPStatus.NOT_FOUND):
                raise
            return {} if refusal.status == HTTPStatus.NOT_FOUND else refusal
        return {fold(str(each.get("id"))): fetched(each) for each in documents}

    async def _find(self, wanted: Wanted, held: dict[str, _Held]) -> Collection[Fetched]:
        if not wanted.scope:
            return await self._built_in(wanted)
        match held[fold(wanted.scope)]:
            case ArmRefusal() as refusal:
                return [Fetched(Unreadable(wanted.definition_id, str(refusal)), None)]
            case known:
                head = known.get(fold(wanted.definition_id))
                if head is None:
                    return []
                return [head] if _fits(head.resource, wanted.version) else await self._fetch(wanted)

    async def _built_in(self, wanted: Wanted) -> Collection[Fetched]:
        kept = self._kept.get(wanted.key)
        if kept is not None and self._clock() < kept.until:
            return kept.found
        found = tuple(await self._fetch(wanted))
        if found and all(each.document is not None for each in found):
            fixed = self._kind is Kind.DEFINITIONS and Version.parse(wanted.version) is not None
            self._kept[wanted.key] = _Kept(found, inf if fixed else self._clock() + self._floating)
        return found

    async def _fetch(self, wanted: Wanted) -> Collection[Fetched]:
        path, version = wanted.definition_id, wanted.version.strip()
        try:
            if Version.parse(version) is not None:
                return [fetched(await self._arm.get(f"{path}/versions/{version}", self._query))]
            if not version:
                return [fetched(await self._arm.get(path, self._query))]
            versions = [fetched(each) for each in await self._arm.list(f"{path}/versions", self._query)]
            return [each for each in versions if _fits(each.resource, version)]
        except ArmRefusal as refusal:
            if refusal.status in _UNREADABLE:
                return [Fetched(Unreadable(wanted.definition_id, str(refusal)), None)]
            if refusal.status == HTTPStatus.NOT_FOUND:
                return []
            raise


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


def _identity(found: Fetched) -> tuple[str, str]:
    version = getattr(found.resource, "version", None)
    return fold(found.resource.id), str(version or "")

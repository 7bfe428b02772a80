"""Reads from Azure Resource Manager everything that Azure Policy says about one cluster: all of it, or an error.

One read makes few requests: the cluster, the assignments and the exemptions that apply to it, and what the catalogues
need for the definitions behind them. Import it only where Azure is read, for it brings the SDK along.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.azure.ancestors import find_ancestors
from controller.azure.catalogue import EXPAND, Catalogue, Fetched, Kind, Wanted, fetched
from controller.azure.client import ArmClient, ArmRefusal
from controller.azure.credentials import make_credential
from controller.azure.known import worth_asking
from controller.azure.model import MANAGEMENT_GROUPS, Assignment, Initiative, fold
from controller.azure.parse import build_state, cluster_of
from controller.errors import InputError, SourceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from azure.core.credentials_async import AsyncTokenCredential

    from controller.azure.access import ArmSettings
    from controller.azure.client import Document
    from controller.azure.model import AzureState, DefinitionReference, Override

_MANAGED_CLUSTERS: Final = "microsoft.containerservice/managedclusters"
_AT_SCOPE: Final = "atScope()"
_VERSION_KINDS: Final = frozenset({"definitionversion", "policyversion"})
_MEMBERS: Final = "policydefinitionreferenceid"


@dataclass(frozen=True, slots=True)
class Reading:
    """One complete read. `documents` are the raw ones, a snapshot's content; `remaining_reads` what ARM still allows.

    `requests` counts every request sent for it, retries too.
    """

    state: AzureState
    documents: tuple[Document, ...]
    requests: int
    remaining_reads: Mapping[str, int]


class ArmReader:
    """Reads one cluster's Azure Policy again and again; an async context manager, for it keeps connections and a token.

    Made inside the running event loop. `credential`, `sleep` and `clock` are for callers that have their own.
    """

    def __init__(
        self,
        settings: ArmSettings,
        *,
        credential: AsyncTokenCredential | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._cluster = cluster_of(settings.cluster_id)
        make = partial(make_credential, settings.credential, settings.cloud)
        self.client = ArmClient(
            settings.cloud,
            credential or make(),
            settings.limits,
            renew=None if credential else make,
            sleep=sleep,
        )
        version, floating = settings.api_versions.policy, settings.limits.floating_versions
        self._query = {"api-version": version, "$filter": _AT_SCOPE, "$expand": EXPAND}
        self._initiatives, self._definitions = (
            Catalogue(self.client, kind, api_version=version, floating=floating, clock=clock)
            for kind in (Kind.INITIATIVES, Kind.DEFINITIONS)
        )

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.__aexit__(kind, error, trace)

    async def read(self, known_assignments: Collection[str] = ()) -> Reading:
        """Everything, or SourceError with the one reason. `known_assignments`: ids that the cluster's objects carry."""
        before = self.client.requests
        try:
            async with self._in_time():
                found, gone = await self._read(known_assignments)
            state = build_state(((each.resource.id, each.resource) for each in found), self._cluster.id, gone)
        except InputError as exc:
            raise SourceError(f"{self._cluster.id}: Azure's answer cannot be used: {exc}") from exc
        return Reading(
            state=state,
            documents=tuple(each.document for each in found if each.document is not None),
            requests=self.client.requests - before,
            remaining_reads=dict(self.client.remaining),
        )

    async def policy_states(self) -> Sequence[Any]:
        """The latest policy states of the cluster, as the SDK's models, whole; SourceError otherwise."""
        async with self._in_time():
            return await self.client.policy_states(self._cluster.id, self._settings.api_versions.policy_states)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        limit = self._settings.limits.poll
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError as exc:
            raise SourceError(
                f"{self._cluster.id}: Azure was not read within {limit:g} s: look for throttling, or allow more time"
            ) from exc

    async def _read(self, known_assignments: Collection[str]) -> tuple[list[Fetched], frozenset[str]]:
        cluster, listed, exemptions = await self.client.together((self._resource, self._assignments, self._exemptions))
        gone = await self._gone(known_assignments, listed)
        assignments = [each.resource for each in listed if isinstance(each.resource, Assignment)]
        ancestors = await self._ancestors(assignments)
        initiatives = await self._initiatives.bring(
            Wanted(each.definition_id, version) for each in assignments for version in _versions(each)
        )
        references = _references(initiatives)
        definitions = await self._definitions.bring(
            wanted for each in assignments for wanted in _wanted_definitions(each, references)
        )
        return sorted([*cluster, *ancestors, *listed, *exemptions, *initiatives, *definitions], key=_order), gone

    async def _ancestors(self, assignments: Iterable[Assignment]) -> list[Fetched]:
        """What tells the groups above, where an assignment excludes one: nothing else depends on them."""
        if not any(fold(scope).startswith(MANAGEMENT_GROUPS) for each in assignments for scope in each.not_scopes):
            return []
        found = await find_ancestors(self.client, self._cluster.id, self._settings.api_versions.management_groups)
        return [] if found is None else [fetched(found)]

    async def _resource(self) -> list[Fetched]:
        versions = self._settings.api_versions
        managed = self._cluster.type.casefold() == _MANAGED_CLUSTERS
        document = await self.client.resource(
            self._cluster.id, versions.managed_clusters if managed else versions.connected_clusters
        )
        return [fetched(document)]

    async def _assignments(self) -> list[Fetched]:
        return await self._list("policyAssignments", self._query)

    async def _exemptions(self) -> list[Fetched]:
        query = {"api-version": self._settings.api_versions.exemptions, "$filter": _AT_SCOPE}
        return await self._list("policyExemptions", query)

    async def _list(self, collection: str, query: Mapping[str, str]) -> list[Fetched]:
        path = f"{self._cluster.id}/providers/Microsoft.Authorization/{collection}"
        return [fetched(each) for each in await self.client.list(path, query)]

    async def _gone(self, known: Collection[str], listed: Iterable[Fetched]) -> frozenset[str]:
        """The folded ids of known assignments that Azure itself says no longer apply: docs/design.md (Safety stop)."""
        missing = worth_asking(known, {fold(each.resource.id) for each in listed}, self._cluster.id)
        proofs = await self.client.together(partial(self._is_gone, each) for each in missing.values())
        return frozenset(key for key, proven in zip(missing, proofs, strict=True) if proven)

    async def _is_gone(self, assignment_id: str) -> bool:
        """Whether an assignment that the listing lacks is proven not to apply to the cluster any more.

        404 of its own GET proves it, no other refusal does. One that still exists is asked for by its definition: if
        Azure lists it for the cluster then, the listing was not whole, else it moved out of the cluster's way. 403 is
        no error: whoever may read the cluster alone sees what a management group assigns, but not that it went; the
        deletion is left to the safety stop.
        """
        try:
            document = await self.client.get(assignment_id, {"api-version": self._query["api-version"]})
        except ArmRefusal as refusal:
            # Throttled, down or without a good token, Azure is not read whole; all else about one id is no proof.
            of_all = (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS)
            if refusal.status in of_all or refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return refusal.status == HTTPStatus.NOT_FOUND
        found = fetched(document).resource
        if not isinstance(found, Assignment):
            return False  # of which definition it is cannot be read, so it cannot be asked for by that
        if fold(assignment_id) in await self._ids_by_definition(found.definition_id):
            raise SourceError(
                f"{self._cluster.id}: the list of assignments lacks {assignment_id}, which still applies:"
                " it is not whole, the next poll tries again"
            )
        return True

    async def _ids_by_definition(self, definition_id: str) -> set[str]:
        """The folded ids of all assignments of a definition that apply to the cluster."""
        quoted = definition_id.replace("'", "''")
        query = {**self._query, "$filter": f"policyDefinitionId eq '{quoted}'"}
        return {fold(each.resource.id) for each in await self._list("policyAssignments", query)}


def _versions(assignment: Assignment) -> Iterator[str]:
    """The versions of the assigned definition or initiative that the assignment may mean."""
    yield assignment.effective_version or assignment.definition_version
    yield from (each.value for each in _version_overrides(assignment) if not _tells_members_apart(each))


def _version_overrides(assignment: Assignment) -> Iterator[Override]:
    return (each for each in assignment.overrides if each.kind.casefold() in _VERSION_KINDS)


def _tells_members_apart(override: Override) -> bool:
    """Only such an override of a version is one of members; any other is one of what is assigned."""
    return any(each.kind.casefold() == _MEMBERS for each in override.selectors)


def _references(initiatives: Iterable[Fetched]) -> dict[str, list[DefinitionReference]]:
    members: dict[str, list[DefinitionReference]] = {}
    for each in initiatives:
        if isinstance(each.resource, Initiative):
            members.setdefault(fold(each.resource.id), []).extend(each.resource.references)
    return members


def _wanted_definitions(
    assignment: Assignment, references: Mapping[str, list[DefinitionReference]]
) -> Iterator[Wanted]:
    if not assignment.is_initiative:
        yield from (Wanted(assignment.definition_id, version) for version in _versions(assignment))
        return
    for member in references.get(fold(assignment.definition_id), ()):
        yield Wanted(member.definition_id, member.effective_version or member.version)
        for override in _version_overrides(assignment):
            if _tells_members_apart(override) and _may_select(override, member.reference_id):
                yield Wanted(member.definition_id, override.value)


def _may_select(override: Override, reference_id: str) -> bool:
    """Whether an override can mean this member; where the cluster is does not count here."""
    member = reference_id.casefold()
    for selector in override.selectors:
        if selector.kind.casefold() != _MEMBERS:
            continue
        if selector.within is not None and member not in map(str.casefold, selector.within):
            return False
        if selector.not_in is not None and member in map(str.casefold, selector.not_in):
            return False
    return True


def _order(found: Fetched) -> tuple[str, str]:
    return fold(found.resource.id), str(getattr(found.resource, "version", "") or "")

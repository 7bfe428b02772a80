"""Reads from Azure Resource Manager everything that Azure Policy says about one cluster: all of it, or an error.

One read makes few requests: the cluster, the assignments and the exemptions that apply to it, and what the catalogues
need for the definitions behind them. Import it only where Azure is read, for it brings the SDK along.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any, Final

from controller.azure.ancestors import find_ancestors
from controller.azure.catalogue import EXPAND, Catalogue, Fetched, Kind, Wanted, bearable, fetched
from controller.azure.client import ArmClient, ArmRefusal
from controller.azure.credentials import make_credential
from controller.azure.known import worth_asking
from controller.azure.model import (
    MANAGEMENT_GROUPS,
    Assignment,
    EnforcementMode,
    Initiative,
    NoEnrollments,
    PolicyDefinition,
    Subscription,
    Unreadable,
    calls,
    fold,
)
from controller.azure.parse import build_state, cluster_of, groups_above
from controller.azure.proofs import Fate, check_empty, fate_by_refusal, fate_by_scopes
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
_ENROLL: Final = EnforcementMode.ENROLL.casefold()
_VERSION_KINDS: Final = frozenset({"definitionversion", "policyversion"})
_MEMBERS: Final = "policydefinitionreferenceid"


@dataclass(frozen=True, slots=True)
class Reading:
    """One complete read. `documents` are the raw ones, a snapshot's content; `remaining_reads` what ARM still allows.

    `requests` counts every request sent for it, retries too. `lacks` names what is there and could not be read, with
    the reason: its members are Unresolved, and a snapshot of the documents is not all that Azure says.
    """

    state: AzureState
    documents: tuple[Document, ...]
    requests: int
    remaining_reads: Mapping[str, int]
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answers:
    """All that a read brought. `needs_groups`: something depends on the management groups above the cluster."""

    found: list[Fetched]
    gone: frozenset[str]
    no_enrollments: NoEnrollments | None
    needs_groups: bool
    presumed: frozenset[str]

    def state(self, cluster_id: str) -> AzureState:
        """What the answers say; InputError where they contradict each other."""
        state = build_state(((each.resource.id, each.resource) for each in self.found), cluster_id, self.gone)
        return replace(state, presumed=self.presumed, enrollments=self.no_enrollments or state.enrollments)

    def lacks(self, state: AzureState) -> Iterator[str]:
        """What is there and could not be read, with the reason."""
        if self.needs_groups and state.management_groups is None:
            yield f"the management groups above {state.cluster.id}: let the account read them, up to the root group"
        if self.no_enrollments is not None and self.no_enrollments.refused:
            yield f"enrollments: {self.no_enrollments.reason}"
        for each in self.found:
            if each.document is None and isinstance(each.resource, Unreadable):
                yield f"{each.resource.id}: {each.resource.reason}"


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

    async def read(
        self,
        known_assignments: Collection[str] = (),
        known_definitions: Collection[str] = (),
        *,
        thorough: bool = False,
    ) -> Reading:
        """Everything, or SourceError with the one reason. The known ids are those that the cluster's objects carry.

        `thorough` reads at once what could wait (the state's `presumed`), whatever number of requests that takes.
        """
        before = self.client.requests
        self.client.remaining.clear()
        try:
            async with self._in_time():
                limit = inf if thorough else before + self._settings.limits.requests
                answers = await self._read(known_assignments, frozenset(map(fold, known_definitions)), limit)
            state = answers.state(self._cluster.id)
        except InputError as exc:
            raise SourceError(f"{self._cluster.id}: Azure's answer cannot be used: {exc}") from exc
        return Reading(
            state=state,
            documents=tuple(each.document for each in answers.found if each.document is not None),
            requests=self.client.requests - before,
            remaining_reads=dict(self.client.remaining),
            lacks=tuple(answers.lacks(state)),
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
                f"{self._cluster.id}: reading Azure took more than {limit:g} s: look for throttling, or allow more time"
            ) from exc

    async def _read(self, known_assignments: Collection[str], running: frozenset[str], limit: float) -> _Answers:
        """All that there is; what can wait is read while fewer than `limit` requests were ever made."""
        cluster, listed, exemptions = await self.client.together((self._resource, self._assignments, self._exemptions))
        missing = await self._missing(known_assignments, listed)
        assignments = _assignments_of(listed)
        enrollments = await self._enrollments(assignments)
        needs_groups = _needs_groups(assignments, _assignments_of(_shown(missing)))
        ancestors = await self._ancestors() if needs_groups else []
        gone = await self._gone(missing, assignments, ancestors)
        initiatives = await self._initiatives.bring(
            Wanted(each.definition_id, version) for each in assignments for version in _versions(each)
        )
        references = _references(initiatives.found)
        definitions = await self._definitions.bring(
            (wanted for each in assignments for wanted in _wanted_definitions(each, references)),
            limit=limit,
            running=running,
        )
        containers = await self._containers([*initiatives.found, *definitions.found])
        enrolled = [] if isinstance(enrollments, NoEnrollments) else enrollments
        found = [*cluster, *ancestors, *listed, *exemptions, *enrolled, *initiatives.found, *definitions.found]
        found += containers
        return _Answers(
            found=sorted(found, key=_order),
            gone=gone,
            no_enrollments=enrollments if isinstance(enrollments, NoEnrollments) else None,
            needs_groups=needs_groups,
            presumed=definitions.presumed,
        )

    async def _ancestors(self) -> list[Fetched]:
        """What tells the management groups above the cluster; nothing where Azure does not show them."""
        found = await find_ancestors(self.client, self._cluster.id, self._settings.api_versions.management_groups)
        return [] if found is None else [fetched(found)]

    async def _containers(self, found: Iterable[Fetched]) -> list[Fetched]:
        """The resource group and the subscription of the cluster, each where a rule or a mapping asks for it."""
        parts, versions = self._cluster.id.split("/"), self._settings.api_versions
        asked = {
            "resourceGroup": ("/".join(parts[:5]), versions.resource_groups),
            "subscription": ("/".join(parts[:3]), versions.subscriptions),
        }
        texts = [json.dumps(each) for each in _expressions(found)]
        used = [name for name in asked if any(map(calls(name).search, texts))]
        return await self.client.together(partial(self._container, *asked[name]) for name in used)

    async def _container(self, resource_id: str, api_version: str) -> Fetched:
        try:
            return fetched(await self.client.get(resource_id, {"api-version": api_version}))
        except ArmRefusal as refusal:
            return Fetched(Unreadable(resource_id, str(bearable(refusal))), None)

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

    async def _enrollments(self, assignments: Iterable[Assignment]) -> list[Fetched] | NoEnrollments:
        """The enrollments that hold for the cluster, or why there are none to be had; asked for where it matters."""
        if not any(each.enforcement_mode.casefold() == _ENROLL for each in assignments):
            return []
        query = {"api-version": self._settings.api_versions.enrollments, "$filter": _AT_SCOPE}
        try:
            return await self._list("policyEnrollments", query)
        except ArmRefusal as refusal:
            if refusal.passes or refusal.status == HTTPStatus.UNAUTHORIZED:
                raise
            return NoEnrollments(str(refusal), refused=refusal.status == HTTPStatus.FORBIDDEN)

    async def _list(self, collection: str, query: Mapping[str, str]) -> list[Fetched]:
        path = f"{self._cluster.id}/providers/Microsoft.Authorization/{collection}"
        found = await self.client.list(path, query)
        if not found:
            await check_empty(self.client, self._cluster.id, collection, query["api-version"])
        return [fetched(each) for each in found]

    async def _missing(self, known: Collection[str], listed: Iterable[Fetched]) -> dict[str, Fetched | Fate]:
        """Known assignments that the list lacks, by folded id: what their own GET shows, or what its refusal proves."""
        asked = worth_asking(known, {fold(each.resource.id) for each in listed}, self._cluster.id)
        answers = await self.client.together(partial(self._ask, each) for each in asked.values())
        return dict(zip(asked, answers, strict=True))

    async def _ask(self, assignment_id: str) -> Fetched | Fate:
        try:
            return fetched(await self.client.get(assignment_id, {"api-version": self._query["api-version"]}))
        except ArmRefusal as refusal:
            return fate_by_refusal(refusal)

    async def _gone(
        self, missing: Mapping[str, Fetched | Fate], listed: Iterable[Assignment], ancestors: Iterable[Fetched]
    ) -> frozenset[str]:
        """The folded ids of known assignments that Azure itself says no longer apply: docs/design.md (Safety stop)."""
        subscriptions = [each.resource for each in ancestors if isinstance(each.resource, Subscription)]
        judge = partial(self._fate, groups_above(self._cluster, subscriptions, listed))
        fates = await self.client.together(partial(judge, each) for each in missing.values())
        return frozenset(key for key, fate in zip(missing, fates, strict=True) if fate in (Fate.DELETED, Fate.MOVED))

    async def _fate(self, groups: frozenset[str] | None, answer: Fetched | Fate) -> Fate:
        """What Azure proves of an assignment that the list lacks.

        SourceError where it applies: the list is not whole then, and what else it lacks is not known.
        """
        if isinstance(answer, Fate):
            return answer
        found = answer.resource
        if not isinstance(found, Assignment):
            return Fate.UNPROVEN
        fate = fate_by_scopes(found, self._cluster.id, groups)
        # Where its place is not known, Azure may still list it for the cluster when it is asked for by its definition.
        if fate is Fate.APPLIES or (fate is Fate.UNPROVEN and await self._is_listed(found)):
            raise SourceError(
                f"{self._cluster.id}: the list of assignments lacks {found.id}, which still applies:"
                " it is incomplete; the next poll tries again"
            )
        return fate

    async def _is_listed(self, assignment: Assignment) -> bool:
        """Whether it is among the assignments of its definition that apply to the cluster."""
        quoted = assignment.definition_id.replace("'", "''")
        path = f"{self._cluster.id}/providers/Microsoft.Authorization/policyAssignments"
        found = await self.client.list(path, {**self._query, "$filter": f"policyDefinitionId eq '{quoted}'"})
        return fold(assignment.id) in {fold(str(each.get("id"))) for each in found}


def _needs_groups(listed: Iterable[Assignment], missing: Iterable[Assignment]) -> bool:
    """Whether anything depends on the groups above: one is excluded, or one that the list lacks is assigned to one."""
    scopes = [scope for each in (*listed, *missing) for scope in each.not_scopes]
    scopes += [each.scope for each in missing]
    return any(fold(scope).startswith(MANAGEMENT_GROUPS) for scope in scopes)


def _assignments_of(found: Iterable[Fetched]) -> list[Assignment]:
    return [each.resource for each in found if isinstance(each.resource, Assignment)]


def _shown(missing: Mapping[str, Fetched | Fate]) -> Iterator[Fetched]:
    yield from (each for each in missing.values() if isinstance(each, Fetched))


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


def _expressions(found: Iterable[Fetched]) -> Iterator[Any]:
    """Where a policy for clusters may have expressions: rules, and what initiatives make of their parameters."""
    for each in found:
        match each.resource:
            case PolicyDefinition() as definition if definition.for_clusters:
                yield definition.rule
            case Initiative() as initiative:
                yield [reference.parameters for reference in initiative.references]


def _order(found: Fetched) -> tuple[str, str]:
    return fold(found.resource.id), str(getattr(found.resource, "version", "") or "")

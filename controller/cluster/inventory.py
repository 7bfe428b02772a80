"""What is in the cluster: every object of every managed kind, listed whole.

Stripped marks are drift, so the plan decides whose an object is, not a selector: docs/design.md (Ownership).
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from controller.cluster.foreign import mappings_at, text_at, texts_at
from controller.cluster.kinds import FIXED_KINDS, TEMPLATE, Inventory, constraint_kind, crd_path
from controller.errors import ClusterError
from controller.gatekeeper.model import Role
from controller.gatekeeper.naming import CONSTRAINT_GROUP, CONSTRAINT_VERSION, TEMPLATE_GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from controller.cluster.client import KubeClient
    from controller.cluster.kinds import Kind, LiveObject
    from controller.gatekeeper.model import DesiredObject, ObjectRef

    Listed: TypeAlias = Callable[[Kind, Sequence[LiveObject], str], None]


# An answer is held whole until it is read: as many at once as there are kinds would be the whole cluster.
_AT_ONCE: Final = 8


class GatekeeperMissing(ClusterError):  # noqa: N818 - a state of the cluster
    """The cluster has no Gatekeeper: nothing can be enforced, and nothing may be concluded from what is missing."""


def not_awaited(kind: Kind, objects: Sequence[LiveObject], position: str) -> None:
    """Of no use to who only wants the whole."""


async def take_inventory(
    client: KubeClient, desired: Sequence[DesiredObject], listed: Listed = not_awaited
) -> Inventory:
    """Lists every kind at once; any list that fails fails the inventory (ClusterError).

    `listed` gets each kind, its objects and the resourceVersion to watch from, as soon as it is listed.
    """
    kinds = [*FIXED_KINDS, *await _constraint_kinds(client, desired)]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def listed_of(kind: Kind) -> tuple[tuple[LiveObject, ...], str] | None:
        async with slots:
            found = await client.list_live(kind)
        if found is not None:
            listed(kind, *found)
        return found

    lists = await asyncio.gather(*map(listed_of, kinds))
    objects: dict[ObjectRef, LiveObject] = {}
    served: set[str] = set()
    absent: set[tuple[str, str]] = set()
    positions: dict[tuple[str, str], str] = {}
    for kind, found in zip(kinds, lists, strict=True):
        if found is None:
            if not kind.optional:
                raise GatekeeperMissing("Gatekeeper is not installed in this cluster: no ConstraintTemplate kind")
            absent.add((kind.group, kind.kind))
            continue
        items, positions[(kind.group, kind.kind)] = found
        objects |= {live.ref: live for live in items}
        if kind.role is Role.CONSTRAINT:
            served.add(kind.kind)
    unseen = {ref.name for ref in objects if ref.group == TEMPLATE_GROUP} - {kind.lower() for kind in served}
    more, hidden = await _look_again(client, sorted(unseen))
    objects |= more
    objects |= await _at_own_versions(client, desired, objects)
    return Inventory(objects, frozenset(served), hidden, frozenset(absent), positions)


async def _look_again(
    client: KubeClient, templates: Sequence[str]
) -> tuple[dict[ObjectRef, LiveObject], frozenset[str]]:
    """The constraints of templates whose kinds discovery does not tell of, and the templates whose kinds are hidden."""
    lists = await asyncio.gather(*(client.list_live(constraint_kind(name)) for name in templates))
    found = {live.ref: live for listed in lists if listed is not None for live in listed[0]}
    unlisted = [name for name, listed in zip(templates, lists, strict=True) if listed is None]
    crds = await asyncio.gather(*(client.request("GET", crd_path(name)) for name in unlisted))
    # One that may not be read may be there.
    there = (name for name, crd in zip(unlisted, crds, strict=True) if crd.status != HTTPStatus.NOT_FOUND)
    return found, frozenset(there)


async def _constraint_kinds(client: KubeClient, desired: Sequence[DesiredObject]) -> list[Kind]:
    """Kinds that the API serves and kinds that we want: discovery may lag behind a new one.

    One that is served in other letters is not there as the wanted one, though at its path.
    """
    served = await client.get(f"/apis/{CONSTRAINT_VERSION}")
    resources = mappings_at(served, "resources")
    listable = (r for r in resources if "/" not in text_at(r, "name") and "list" in texts_at(r, "verbs"))
    names = {kind for r in listable if (kind := text_at(r, "kind"))}
    spelled = {name.lower() for name in names}
    wanted = {each.ref.kind for each in desired if each.ref.group == CONSTRAINT_GROUP}
    names |= {kind for kind in wanted if kind.lower() not in spelled}
    return [constraint_kind(name) for name in sorted(names)]


async def _at_own_versions(
    client: KubeClient, desired: Sequence[DesiredObject], listed: dict[ObjectRef, LiveObject]
) -> dict[ObjectRef, LiveObject]:
    """Live templates again at the apiVersion of their documents, where that is not the listed one."""
    versions = {
        str(wanted.manifest["apiVersion"])
        for wanted in desired
        if wanted.role is Role.TEMPLATE and wanted.ref in listed
    } - {TEMPLATE.api_version}
    again: dict[ObjectRef, LiveObject] = {}
    for version in sorted(versions):
        found = await client.list_live(TEMPLATE.at(version))
        wanted_here = {o.ref for o in desired if o.manifest["apiVersion"] == version}
        again |= {live.ref: live for live in (found[0] if found else ()) if live.ref in wanted_here}
    return again

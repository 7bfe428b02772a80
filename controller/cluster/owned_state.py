"""What azpolicy keeps in a cluster for itself, besides Gatekeeper's kinds: found, and deleted at the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.apply import Action, Result
from controller.cluster.cluster_record import NAME as RECORD
from controller.cluster.foreign import text_at
from controller.cluster.guard import NAME as GUARDED
from controller.cluster.kinds import ASSIGNED_POLICY, CRD_PATH, POLICY_SYNC, name_of
from controller.cluster.last_state import NAME as STATE
from controller.cluster.last_state import PART_NAME
from controller.cluster.reasons import Reason
from controller.cluster.report_objects import REPORT_APIS, own_reports
from controller.gatekeeper.model import ObjectRef
from controller.gatekeeper.naming import RECORD_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from controller.cluster.client import KubeClient
    from controller.cluster.kinds import Kind
    from controller.gatekeeper.naming import OwnershipMarks

_LOOK_SECONDS: Final = 0.2
_GONE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class OwnedObject:
    """One object; the name in `ref` is NAMESPACE/NAME where it has a namespace."""

    ref: ObjectRef
    path: str
    uid: str

    @classmethod
    def of(cls, group: str, kind: str, path: str, document: Mapping[str, Any]) -> OwnedObject:
        """The object at a path."""
        name = "/".join(filter(None, (text_at(document, "metadata", "namespace"), name_of(document))))
        return cls(ObjectRef(group, kind, name), path, text_at(document, "metadata", "uid"))


async def find_owned_state(
    client: KubeClient,
    namespaces: Iterable[str],
    leases: Iterable[Mapping[str, Any]],
    marks: OwnershipMarks,
    *,
    keep_kinds: bool,
) -> tuple[OwnedObject, ...]:
    """In the order in which they go: the Leases last, as they tell in which namespaces there is more.

    Our kinds take their objects along; where the kinds are kept, their objects are named.
    """
    own = [*await _reports(client, marks), *await (_objects(client) if keep_kinds else _kinds(client))]
    maps = [each for namespace in sorted(namespaces) for each in await _config_maps(client, namespace)]
    return (*own, *maps, *map(_lease, leases))


async def _kinds(client: KubeClient) -> list[OwnedObject]:
    paths = [f"{CRD_PATH}/{kind.plural}.{kind.group}" for kind in (ASSIGNED_POLICY, POLICY_SYNC)]
    live = [(path, await client.get(path)) for path in paths]
    group, kind = "apiextensions.k8s.io", "CustomResourceDefinition"
    return [OwnedObject.of(group, kind, path, document) for path, document in live if document]


async def _objects(client: KubeClient) -> list[OwnedObject]:
    return [*await _of(client, ASSIGNED_POLICY), *await _of(client, POLICY_SYNC)]


async def _of(client: KubeClient, kind: Kind) -> Iterator[OwnedObject]:
    items, _ = await client.list_live(kind) or ((), "")
    return (OwnedObject(live.ref, kind.path(live.ref.name), live.uid) for live in items)


async def _reports(client: KubeClient, marks: OwnershipMarks) -> list[OwnedObject]:
    """Our reports of policies, of kinds that are others' and stay."""
    kinds = (kind for api in REPORT_APIS for kind in api.kinds)
    return [
        OwnedObject.of(kind.group, kind.kind, path, metadata)
        for kind in kinds
        async for path, metadata in own_reports(client, kind, marks)
    ]


async def _config_maps(client: KubeClient, namespace: str) -> list[OwnedObject]:
    """What the operator keeps for itself, and the record of the cluster's id in the namespace that it has."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    items, _ = await client.list_all(path) or ((), "")
    names = {name_of(each): each for each in items}
    ours = [name for name in names if name in (STATE, GUARDED) or PART_NAME.fullmatch(name)]
    if namespace == RECORD_NAMESPACE and RECORD in names:
        ours.append(RECORD)
    return [OwnedObject.of("", "ConfigMap", f"{path}/{name}", names[name]) for name in ours]


def _lease(document: Mapping[str, Any]) -> OwnedObject:
    namespace = text_at(document, "metadata", "namespace")
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name_of(document)}"
    return OwnedObject.of("coordination.k8s.io", "Lease", path, document)


async def remove_owned(client: KubeClient, each: OwnedObject) -> Result:
    """Deletes the object that was found, and waits until it is gone: a kind's objects are deleted first."""
    response = await client.delete_at(each.path, each.uid)
    if not response.ok and response.status != HTTPStatus.NOT_FOUND:
        return Result(each.ref, Action.FAILED, response.reason, response.message)
    try:
        async with asyncio.timeout(_GONE_SECONDS):
            await _gone(client, each.path)
    except TimeoutError:
        message = f"still there after {_GONE_SECONDS:.0f} s: finalizers hold it, or somebody created it again"
        return Result(each.ref, Action.FAILED, Reason.HELD, message)
    return Result(each.ref, Action.DELETED)


async def _gone(client: KubeClient, path: str) -> None:
    while True:
        if await client.get(path) is None:
            return
        await asyncio.sleep(_LOOK_SECONDS)

"""This project's own resources in a cluster, as people's commands read them and ask through them.

The operator does not go through here: it writes what is only read here.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.foreign import mapping_at, text_at
from controller.cluster.kinds import ASSIGNED_POLICY, POLICY_SYNC, name_of
from controller.cluster.lease import NAME as LEASE
from controller.cluster.lease import Lease
from controller.errors import ClusterError
from controller.gatekeeper.naming import GATEKEEPER_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.client import KubeClient
    from controller.cluster.kinds import Kind

NAME: Final = "default"
_LEASE_API: Final = "coordination.k8s.io/v1"
# Not the operator's: managedFields have to show that a person asked.
MANAGER: Final = "azpolicy-cli"
_LOOK_SECONDS: Final = 0.5
_LONGEST_LEASE: Final = 60.0


class KindsMissing(ClusterError):  # noqa: N818 - a state of the cluster
    """The cluster does not know this project's kinds."""

    def __init__(self) -> None:
        super().__init__(
            "this cluster does not know the kinds PolicySync and AssignedPolicy: install the Helm chart, "
            "which contains them, or run: kubectl apply -f crds/",
            status=HTTPStatus.NOT_FOUND,
        )


@dataclass(frozen=True, slots=True)
class Resources:
    """The documents as they are, managedFields apart; `leases` is None where they may not be read."""

    sync: Mapping[str, Any] | None
    policies: tuple[Mapping[str, Any], ...]
    leases: tuple[Mapping[str, Any], ...] | None


async def read_resources(client: KubeClient, namespace: str | None) -> Resources:
    """All of them; KindsMissing where the cluster has no such kinds, ClusterError where one may not be read."""
    sync, policies, leases = await asyncio.gather(
        read_policy_sync(client), _list(client, ASSIGNED_POLICY), read_leases(client, namespace)
    )
    return Resources(sync, policies, leases)


async def read_policy_sync(client: KubeClient) -> Mapping[str, Any] | None:
    """PolicySync default, None where nobody made it yet; KindsMissing where the kind is not served."""
    listed = await _list(client, POLICY_SYNC)
    return next((each for each in listed if name_of(each) == NAME), None)


async def patch_policy_sync(client: KubeClient, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """PolicySync default as a merge patch leaves it; ClusterError where there is none, or it may not be written."""
    response = await client.patch(POLICY_SYNC.path(NAME), changes, manager=MANAGER)
    if response.ok:
        return response.body
    if response.status == HTTPStatus.NOT_FOUND:
        await _list(client, POLICY_SYNC)
        raise ClusterError(
            "there is no PolicySync default: the operator creates it when it starts", status=HTTPStatus.NOT_FOUND
        )
    raise response.error("writing PolicySync default")


async def read_leases(client: KubeClient, namespace: str | None) -> tuple[Mapping[str, Any], ...] | None:
    """The operator's Lease in a namespace, else wherever there is one, else in Gatekeeper's; None without the right."""
    if namespace is None:
        try:
            return await _leases_at(client, f"/apis/{_LEASE_API}/leases")
        except ClusterError as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
    try:
        return await _leases_at(client, f"/apis/{_LEASE_API}/namespaces/{namespace or GATEKEEPER_NAMESPACE}/leases")
    except ClusterError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
    return None


async def operator_at_work(client: KubeClient, namespace: str | None) -> str:
    """Who was seen to renew the operator's Lease, "" where nobody does; ClusterError (403) where it may not be read.

    Looks for as long as the Lease lasts: no difference of clocks can feign or hide a renewal that was seen.
    """
    seen = await _held_leases(client, namespace)
    longest = max((lease.duration for lease in seen.values()), default=0.0)
    deadline = time.monotonic() + min(longest, _LONGEST_LEASE)
    while seen and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_SECONDS)
        now = await _held_leases(client, namespace)
        for where, lease in now.items():
            if where not in seen or lease.renewed != seen[where].renewed:
                return f"{lease.holder} in {where}"
        seen = now
    return ""


async def _held_leases(client: KubeClient, namespace: str | None) -> dict[str, Lease]:
    leases = await leases_or_error(client, namespace)
    held = ((text_at(each, "metadata", "namespace"), Lease.of(each)) for each in leases)
    return {namespace: lease for namespace, lease in held if lease.holder}


async def leases_or_error(client: KubeClient, namespace: str | None) -> tuple[Mapping[str, Any], ...]:
    """As `read_leases`, and ClusterError (403) without the right."""
    leases = await read_leases(client, namespace)
    if leases is None:
        message = "no right to read the operator's Lease: ask for it, or give its --namespace"
        raise ClusterError(message, status=HTTPStatus.FORBIDDEN)
    return leases


async def _leases_at(client: KubeClient, path: str) -> tuple[Mapping[str, Any], ...]:
    listed = await client.list_all(path, f"metadata.name={LEASE}")
    return tuple(_shown({"apiVersion": _LEASE_API, "kind": "Lease", **each}) for each in (listed[0] if listed else ()))


async def _list(client: KubeClient, kind: Kind) -> tuple[Mapping[str, Any], ...]:
    listed = await client.list_live(kind)
    if listed is None:
        raise KindsMissing
    return tuple(_shown(each.manifest) for each in listed[0])


def _shown(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """As kubectl shows it: managedFields are left out."""
    metadata = {key: value for key, value in mapping_at(document, "metadata").items() if key != "managedFields"}
    return {**document, "metadata": metadata}

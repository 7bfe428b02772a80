"""Azure's own add-on as a cluster shows it: whether it is there, and which objects are its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from controller.cluster.inventory import take_inventory
from controller.cluster.kinds import CRD_PATH
from controller.cluster.ownership import Ownership, ownership
from controller.cluster.readiness import Ready, template_verdict
from controller.gatekeeper.naming import ADDON, CONSTRAINT_GROUP, EXPANSION_GROUP, TEMPLATE_GROUP, OwnershipMarks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from controller.cluster.client import KubeClient
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import DesiredObject

NAMESPACE: Final = "kube-system"
DEPLOYMENTS: Final = ("azure-policy", "azure-policy-webhook")
_MARKS: Final = OwnershipMarks(ADDON)


class Owner(StrEnum):
    """Who made a live object."""

    AZPOLICY = "azpolicy"
    ADDON = "the add-on"
    OTHER = "somebody else"


def owner_of(live: LiveObject, marks: OwnershipMarks) -> Owner:
    """Whose an object is; of what our field manager has written, the label tells."""
    if ownership(live, marks) is Ownership.OURS:
        return Owner.AZPOLICY
    return Owner.ADDON if ownership(live, _MARKS) is Ownership.OURS else Owner.OTHER


async def running_deployments(client: KubeClient) -> tuple[str, ...]:
    """The add-on's deployments that are in the cluster; none once it is switched off."""
    collection = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    found = await asyncio.gather(*(client.get(f"{collection}/{name}") for name in DEPLOYMENTS))
    return tuple(name for name, live in zip(DEPLOYMENTS, found, strict=True) if live is not None)


@dataclass(frozen=True, slots=True)
class ObjectsByOwner:
    """What a cluster contains, by its owner; objects that are being deleted are left out.

    `unready` tells by template name why Gatekeeper does not enforce by it; `deployments` are the add-on's.
    """

    objects: Mapping[Owner, tuple[LiveObject, ...]]
    unready: Mapping[str, str]
    deployments: tuple[str, ...]

    def template(self, owner: Owner, kind: str) -> LiveObject | None:
        """The template of a constraint kind, None where there is none that this owner made."""
        named = (live for live in self.objects[owner] if live.ref.group == TEMPLATE_GROUP)
        return next((live for live in named if live.ref.name == kind.lower()), None)

    def expands_without(self, owner: Owner) -> bool:
        """Whether Gatekeeper expands any workload here, by an ExpansionTemplate that is not this owner's."""
        others = (live for each in Owner if each is not owner for live in self.objects[each])
        return any(live.ref.group == EXPANSION_GROUP for live in others)


async def read_by_owner(client: KubeClient, marks: OwnershipMarks, desired: Sequence[DesiredObject]) -> ObjectsByOwner:
    """Reads every managed kind, Gatekeeper's status of each template, and whether the add-on runs."""
    inventory = await take_inventory(client, desired)
    objects: dict[Owner, list[LiveObject]] = {owner: [] for owner in Owner}
    for live in inventory.objects.values():
        if not live.deleting:
            objects[owner_of(live, marks)].append(live)
    templates = [live for live in inventory.objects.values() if live.ref.group == TEMPLATE_GROUP]
    said = await asyncio.gather(*(_why_unready(client, live) for live in templates))
    unready = {live.ref.name: why for live, why in zip(templates, said, strict=True) if why}
    return ObjectsByOwner(
        {owner: tuple(sorted(found, key=lambda live: live.ref)) for owner, found in objects.items()},
        unready,
        await running_deployments(client),
    )


async def _why_unready(client: KubeClient, template: LiveObject) -> str:
    crd = await client.get(f"{CRD_PATH}/{template.ref.name}.{CONSTRAINT_GROUP}")
    verdict = template_verdict(template, crd)
    return "" if isinstance(verdict, Ready) else verdict.message

"""Which management groups stand above the cluster: an assignment may exclude one of them, and no id tells its parents.

Asked for only where something excludes a management group. Azure answers with what the reader may see, so a chain that
does not reach up to the tenant's root group is not believed: not to know is safe, to believe half of it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from controller.azure.client import ArmRefusal
from controller.azure.model import fold

if TYPE_CHECKING:
    from controller.azure.client import ArmClient, Document

MANAGEMENT_GROUPS: Final = "/providers/microsoft.management/managementgroups/"
_UNSEEN: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


@dataclass(frozen=True, slots=True)
class Ancestors:
    """The folded ids of all management groups above, None where they are not known, and the document that told."""

    groups: frozenset[str] | None = None
    document: Document | None = None


async def find_ancestors(arm: ArmClient, cluster_id: str, api_version: str) -> Ancestors:
    """The management groups above the cluster's subscription; not known where Azure does not show all of them."""
    subscription = cluster_id.split("/")[2]
    query = {"api-version": api_version, "$filter": f"name eq '{subscription}'"}
    try:
        entities = await arm.list("/providers/Microsoft.Management/getEntities", query, method="POST")
    except ArmRefusal as refusal:
        if refusal.status not in _UNSEEN:
            raise
        return Ancestors()
    for entity in entities:
        properties = entity.get("properties")
        if str(entity.get("name")).casefold() == subscription.casefold() and isinstance(properties, dict):
            return Ancestors(_chain(properties), entity)
    return Ancestors()


def _chain(properties: Document) -> frozenset[str] | None:
    names, tenant = properties.get("parentNameChain"), properties.get("tenantId")
    if not isinstance(names, list) or not isinstance(tenant, str):
        return None
    folded = {str(name).casefold() for name in names}
    # The root group has the tenant's id for its name.
    return frozenset(MANAGEMENT_GROUPS + fold(name) for name in folded) if tenant.casefold() in folded else None

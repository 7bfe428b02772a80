"""Which management groups are above the cluster: an assignment may exclude one of them, and no id names its parents.

Asked for only where something excludes a management group. Azure answers with what the reader may see, so a chain that
does not reach up to the tenant's root group is not believed: not to know is safe, to believe half of it is not.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from controller.azure.client import ArmRefusal

if TYPE_CHECKING:
    from controller.azure.client import ArmClient, Document

# Else Azure answers from a cache: Entities - List (REST API of management groups).
_FRESH: Final = {"Cache-Control": "no-cache"}
_UNSEEN: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


async def find_ancestors(arm: ArmClient, cluster_id: str, api_version: str) -> Document | None:
    """The document of the cluster's subscription with its ancestors; None where Azure does not show it."""
    subscription = cluster_id.split("/")[2]
    query = {"api-version": api_version, "$filter": f"name eq '{subscription}'"}
    try:
        entities = await arm.list("/providers/Microsoft.Management/getEntities", query, method="POST", headers=_FRESH)
    except ArmRefusal as refusal:
        if refusal.about_api_version or refusal.status not in _UNSEEN:
            raise
        return None
    return next((each for each in entities if str(each.get("name")).casefold() == subscription.casefold()), None)

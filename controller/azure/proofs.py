"""What Azure's answers prove, and what they do not: on these two questions rests what may be deleted.

A list that may not be read is answered with 200 and an empty list, not with 403 (azure-docs issue 110373), and a 404
may come from the gateway, from a subscription that is not there or from an api-version without the type. So an empty
list counts once a GET of something that is not there was refused by the service itself, and an assignment is gone once
its own GET says so by its code, or shows a scope that does not hold the cluster.
"""

from __future__ import annotations

import re
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from controller.azure.client import ArmRefusal
from controller.azure.model import Assignment, fold, stands_above
from controller.errors import SourceError

if TYPE_CHECKING:
    from controller.azure.client import ArmClient

# A name that Azure takes and nobody gives: a malformed one would be answered with 400, whatever the rights are.
_NOBODYS: Final = "azpolicy-may-this-be-read"
# On an assignment's code rests a deletion, so it is one code. Of other things it says that they may be read.
_NOT_FOUND: Final = re.compile(r"policy\w*notfound")
_NOT_FOUND_CODES: Final = {"policyAssignments": re.compile("policyassignmentnotfound")}


class Fate(StrEnum):
    """What Azure proves of an assignment that the list lacks. UNPROVEN is no fault: the safety stop decides then."""

    DELETED = "deleted"
    MOVED = "no longer assigned to the cluster"
    APPLIES = "still applies to the cluster"
    UNPROVEN = "unproven"


def fate_by_refusal(refusal: ArmRefusal) -> Fate:
    """What the refusal of an assignment's own GET proves; it is raised where it passes or concerns all reading."""
    if says_not_found(refusal, "policyAssignments"):
        return Fate.DELETED
    if refusal.passes or refusal.status == HTTPStatus.UNAUTHORIZED:
        raise refusal
    return Fate.UNPROVEN


def fate_by_scopes(assignment: Assignment, cluster_id: str, groups: frozenset[str] | None) -> Fate:
    """What an assignment's own scope and notScopes say; `groups` are the management groups above the cluster."""
    within = stands_above(assignment.scope, cluster_id, groups)
    excluded = [stands_above(scope, cluster_id, groups) for scope in assignment.not_scopes]
    if within is False or True in excluded:
        return Fate.MOVED
    return Fate.UNPROVEN if within is None or None in excluded else Fate.APPLIES


def says_not_found(refusal: ArmRefusal, collection: str) -> bool:
    """Whether Azure Policy itself says that it holds no such thing: neither a gateway nor another service does."""
    told = _NOT_FOUND_CODES.get(collection, _NOT_FOUND).fullmatch(refusal.code.casefold())
    return refusal.status == HTTPStatus.NOT_FOUND and told is not None and not refusal.by_gateway


async def check_empty(arm: ArmClient, asked_at: str, collection: str, api_version: str) -> None:
    """Returns where the empty list of a collection at the cluster means that there is nothing; else SourceError."""
    path = f"{asked_at}/providers/Microsoft.Authorization/{collection}"
    said = f"{path}: Azure lists no {collection}, which does not prove that there are none"
    try:
        await arm.get(f"{path}/{_NOBODYS}", {"api-version": api_version})
    except ArmRefusal as refusal:
        if says_not_found(refusal, collection):
            return
        raise refusal.because(said) from refusal
    raise SourceError(f"{said}: it shows {fold(_NOBODYS)}; the next poll tries again")

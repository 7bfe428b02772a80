"""Which of the assignment ids that objects in the cluster bear are worth asking Azure about.

Anybody who may write such an object may have written the id. What is no assignment's id, or is kept where nothing can
apply to the cluster, proves nothing and is not asked about: nobody who writes an object can choose an answer that fails
the whole reading.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from controller.azure.model import MANAGEMENT_GROUPS, contains, fold

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MOST_ASKED: Final = 500
_LONGEST_ID: Final = 2048
# A step up would lead to another path than the one that was looked at.
_SEGMENT: Final = r"/(?!\.{1,2}(?:/|\Z))[^/]{1,260}"
_ASSIGNMENT: Final = re.compile(
    rf"(?P<scope>(?:{_SEGMENT})+)/providers/Microsoft\.Authorization/policyAssignments{_SEGMENT}", re.IGNORECASE
)
_GROUP: Final = re.compile(rf"{MANAGEMENT_GROUPS.removesuffix('/')}{_SEGMENT}", re.IGNORECASE)


def may_apply(assignment_id: str, cluster_id: str) -> bool:
    """Whether a text is the id of an assignment at a scope that is, or may be, above the cluster."""
    if len(assignment_id) > _LONGEST_ID or not assignment_id.isprintable():
        return False
    found = _ASSIGNMENT.fullmatch(assignment_id)
    return found is not None and (_GROUP.fullmatch(found["scope"]) is not None or contains(found["scope"], cluster_id))


def worth_asking(known: Iterable[str], listed: Collection[str], cluster_id: str) -> dict[str, str]:
    """By folded id the known ids that the list of folded ids lacks and that may apply; MOST_ASKED of them at most."""
    missing = {fold(each): each for each in sorted(known) if may_apply(each, cluster_id)}
    left = sorted(missing.keys() - set(listed))
    return {key: missing[key] for key in left[:MOST_ASKED]}

"""Which field managers changed an object, by its managedFields.

The API server records who last set a field, not who removed one: a removal has no editor.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.foreign import mapping_at, mappings_at, text_at
from controller.cluster.kinds import HOLDS
from controller.gatekeeper.naming import FIELD_MANAGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from controller.cluster.diff import Difference
    from controller.cluster.kinds import LiveObject

_STEP: Final = re.compile(r'\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]|([^.\[\]]+)')
_IN_METADATA: Final = frozenset({"labels", "annotations", *HOLDS})


def changed_by(live: LiveObject, found: Iterable[Difference]) -> tuple[str, ...]:
    """The field managers other than ours that hold one of the fields that differ, latest first."""
    paths = [tuple(_keys(difference.path)) for difference in found]
    managed = mappings_at(live.manifest, "metadata", "managedFields")
    entries = [entry for entry in managed if not entry.get("subresource")]
    entries.sort(key=lambda entry: str(entry.get("time", "")), reverse=True)
    holders = (text_at(e, "manager") for e in entries if any(_holds(mapping_at(e, "fieldsV1"), path) for path in paths))
    return tuple(dict.fromkeys(holder for holder in holders if holder and holder != FIELD_MANAGER))


def _keys(path: str) -> Iterator[str]:
    """The steps of a difference's path as managedFields spells them; a list item's are those of its list."""
    for number, (index, quoted, plain) in enumerate(_STEP.findall(path)):
        if index:
            return
        key = json.loads(quoted) if quoted else plain
        if number == 0 and key in _IN_METADATA:
            yield "f:metadata"
        yield f"f:{key}"


def _holds(fields: Mapping[str, Any], path: Iterable[str]) -> bool:
    """Whether a manager's fields contain a path, or a whole that the path is in (an empty set of inner fields)."""
    current: object = fields
    for step in path:
        if not isinstance(current, dict) or step not in current:
            return False
        current = current[step]
        if not current:
            return True
    return True

"""The objects that were read last, so that one which did not move is the very object that was read before.

At one resourceVersion an object has one content
(https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions). Whoever has judged it can tell by
identity that there is nothing new to judge: a full compare of a cluster at rest then costs little more than reading the
lists. What was missed between two lists cannot hide: the versions that count are the server's own, in the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controller.cluster.foreign import text_at
from controller.cluster.kinds import Kind, LiveObject
from controller.cluster.lean import Lean
from controller.gatekeeper.model import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from controller.cluster.kinds import Resource


class ObjectCache:
    """By collection and uid; reports are not kept, as nothing but their writer looks at them."""

    def __init__(self, violations: int | None) -> None:
        """`violations` as `Lean` has it."""
        self._violations = violations
        self._objects: dict[str, dict[str, LiveObject]] = {}
        self._leans: dict[str, Lean] = {}
        self._positions: dict[str, int] = {}

    @property
    def violations(self) -> int | None:
        """How many of each constraint's violations are kept; another number makes all that was read unknown."""
        return self._violations

    @violations.setter
    def violations(self, kept: int | None) -> None:
        if kept != self._violations:
            self._violations = kept
            self._objects.clear()
            self._leans.clear()

    def lean(self, kind: Resource) -> Lean:
        """What reduces the objects of a collection: equal parts of them are one value, from one list to the next."""
        return self._leans.setdefault(kind.path(), Lean(self._violations))

    def read_before(self, kind: Resource, document: Mapping[str, Any]) -> LiveObject | None:
        """The object that was made of this document when it was read before, None where it is new or has moved."""
        version, uid = (text_at(document, "metadata", key) for key in ("resourceVersion", "uid"))
        known = self._objects.get(kind.path(), {}).get(uid)
        return known if known is not None and version and known.version == version else None

    def read(self, kind: Resource, live: LiveObject) -> LiveObject:
        """An object as it is now; what of it is as it was before is the same value as before."""
        if not isinstance(kind, Kind) or kind.role is Role.REPORT or not live.uid:
            return live
        objects = self._objects.setdefault(kind.path(), {})
        before = objects.get(live.uid)
        objects[live.uid] = live if before is None else _sharing(live, before)
        return objects[live.uid]

    def gone(self, kind: Resource, live: LiveObject) -> None:
        """An object that is deleted."""
        self._objects.get(kind.path(), {}).pop(live.uid, None)

    def went_back(self, kind: Resource, position: str) -> bool:
        """Whether a list is older than the list before it: then all that was read is unknown from now on.

        Lists are consistent reads, so only a restored backup of etcd makes one older, and from there the same versions
        come again with other content.
        """
        if not position.isdecimal():
            return False
        before = self._positions.get(kind.path(), 0)
        self._positions[kind.path()] = now = int(position)
        if now < before:
            self._objects.clear()
        return now < before

    def listed(self, kind: Resource, items: Iterable[LiveObject]) -> None:
        """All that a collection holds: nothing else of it is there."""
        self._leans.pop(kind.path(), None)
        if kind.path() in self._objects:
            self._objects[kind.path()] = {live.uid: live for live in items}


def _sharing(live: LiveObject, before: LiveObject) -> LiveObject:
    """The object with the equal parts of the one before: an audit writes a status, and leaves all the rest."""
    metadata = {key: _older(value, before.metadata.get(key)) for key, value in live.metadata.items()}
    manifest = {**live.manifest, "metadata": metadata}
    # Python takes 1 for `true`, but a spec that is changed so has another generation.
    if "spec" in manifest and live.generation == before.generation:
        manifest["spec"] = _older(manifest["spec"], before.manifest.get("spec"))
    return LiveObject(live.ref, manifest, live.cut)


def _older(value: Any, before: Any) -> Any:
    return before if isinstance(value, dict | list) and value == before else value

"""The objects that were read last, so that one which did not move is the very object that was read before.

At one resourceVersion an object has one content
(https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions). Whoever has judged it can tell by
identity that there is nothing new to judge: a full compare of a cluster at rest then costs little more than reading the
lists. What was missed between two lists cannot hide: the versions that count are the server's own, in the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controller.bounded_json import is_cut
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

    def read(self, kind: Resource, document: Mapping[str, Any], *, cut: bool = False) -> LiveObject:
        """The object of a document that was read; `cut` is whether something was cut out of what it came in.

        The very one that was read before where it did not move; else what of it is as it was before is the same value.
        """
        path = kind.path()
        lean = self._leans.get(path) or self._leans.setdefault(path, Lean(self._violations))
        uid = text_at(document, "metadata", "uid")
        if not isinstance(kind, Kind) or kind.role is Role.REPORT or not uid:
            return _made(kind, lean, document, cut=cut)
        objects = self._objects.setdefault(path, {})
        before = objects.get(uid)
        if before is None:
            live = _made(kind, lean, document, cut=cut)
        elif self.unmoved(kind, document):
            return before
        elif not cut and not before.cut and (manifest := lean.audited(document, before.manifest)) is not None:
            live = before.audited(manifest)
        else:
            live = _sharing(_made(kind, lean, document, cut=cut), before)
        objects[uid] = live
        return live

    def holds(self, kind: Resource) -> bool:
        """Whether anything of a collection is kept."""
        return bool(self._objects.get(kind.path()))

    def unmoved(self, kind: Resource, document: Mapping[str, Any]) -> LiveObject | None:
        """The object whose metadata was read, where it is kept and did not move since; else None."""
        live = self._objects.get(kind.path(), {}).get(text_at(document, "metadata", "uid"))
        return live if live and live.version == text_at(document, "metadata", "resourceVersion") != "" else None

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


def _made(kind: Resource, lean: Lean, document: Mapping[str, Any], *, cut: bool) -> LiveObject:
    return LiveObject.of(kind, lean(document), cut=cut and is_cut(dict(document)))


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

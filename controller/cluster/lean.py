"""What is kept of an object that was read: all that decisions and reports need, and little of what makes it large.

Two parts of a constraint are larger than all the rest: the managedFields, and the violations of the last audit.
Gatekeeper writes as many of these as it is told to: https://open-policy-agent.github.io/gatekeeper/website/docs/audit.
"""

from __future__ import annotations

import json
from itertools import chain
from operator import itemgetter
from sys import intern
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from controller.cluster.foreign import list_at, mapping_at, mappings_at, text_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIRST: Final = 5
_LONGEST: Final = 256
_MORE: Final = "…"
_GATEKEEPERS_MORE: Final = "..."
# As Gatekeeper names the fields of `Violation`, in their order.
_KEYS: Final = ("namespace", "kind", "name", "message", "group", "version", "enforcementAction")
_FIELDS: Final = itemgetter(*_KEYS)
_NO_FIELDS: Final = dict.fromkeys(_KEYS, "")


class Violation(NamedTuple):
    """One violating object, in the order of reports; `message` is Gatekeeper's, cut.

    `namespace` is empty where the object has none; `action` is what Gatekeeper does with such an object: deny, warn, …
    """

    namespace: str
    kind: str
    name: str
    message: str
    group: str = ""
    version: str = ""
    action: str = ""

    @property
    def api_version(self) -> str:
        """The apiVersion that the audit found the object at."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def is_cut(self) -> bool:
        """Whether the message is only the beginning of what the template said."""
        return self.message.endswith(_MORE)


def listed_violations(status: Mapping[str, Any], most: int) -> tuple[Violation, ...]:
    """The first `most` that a constraint's status lists, in plain order, whatever order the audit found them in."""
    listed = list_at(status, "violations")
    if isinstance(listed, _Reduced):
        return tuple(listed[:most])
    return tuple(_violation(*each) for each in _first(listed, most))


def first_violations(status: Mapping[str, Any]) -> tuple[Violation, ...]:
    """The few that every report shows."""
    return listed_violations(status, FIRST)


def _first(listed: Sequence[Any], most: int) -> list[tuple[str, ...]]:
    """The fields of the first `most`; an audit leaves many in each of thousands of objects, nearly all whole."""
    try:
        found: list[tuple[Any, ...]] = list(map(_FIELDS, listed))
    except (KeyError, TypeError):
        found = [_FIELDS({**_NO_FIELDS, **each}) for each in listed if isinstance(each, dict)]
    if not set(map(type, chain.from_iterable(found))) <= {str}:
        found = [tuple(each if isinstance(each, str) else "" for each in fields) for fields in found]
    return sorted(found)[:most]


class _Reduced(list[Violation]):
    """Violations as `Lean` leaves them, in plain order: what came as it is may be anything."""


def _are_first(listed: Sequence[Any], known: _Reduced, most: int) -> bool:
    """Whether `known` is what these are reduced to: seeing takes less than doing."""
    first = _first(listed, most)
    return first == known and not any(each[3].endswith(_GATEKEEPERS_MORE) for each in first)


def _violation(namespace: str, kind: str, name: str, message: str, *rest: str) -> Violation:
    made = Violation._make([each[:_LONGEST] for each in (namespace, kind, name, "", *rest)])
    return made._replace(message=_cut(message))


def _interned(violation: Violation) -> Violation:
    """One pod may violate hundreds of constraints."""
    return Violation._make(map(intern, violation))


def _cut(message: str) -> str:
    """On one line; what Gatekeeper cut, to 256 bytes that end in three dots, ends as all does that is cut here."""
    if message.endswith(_GATEKEEPERS_MORE) and len(message.encode("utf-8", "surrogatepass")) >= _LONGEST:
        message = message.removesuffix(_GATEKEEPERS_MORE) + _MORE
    text = " ".join(message.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}{_MORE}"


class Lean:
    """Reduces the objects of one answer: of each constraint's violations the first `violations` stay, None: all."""

    def __init__(self, violations: int | None) -> None:
        self._violations = violations
        self._fields: dict[str, Any] = {}

    def __call__(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """The document without the managedFields of who writes the status, and with no more violations than needed.

        Equal fields of managers are one value: those of a kind's constraints are mostly equal. So are equal texts of
        violations, each of which is a `Violation` from then on. The document that was given does not change.
        """
        made: dict[str, Any] = dict(document)
        if list_at(document, "metadata", "managedFields"):
            owners = [self._shared(entry) for entry in _owners(document)]
            made["metadata"] = {**document["metadata"], "managedFields": owners}
        status, most = mapping_at(document, "status"), self._violations
        listed = list_at(status, "violations")
        if most is not None and listed and (len(listed) > most or all(isinstance(each, dict) for each in listed)):
            made["status"] = {**status, "violations": _Reduced(map(_interned, listed_violations(status, most)))}
        return made

    def audited(self, document: Mapping[str, Any], before: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What `document` is reduced to, where that is `before` at another version and time of the audit; else None.

        This is what an audit does to nearly all objects. All but these two values are those of `before`. Python takes 1
        for `true`, which no writer of a status mixes.
        """
        metadata, status = mapping_at(document, "metadata"), mapping_at(document, "status")
        known, found = mapping_at(before, "metadata"), mapping_at(before, "status")
        unmoved = {**metadata, "resourceVersion": known.get("resourceVersion")}
        if "managedFields" in metadata:
            unmoved["managedFields"] = _owners(document)
        if unmoved != known or not (text_at(status, "auditTimestamp") and text_at(found, "auditTimestamp")):
            return None
        unchanged = {**status, "auditTimestamp": found["auditTimestamp"]}
        listed, kept = list_at(status, "violations"), list_at(found, "violations")
        if isinstance(kept, _Reduced) and self._violations is not None:
            if len(kept) != min(len(listed), self._violations) or not _are_first(listed, kept, self._violations):
                return None
            unchanged["violations"] = kept
        if unchanged != found or {**document, "metadata": known, "status": found} != before:
            return None
        return {
            **before,
            "metadata": {**known, "resourceVersion": metadata["resourceVersion"]},
            "status": {**found, "auditTimestamp": status["auditTimestamp"]},
        }

    def _shared(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        fields = entry.get("fieldsV1")
        return {**entry, "fieldsV1": self._fields.setdefault(json.dumps(fields), fields)} if fields else entry


def _owners(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of managedFields of those who write more than a status."""
    return [each for each in mappings_at(document, "metadata", "managedFields") if not each.get("subresource")]

"""What is kept of an object that was read: all that decisions and reports need, and little of what makes it large.

Two parts of a constraint are larger than all the rest: the managedFields, and the violations of the last audit.
Gatekeeper writes as many of these as it is told to: https://open-policy-agent.github.io/gatekeeper/website/docs/audit.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from controller.cluster.foreign import list_at, mapping_at, mappings_at

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST: Final = 5
_LONGEST: Final = 256
_MORE: Final = "…"
_GATEKEEPERS_MORE: Final = "..."
# As Gatekeeper names the fields of `Violation`, in their order.
_KEYS: Final = ("namespace", "kind", "name", "message", "group", "version", "enforcementAction")


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
    first = sorted(map(_texts, mappings_at(status, "violations")))[:most]
    return tuple(_violation(*each) for each in first)


def first_violations(status: Mapping[str, Any]) -> tuple[Violation, ...]:
    """The few that every report shows."""
    return listed_violations(status, FIRST)


def _as_listed(violation: Violation) -> dict[str, str]:
    """As Gatekeeper writes it into a status."""
    return dict(zip(_KEYS, violation, strict=True))


def _texts(violation: Mapping[str, Any]) -> list[str]:
    """Its fields; `text_at` would take twice as long, and an audit leaves many in each of thousands of objects."""
    return [each if isinstance(each, str) else "" for each in map(violation.get, _KEYS)]


def _violation(namespace: str, kind: str, name: str, message: str, *rest: str) -> Violation:
    made = Violation._make([each[:_LONGEST] for each in (namespace, kind, name, "", *rest)])
    return made._replace(message=_cut(message))


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

        Equal fields of managers are one value: those of a kind's constraints are mostly equal. The document that was
        given does not change.
        """
        made: dict[str, Any] = dict(document)
        if list_at(document, "metadata", "managedFields"):
            entries = mappings_at(document, "metadata", "managedFields")
            owners = [self._shared(entry) for entry in entries if not entry.get("subresource")]
            made["metadata"] = {**document["metadata"], "managedFields": owners}
        most = self._violations
        if most is not None and len(list_at(document, "status", "violations")) > most:
            status = mapping_at(document, "status")
            made["status"] = {**status, "violations": [_as_listed(each) for each in listed_violations(status, most)]}
        return made

    def _shared(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        fields = entry.get("fieldsV1")
        return {**entry, "fieldsV1": self._fields.setdefault(json.dumps(fields), fields)} if fields else entry

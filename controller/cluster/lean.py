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
_MESSAGE: Final = 256


class Violation(NamedTuple):
    """One violating object, in the order of reports; `message` is Gatekeeper's, cut."""

    namespace: str
    kind: str
    name: str
    message: str


def first_violations(status: Mapping[str, Any]) -> tuple[Violation, ...]:
    """The first few in plain order, whatever order the audit found them in."""
    first = sorted(map(_texts, mappings_at(status, "violations")))[:FIRST]
    return tuple(Violation._make((*where, _cut(message))) for *where, message in first)


def _texts(violation: Mapping[str, Any]) -> list[str]:
    """Its fields; `text_at` would take twice as long, and an audit leaves many in each of thousands of objects."""
    return [each if isinstance(each, str) else "" for each in map(violation.get, Violation._fields)]


def _cut(message: str) -> str:
    text = " ".join(message.split())
    return text if len(text) <= _MESSAGE else f"{text[: _MESSAGE - 1]}…"


class Lean:
    """Reduces the objects of one answer: `all_violations` for who compares audits, else the first ones."""

    def __init__(self, *, all_violations: bool) -> None:
        self._all_violations = all_violations
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
        if not self._all_violations and len(list_at(document, "status", "violations")) > FIRST:
            status = mapping_at(document, "status")
            made["status"] = {**status, "violations": [each._asdict() for each in first_violations(status)]}
        return made

    def _shared(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        fields = entry.get("fieldsV1")
        return {**entry, "fieldsV1": self._fields.setdefault(json.dumps(fields), fields)} if fields else entry

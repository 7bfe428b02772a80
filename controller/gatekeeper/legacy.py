"""Constraint files of the legacy form: YAML with `{{ .Values.name }}` in it, which definitions had before templateInfo.

Only this much of Go's template language is read, since Azure's own files use only this much
(https://github.com/Azure/azure-policy/tree/master/built-in-references/Kubernetes). Anything else is refused by name: a
guess would be a constraint that nobody wrote.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from controller.gatekeeper.documents import DocumentError
from controller.gatekeeper.yamltext import MAX_BYTES

if TYPE_CHECKING:
    from controller.jsontypes import Json

_SHOWN: Final = 100
_VALUE: Final = re.compile(r"\.Values((?:\.[A-Za-z_][A-Za-z0-9_]*)+)")


def fill(text: str, values: dict[str, Json]) -> str:
    """The text with values in place: strings raw, all else as JSON; DocumentError names what cannot be filled."""
    first, *pieces = text.split("{{")
    parts, size = [first], len(text)
    for piece in pieces:
        action, closed, rest = piece.partition("}}")
        if not closed:
            raise DocumentError("a {{ is not closed")
        parts += [_filled(action, values), rest]
        size += len(parts[-2])
        # A short file can name a long value many times.
        if size > MAX_BYTES:
            raise DocumentError(f"with its values it is larger than {MAX_BYTES // 1024} KiB")
    return "".join(parts)


def _filled(action: str, values: dict[str, Json]) -> str:
    found = _VALUE.fullmatch(action.strip())
    if found is None:
        raise DocumentError(
            f"{{{{{action[:_SHOWN]}}}}} is more than a value: azpolicy understands only {{{{ .Values.name }}}}"
        )
    value: Json = values
    for name in found.group(1).removeprefix(".").split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        raise DocumentError(f"{{{{{action[:_SHOWN]}}}}} names a value that the definition does not pass")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

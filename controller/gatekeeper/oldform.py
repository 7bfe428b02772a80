"""Constraint files of the old form: YAML with `{{ .Values.name }}` in it, as definitions carried before templateInfo.

Only this much of Go's template language is read, since only this much was ever used (facts §2). Anything else is
refused by name: a guess would be a constraint that nobody wrote.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from controller.gatekeeper.documents import DocumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.json import Json

_ACTION: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_VALUE: Final = re.compile(r"\.Values((?:\.[A-Za-z_][A-Za-z0-9_]*)+)")


def fill(text: str, values: Mapping[str, Json]) -> str:
    """The text with values in place: strings raw, all else as JSON; DocumentError names what cannot be filled."""

    def replacement(action: re.Match[str]) -> str:
        found = _VALUE.fullmatch(action.group(1).strip())
        if found is None:
            raise DocumentError(f"{action.group()} is more than a value: only {{{{ .Values.name }}}} is understood")
        value: Json = dict(values)
        for name in found.group(1).removeprefix(".").split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            raise DocumentError(f"{action.group()} names a value that the definition does not pass")
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    filled_parts, rest = [], 0
    for action in _ACTION.finditer(text):
        filled_parts += [text[rest : action.start()], replacement(action)]
        rest = action.end()
    if "{{" in text[rest:]:
        raise DocumentError("a {{ is not closed")
    return "".join([*filled_parts, text[rest:]])

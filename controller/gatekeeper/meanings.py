"""Values that can never match: Azure does not refuse them, so they are noted.

The bundle's meanings.yaml says which parameter of which kind means what. It holds for the templates of Azure's store,
wherever they are read from; of a template that a definition carries only its own schema tells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from controller.gatekeeper.re2 import fault, required
from controller.gatekeeper.sources import bundle_root
from controller.gatekeeper.yamltext import read_yaml
from controller.policy.parameters import shown
from controller.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from controller.jsontypes import Json

FILE: Final = "meanings.yaml"
_ALL_KINDS: Final = "*"
_MOST: Final = 3  # notes on one parameter

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity
_QUANTITY: Final = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?",
    re.ASCII,
)
# https://github.com/distribution/reference: a domain (an IPv6 address in brackets), a path, a tag, a digest.
_NOT_IN_IMAGES: Final = re.compile(r"[^A-Za-z0-9._:/@+\-\[\]]|//")


def _expression(value: str) -> str:
    found = fault(value)
    return f"never matches: it has {found}" if found else ""


def _image_expression(value: str) -> str:
    found = next(filter(None, map(_NOT_IN_IMAGES.search, required(value))), None)
    return _expression(value) or (f"matches no image: none has {found[0]!r}" if found else "")


def _image(value: str) -> str:
    found = _NOT_IN_IMAGES.search(value.removesuffix("*"))
    if not value:
        return "matches no image"
    if found and found[0] == "*":
        return "matches no image: a * stands for any rest at the end alone"
    return f"matches no image: none has {found[0]!r}" if found else ""


def _quantity(value: str) -> str:
    return "" if _QUANTITY.fullmatch(value) else "is no quantity, such as 500m or 1Gi, and so it limits nothing"


# Meaning: what is to be said of a value that can never match, after the value; empty where it can.
_RULES: Final[Mapping[str, Callable[[str], str]]] = {
    "expression": _expression,
    "image": _image,
    "image-expression": _image_expression,
    "quantity": _quantity,
}
# How a value is spelled among the known names of its meaning, where it may be spelled otherwise.
_SPELLED: Final[Mapping[str, Callable[[str], str]]] = {
    "capability": lambda value: value.upper().removeprefix("CAP_"),
    "seccomp-profile": lambda value: "localhost/*" if value.lower().startswith("localhost") else value,
    "apparmor-profile": lambda value: "localhost/*" if value.startswith("localhost/") else value,
}
_ALLOW_LIST: Final = "allow-list"


@dataclass(frozen=True, slots=True)
class Meanings:
    """The bundle's meanings by kind of constraint and path of a parameter, and the known names of a meaning."""

    kinds: Mapping[str, Mapping[str, tuple[str, ...]]]
    known: Mapping[str, frozenset[str]]

    def of(self, kind: str) -> Mapping[str, tuple[str, ...]]:
        """The meanings of a kind's parameters, by their paths."""
        return {**self.kinds[_ALL_KINDS], **self.kinds.get(kind, {})}

    def told(self, meaning: str, value: str) -> str:
        """What is to be said of a value with this meaning, after the value; empty where it can match."""
        if meaning in _RULES:
            return _RULES[meaning](value)
        spelled = _SPELLED.get(meaning, str)(value)
        if meaning == _ALLOW_LIST or spelled in self.known[meaning]:
            return ""
        return f"is no {meaning.replace('-', ' ')} that can match"


@cache
def meanings() -> Meanings:
    """What meanings.yaml of the bundle says."""
    table: Any = read_yaml((bundle_root() / FILE).read_text(encoding="utf-8"))
    kinds = {kind: {path: tuple(meant) for path, meant in paths.items()} for kind, paths in table["kinds"].items()}
    return Meanings(kinds, {meaning: frozenset(names) for meaning, names in table["known"].items()})


def value_notes(kind: str, parameters: Json, place: str) -> Iterator[str]:
    """What to know of the values of a constraint's parameters at `place`, at most a few for each parameter."""
    for path, meant in meanings().of(kind).items():
        yield from islice(_notes(parameters, path.split("."), place, meant), _MOST)


def _notes(value: Json, path: list[str], place: str, meant: Iterable[str]) -> Iterator[str]:
    if isinstance(value, list):
        if not path and not value and _ALLOW_LIST in meant:
            yield f"{place} is an empty list, which allows nothing"
        for index, each in enumerate(value):
            yield from _notes(each, path, f"{place}[{index}]", meant)
    elif path and isinstance(value, dict) and path[0] in value:
        yield from _notes(value[path[0]], path[1:], f"{place}.{path[0]}", meant)
    elif not path and isinstance(value, str):
        told = next(filter(None, (meanings().told(each, value) for each in meant)), "")
        if told:
            yield one_line(f"{place}: {shown(value)} {told}")

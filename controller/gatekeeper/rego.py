"""What a template's Rego looks up in the cluster: its references to `data.inventory`, read without evaluating anything.

Gatekeeper keeps replicated objects at `data.inventory.cluster[groupVersion][kind][name]` and
`data.inventory.namespace[namespace][groupVersion][kind][name]`
(https://open-policy-agent.github.io/gatekeeper/website/docs/sync). Only what stands there as text can be told: a group
or kind that a rule computes cannot. opa itself is not asked, because it need not be there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from controller.gatekeeper.syncset import DataKind
    from controller.jsontypes import Json

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)|(?P<text>"(?:\\.|[^"\\\n])*"|`[^`]*`)|(?P<word>[A-Za-z_]\w*)|(?P<sign>.)""", re.DOTALL
)
_INVENTORY: Final = ("data", "inventory")
# How many parts follow `data.inventory`, up to the kind; the last two are groupVersion and kind.
_DEPTH: Final = {"cluster": 3, "namespace": 4}
_OPENING, _CLOSING = "([{", ")]}"
_NOWHERE: Final = ".unreplicated"


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A place where Rego looks objects up: `group_version` and `kind`, each empty where it cannot be told."""

    group_version: str
    kind: str

    def __str__(self) -> str:
        return f"{self.group_version or '*'}/{self.kind or '*'}"

    @property
    def told(self) -> bool:
        """Whether it is known what is looked up."""
        return bool(self.group_version and self.kind)

    def may_see(self, kind: DataKind) -> bool:
        """Whether this kind can be among what is looked up."""
        return self.group_version in ("", kind.group_version) and self.kind in ("", kind.kind)


def references(template: Mapping[str, Json]) -> frozenset[Reference]:
    """What all modules of a ConstraintTemplate look up."""
    found: set[Reference] = set()

    def collect(text: str) -> str:
        found.update(reference for _, reference in _found(text))
        return text

    _with_modules(template, collect)
    return frozenset(found)


def seeing_only(template: Mapping[str, Json], kinds: frozenset[DataKind]) -> Mapping[str, Json]:
    """The template as it is where Gatekeeper replicates these kinds: references that can see none of them find nothing.

    For gator, which takes everything that it is given for replicated.
    """

    def blind(text: str) -> str:
        for end, reference in sorted(_found(text), reverse=True):
            if not any(map(reference.may_see, kinds)):
                text = f"{text[:end]}{_NOWHERE}{text[end:]}"
        return text

    return _with_modules(template, blind)


def _with_modules(template: Mapping[str, Json], change: Callable[[str], str]) -> Mapping[str, Json]:
    """The template with every module of its Rego changed; what is not of the form of a template stays as it is."""
    spec = template.get("spec")
    targets = spec.get("targets") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(targets, list):
        return template
    return {**template, "spec": {**spec, "targets": [_target(target, change) for target in targets]}}


def _target(target: Json, change: Callable[[str], str]) -> Json:
    if not isinstance(target, dict):
        return target
    made = _modules(target, change)
    # The newer form has a list of engines; the Rego of one is in its `source`.
    if isinstance(code := target.get("code"), list):
        made["code"] = [
            {**each, "source": _modules(each["source"], change)}
            if isinstance(each, dict) and isinstance(each.get("source"), dict)
            else each
            for each in code
        ]
    return made


def _modules(holder: Any, change: Callable[[str], str]) -> dict[str, Json]:
    made: dict[str, Json] = dict(holder)
    if isinstance(rego := made.get("rego"), str):
        made["rego"] = change(rego)
    if isinstance(libs := made.get("libs"), list):
        made["libs"] = [change(each) if isinstance(each, str) else each for each in libs]
    return made


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Path:
    """A reference from its head on: its parts, None for what is no text, where each ends, and the token `after` it."""

    parts: tuple[str | None, ...]
    ends: tuple[int, ...]
    after: int


@dataclass(frozen=True, slots=True)
class _Module:
    tokens: Sequence[_Token]
    closings: Mapping[int, int]

    def path(self, place: int) -> _Path:
        """The reference whose head is the word at `place`. A space ends it, but not within its brackets."""
        tokens = self.tokens
        parts: list[str | None] = [tokens[place].text]
        ends = [tokens[place].end]
        at = place + 1
        while at + 1 < len(tokens) and tokens[at].start == ends[-1]:
            if tokens[at].text == "." and tokens[at + 1].kind == "word":
                parts.append(tokens[at + 1].text)
                at += 2
            elif tokens[at].text == "[" and at in self.closings:
                closing = self.closings[at]
                parts.append(_text(tokens[at + 1]) if closing == at + 2 else None)
                at = closing + 1
            else:
                break
            ends.append(tokens[at - 1].end)
        return _Path(tuple(parts), tuple(ends), at)


def _found(text: str) -> list[tuple[int, Reference]]:
    """Each reference of a module, with the end of that part of it that stands for the inventory."""
    if _INVENTORY[0] not in text:
        return []
    tokens = [
        _Token(match.lastgroup, match.group(), match.start(), match.end())
        for match in _TOKEN.finditer(text)
        if match.lastgroup and match.lastgroup != "space"
    ]
    module = _Module(tokens, _closings(tokens))
    names, imports = _imports(module)
    found = []
    for place, token in enumerate(tokens):
        before = tokens[place - 1].text if place else ""
        if token.kind == "text" and before == "$" and _INVENTORY[1] in token.text:
            # A template string has expressions in it, which are not read. It stays as it is.
            found.append((token.end, Reference("", "")))
        if token.kind != "word" or place in imports or before in (".", "with", "package"):
            continue
        prefix = names.get(token.text, (token.text,))
        if prefix[0] != _INVENTORY[0]:
            continue
        path = module.path(place)
        parts = (*prefix, *path.parts[1:])
        if _elsewhere(parts):
            continue
        # What the head does not stand for yet of `data.inventory` is in the parts that follow it.
        base = max(0, len(_INVENTORY) - len(prefix))
        found.append((path.ends[min(base, len(path.ends) - 1)], _reference(parts)))
    return found


def _elsewhere(parts: Sequence[str | None]) -> bool:
    """Whether a reference into `data` leads to something else than the inventory, such as `data.lib`."""
    return len(parts) > 1 and parts[1] not in (None, _INVENTORY[1])


def _reference(parts: Sequence[str | None]) -> Reference:
    """The reference that these parts are, from `data` on."""
    scope = parts[len(_INVENTORY)] if len(parts) > len(_INVENTORY) else None
    depth = _DEPTH.get(scope or "", 0)
    last = len(_INVENTORY) + depth
    group_version, kind = (parts[at] if depth and at < len(parts) else None for at in (last - 2, last - 1))
    return Reference(group_version or "", kind or "")


def _imports(module: _Module) -> tuple[dict[str, tuple[str | None, ...]], frozenset[int]]:
    """What names the imports give to which path, and the places of the tokens that are imports."""
    names: dict[str, tuple[str | None, ...]] = {}
    places: set[int] = set()
    tokens = module.tokens
    for place, token in enumerate(tokens[:-1]):
        if token.text != "import" or tokens[place + 1].kind != "word":
            continue
        path = module.path(place + 1)
        name, after = path.parts[-1], path.after
        if after + 1 < len(tokens) and tokens[after].text == "as":
            name, after = tokens[after + 1].text, after + 2
        places.update(range(place, after))
        if name is not None:
            names[name] = path.parts
    return names, frozenset(places)


def _closings(tokens: Sequence[_Token]) -> dict[int, int]:
    """The place of each opening bracket with that of the one that closes it."""
    opened: list[int] = []
    found: dict[int, int] = {}
    for place, token in enumerate(tokens):
        if token.kind == "sign" and token.text in _OPENING:
            opened.append(place)
        elif token.kind == "sign" and token.text in _CLOSING and opened:
            found[opened.pop()] = place
    return found


def _text(token: _Token) -> str | None:
    """What a string literal says; None for anything else."""
    if token.kind != "text":
        return None
    if token.text.startswith("`"):
        return token.text[1:-1]
    try:
        said: Any = json.loads(token.text)
    except ValueError:
        return None
    return said if isinstance(said, str) else None

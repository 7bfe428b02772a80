"""The remedies of the bundle's templates: which fields a policy looks at, and which values its parameters allow.

`remedy.yaml` beside a template is data; templates/README.md says what may stand in it. A remedy only proposes: what
is printed has passed gator (`controller/why/fix.py`), so a remedy need not repeat what a rule excludes.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from controller.check.workloads import template_path
from controller.cluster.foreign import list_at, mappings_at, text_at, texts_at, value_at
from controller.gatekeeper.sources import bundle_root
from controller.gatekeeper.yamltext import read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Path = tuple[str | int, ...]

FILE: Final = "remedy.yaml"
CONTAINERS: Final = ("containers", "initContainers", "ephemeralContainers")
_ANY: Final = "*"
_EACH_CONTAINER: Final = "{container}"
_REST: Final = "{rest}"
_MOST_EDITS: Final = 500
_NOTHING: Final = object()  # a value that the parameters or the object do not give


@dataclass(frozen=True, slots=True)
class Remedy:
    """One template's remedy.

    `allowed` says in words what the policy lets pass; `note` what to look at before a fix is applied; `fields` what the
    rule looks at, for people, where no fix is known; `parameters` those that decide; `edits` as in the file.
    """

    kind: str
    allowed: str
    note: str = ""
    fields: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    edits: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of an object: a path, and the value there; `value` REMOVED takes the field away.

    `target` is the path of the container (or of the pod's spec) that is changed; a `dependent` edit is made only with
    another one of the same target, because the API server asks for both.
    """

    path: Path
    value: Any
    target: Path
    dependent: bool = False
    append: bool = False

    @property
    def removes(self) -> bool:
        """Whether the field goes."""
        return self.value is REMOVED


REMOVED: Final = object()


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a remedy's entry is about: the object, the constraint's parameters, and the place to start from."""

    content: Mapping[str, Any]
    parameters: Mapping[str, Any]
    target: Path = field(default=())


@cache
def remedies() -> Mapping[str, Remedy]:
    """Every remedy of the bundle by the kind of its template's constraints.

    The files are a part of the program: an error in one is a bug, and raised as it comes.
    """
    found = (_remedy(read_yaml(file.read_text(encoding="utf-8"))) for file in sorted(bundle_root().rglob(FILE)))
    return {each.kind: each for each in found}


def _remedy(document: Any) -> Remedy:
    return Remedy(
        kind=document["kind"],
        allowed=document["allowed"],
        note=document.get("note", ""),
        fields=tuple(document.get("fields", ())),
        parameters=tuple(document.get("parameters", ())),
        edits=tuple(document.get("edits", ())),
    )


def proposed(remedy: Remedy, parameters: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[Edit, ...]:
    """Every edit of an object that could help, in the order of the remedy; none where it makes no pod."""
    base = template_path(content)
    if base is None:
        return ()
    edits: dict[tuple[Path, str], Edit] = {}
    for entry in remedy.edits:
        for target in _targets(entry["of"], base, content):
            for edit in _edits(entry, _Scope(content, parameters, target)):
                edits.setdefault((edit.path, repr(edit.value) if edit.append else ""), edit)
                if len(edits) >= _MOST_EDITS:
                    return tuple(edits.values())
    return tuple(edits.values())


def _targets(of: str, base: Path, content: Mapping[str, Any]) -> Iterator[Path]:
    template = at(content, base)
    match of:
        case "workload":
            yield ()
        case "template":
            yield base
        case "pod":
            yield (*base, "spec")
        case "container":
            for name in CONTAINERS:
                for index, each in enumerate(list_at(template, "spec", name)):
                    if isinstance(each, dict):
                        yield (*base, "spec", name, index)
        case _:
            raise ValueError(f"{of!r} is none of workload, template, pod, container")


def _edits(entry: Mapping[str, Any], scope: _Scope) -> Iterator[Edit]:
    """What one entry of a remedy proposes at one target; nothing where a value that it needs is not given."""
    dependent = bool(entry.get("dependent"))
    operation = next(each for each in _OPERATIONS if each in entry)
    path = _split(entry[operation])
    if "unless" in entry and _value(entry["unless"], scope) is not _NOTHING:
        return
    if operation == "remove":
        for place in _places(path, scope):
            if "equals" not in entry or at(scope.content, (*scope.target, *place)) in entry["equals"]:
                yield Edit((*scope.target, *place), REMOVED, scope.target, dependent)
        return
    wanted = _value(entry["to"], scope)
    if wanted is _NOTHING:
        return
    if operation == "add":
        there = at(scope.content, (*scope.target, *path))
        for each in wanted if isinstance(wanted, list) else ():
            if not isinstance(there, list) or each not in there:
                yield Edit((*scope.target, *path), each, scope.target, dependent, append=True)
        return
    for place in _places(path, scope, exists=operation == "change"):
        before = at(scope.content, (*scope.target, *place))
        if before != wanted and not ("larger" in entry and not _larger(before, wanted)):
            yield Edit((*scope.target, *place), wanted, scope.target, dependent)


# `set` makes the field, `change` changes it where it is, `add` appends to a list, `remove` takes it away.
_OPERATIONS: Final = ("set", "change", "add", "remove")


def _larger(one: object, other: object) -> bool:
    """Whether one Kubernetes quantity is more than another."""
    amounts = [_amount(each) for each in (one, other)]
    return None not in amounts and amounts[0] > amounts[1]  # type: ignore[operator]


# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity
_QUANTITY: Final = re.compile(r"([0-9]{1,30}(?:\.[0-9]{0,30})?)(m|k|[KMGTPE]i?)?")
_SCALES: Final = {
    "m": Decimal("0.001"),
    "k": Decimal(1000),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("MGTPE", start=2)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}


def _amount(quantity: object) -> Decimal | None:
    found = _QUANTITY.fullmatch(str(quantity))
    return Decimal(found[1]) * _SCALES.get(found[2] or "", Decimal(1)) if found else None


def _split(path: str | Sequence[str]) -> tuple[str, ...]:
    """A path is text with dots, or a list where a key has dots itself."""
    return tuple(path.split(".") if isinstance(path, str) else path)


def _places(path: Sequence[str], scope: _Scope, *, exists: bool = True) -> Iterator[Path]:
    """The paths that a pattern stands for.

    `*` is every item of a list, `prefix/*` every key that begins so, `prefix/{container}` a key for each container.
    """
    level: list[Path] = [()]
    for depth, key in enumerate(path):
        below: list[Path] = []
        for place in level:
            there = at(scope.content, (*scope.target, *place))
            if key == _ANY:
                below += [(*place, index) for index in range(len(there) if isinstance(there, list) else 0)]
            elif key.endswith(f"/{_ANY}"):
                keys = there if isinstance(there, dict) else ()
                below += [(*place, each) for each in keys if each.startswith(key.removesuffix(_ANY))]
            elif key.endswith(f"/{_EACH_CONTAINER}"):
                below += [(*place, key.replace(_EACH_CONTAINER, name)) for name in _container_names(scope)]
            elif (not exists and _ANY not in path[depth:]) or (isinstance(there, dict) and key in there):
                below.append((*place, key))
        level = below
    yield from level


def _container_names(scope: _Scope) -> Iterator[str]:
    """The names of the containers of the template that is the target."""
    template = at(scope.content, scope.target)
    for containers in CONTAINERS:
        yield from (text_at(each, "name") for each in list_at(template, "spec", containers))


def at(content: Any, path: Path) -> Any:
    """The value at a path of keys and indices; None where there is none."""
    for key in path:
        if isinstance(content, list) and isinstance(key, int) and key < len(content):
            content = content[key]
        else:
            content = content.get(key) if isinstance(content, dict) else None
    return content


# --- values ----------------------------------------------------------------------------------------------------------


def _value(wanted: Any, scope: _Scope) -> Any:
    """What stands in `to`: JSON as it is, or where it comes from, at any depth; _NOTHING where there is none."""
    if isinstance(wanted, dict) and len(wanted) == 1:
        key, argument = next(iter(wanted.items()))
        if (source := _SOURCES.get(key)) is not None:
            return source(argument, scope)
    if isinstance(wanted, dict):
        made = {key: _value(each, scope) for key, each in wanted.items()}
        return _NOTHING if any(each is _NOTHING for each in made.values()) else made
    if isinstance(wanted, list):
        items = [_value(each, scope) for each in wanted]
        return _NOTHING if any(each is _NOTHING for each in items) else items
    return wanted


def _parameter(name: str, scope: _Scope) -> Any:
    found = value_at(scope.parameters, *name.split("."))
    return _NOTHING if found is None else copy.deepcopy(found)


def _first(name: str, scope: _Scope) -> Any:
    """The first text of a list that is no pattern."""
    plain = [each for each in texts_at(scope.parameters, *name.split(".")) if _ANY not in each and each]
    return plain[0] if plain else _NOTHING


def _minimum(name: str, scope: _Scope) -> Any:
    """The least id of the first range of a rule."""
    ranges = mappings_at(scope.parameters, name, "ranges")
    return ranges[0].get("min", _NOTHING) if ranges else _NOTHING


def _field(path: str, scope: _Scope) -> Any:
    """A field of the same container."""
    keys = tuple(int(key) if key.isdecimal() else key for key in path.split("."))
    found = at(scope.content, (*scope.target, *keys))
    return _NOTHING if found is None else copy.deepcopy(found)


def _object(path: str, scope: _Scope) -> Any:
    """A field of the whole object."""
    found = value_at(scope.content, *path.split("."))
    return _NOTHING if found is None else copy.deepcopy(found)


def _either(options: Sequence[Any], scope: _Scope) -> Any:
    """The first of several values that there is."""
    return next((found for each in options if (found := _value(each, scope)) is not _NOTHING), _NOTHING)


def _choose(choice: Mapping[str, Any], scope: _Scope) -> Any:
    """The value of the first entry of a table that a parameter's list has; `prefix/` takes what begins so."""
    entries = texts_at(scope.parameters, *choice["from"].split("."))
    for key, value in choice["entries"].items():
        if key in entries:
            return copy.deepcopy(value)
        if key.endswith("/"):
            for each in entries:
                if each.startswith(key) and _ANY not in each:
                    rest = each.removeprefix(key)
                    return {name: rest if text == _REST else text for name, text in value.items()}
    return _NOTHING


_SOURCES: Final[Mapping[str, Callable[[Any, _Scope], Any]]] = {
    "$parameter": _parameter,
    "$first": _first,
    "$minimum": _minimum,
    "$field": _field,
    "$object": _object,
    "$either": _either,
    "$choose": _choose,
}


# --- applying --------------------------------------------------------------------------------------------------------


def edited(content: Mapping[str, Any], edits: Iterable[Edit]) -> dict[str, Any]:
    """A copy of the object with the edits made: values first, then what goes, from the end of each list."""
    made: dict[str, Any] = copy.deepcopy(dict(content))
    chosen = list(edits)
    for edit in chosen:
        if not edit.removes:
            _put(made, edit)
    for edit in sorted((e for e in chosen if e.removes), key=lambda e: tuple(map(_order, e.path)), reverse=True):
        _take(made, edit.path)
    return made


def _order(key: str | int) -> tuple[int, str]:
    return (key, "") if isinstance(key, int) else (-1, key)


def _put(content: Any, edit: Edit) -> None:
    """Sets the value, or appends it; what stands in its way without being an object gives way to one."""
    *parents, last = edit.path
    for key, following in zip(parents, edit.path[1:], strict=True):
        if isinstance(following, str) and not isinstance(at(content, (key,)), dict):
            content[key] = {}
        content = content[key]
    if not edit.append:
        content[last] = copy.deepcopy(edit.value)
    elif isinstance(content.get(last), list):
        content[last].append(copy.deepcopy(edit.value))
    else:
        content[last] = [copy.deepcopy(edit.value)]


def _take(content: Any, path: Path) -> None:
    """Takes a field, or an item of a list, away."""
    *parents, last = path
    holder = at(content, tuple(parents))
    if holder is None:
        return
    if isinstance(holder, list) and isinstance(last, int):
        del holder[last]
    elif isinstance(holder, dict):
        holder.pop(last, None)


def shown_fields(remedy: Remedy, content: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Path and value of each field that the rule looks at and that the object has."""
    base = template_path(content)
    if base is None:
        return
    for name in remedy.fields:
        of, _, path = name.partition(".")
        for target in _targets(of, base, content):
            scope = _Scope(content, {}, target)
            for place in _places(_split(path), scope):
                yield (*target, *place), at(content, (*target, *place))


def spelled(path: Path, content: Mapping[str, Any]) -> str:
    """A path for people: `spec.template.spec.containers[web].securityContext.privileged`."""
    text = ""
    for depth, key in enumerate(path):
        if isinstance(key, int):
            item = at(content, path[: depth + 1])
            text += f"[{text_at(item, 'name') or key}]"
        else:
            text += f".{key}" if text else key
    return text


def deciding(remedy: Remedy | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that decided, all of them where no remedy knows; without those that are empty."""
    names = remedy.parameters if remedy and remedy.parameters else tuple(parameters)
    return {name: parameters[name] for name in names if parameters.get(name) not in (None, [], "", {})}

"""Values by the structural schema of a CustomResourceDefinition: what the API server drops, fills in and refuses.

The rules: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions
(Specifying a structural schema, Field pruning, Defaulting). What only the server can judge is left to it: `format`,
`x-kubernetes-validations`, `x-kubernetes-list-type`, and a `pattern` that Python could take long to match.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from controller.gatekeeper.re2 import python_pattern
from controller.policy.parameters import kind_of, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from controller.jsontypes import Json

_BUDGET: Final = 200_000  # nodes that one judgement looks at: alternatives in alternatives multiply
_LONGEST_MATCHED: Final = 253  # characters, of a Kubernetes name
_Number: TypeAlias = int | float


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: object) -> bool:
    return _is_number(value) and float(value).is_integer()  # type: ignore[arg-type]


_TYPES: Final[Mapping[str, tuple[str, Callable[[object], bool]]]] = {
    "string": ("text", lambda value: isinstance(value, str)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "integer": ("a whole number", _is_integer),
    "number": ("a number", _is_number),
    "array": ("a list", lambda value: isinstance(value, list)),
    "object": ("a mapping", lambda value: isinstance(value, dict)),
}


def _size(kind: type[str | list[Any] | dict[str, Any]]) -> Callable[[Any], _Number | None]:
    return lambda value: len(value) if isinstance(value, kind) else None


def _amount(value: Any) -> _Number | None:
    return value if _is_number(value) else None


# Keyword: what of a value it bounds, whether that is within, and how to say so.
_BOUNDS: Final[Mapping[str, tuple[Callable[[Any], _Number | None], Callable[[Any, Any], bool], str]]] = {
    "minLength": (_size(str), operator.ge, "have at least {} characters"),
    "maxLength": (_size(str), operator.le, "have at most {} characters"),
    "minItems": (_size(list), operator.ge, "have at least {} items"),
    "maxItems": (_size(list), operator.le, "have at most {} items"),
    "minProperties": (_size(dict), operator.ge, "have at least {} keys"),
    "maxProperties": (_size(dict), operator.le, "have at most {} keys"),
    "minimum": (_amount, operator.ge, "be at least {}"),
    "maximum": (_amount, operator.le, "be at most {}"),
    "exclusiveMinimum": (_amount, operator.gt, "be more than {}"),
    "exclusiveMaximum": (_amount, operator.lt, "be less than {}"),
    "multipleOf": (_amount, lambda value, of: of == 0 or value % of == 0, "be a multiple of {}"),
}


class _UndecidedError(Exception):
    """Only the API server can judge this value."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A value as the API server would store it, and the paths below it that it would drop."""

    value: Json
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """A structural schema, read once. What is malformed in it counts as absent: the server refuses the whole then."""

    type: str = ""
    int_or_string: bool = False
    nullable: bool = False
    preserves: bool = False
    properties: Mapping[str, Schema] = field(default_factory=dict)
    open: bool = False
    additional: Schema | None = None
    items: Schema | None = None
    required: tuple[str, ...] = ()
    bounds: Mapping[str, _Number] = field(default_factory=dict)
    enum: Sequence[Json] | None = None
    pattern: str = ""
    defaults: Mapping[str, Json] = field(default_factory=dict)
    all_of: tuple[Schema, ...] = ()
    any_of: tuple[Schema, ...] = ()
    one_of: tuple[Schema, ...] = ()
    none_of: tuple[Schema, ...] = ()

    @classmethod
    def of(cls, document: object, *, legacy: bool = False) -> Schema:
        """Reads `openAPIV3Schema`. `legacy`: Gatekeeper's legacySchema, which keeps unknown fields at every level."""
        raw: dict[str, Any] = document if isinstance(document, dict) else {}
        properties = _mapping(raw.get("properties"))
        additional = raw.get("additionalProperties")
        items = raw.get("items")
        named = raw.get("type")
        kind = named if isinstance(named, str) and named in _TYPES else ""
        if legacy and kind == "array" and not isinstance(items, dict):
            items = {}
        return cls(
            type=kind,
            int_or_string=raw.get("x-kubernetes-int-or-string") is True,
            nullable=raw.get("nullable") is True,
            preserves=raw.get("x-kubernetes-preserve-unknown-fields") is True or (legacy and kind in ("", "object")),
            properties={name: cls.of(each, legacy=legacy) for name, each in properties.items()},
            open=additional is True or isinstance(additional, dict),
            additional=cls.of(additional, legacy=legacy) if isinstance(additional, dict) else None,
            items=cls.of(items, legacy=legacy) if isinstance(items, dict) else None,
            required=tuple(each for each in _list(raw.get("required")) if isinstance(each, str)),
            bounds=_bounds(raw),
            enum=raw["enum"] if isinstance(raw.get("enum"), list) else None,
            pattern=raw["pattern"] if isinstance(raw.get("pattern"), str) else "",
            defaults={name: each["default"] for name, each in properties.items() if "default" in _mapping(each)},
            all_of=tuple(map(cls.of, _list(raw.get("allOf")))),
            any_of=tuple(map(cls.of, _list(raw.get("anyOf")))),
            one_of=tuple(map(cls.of, _list(raw.get("oneOf")))),
            none_of=(cls.of(raw["not"]),) if isinstance(raw.get("not"), dict) else (),
        )

    def stored(self, value: Json) -> Stored:
        """The value without what the server drops; the same object where it drops nothing."""
        dropped: list[str] = []
        pruned = _pruned(value, self, "", dropped)
        return Stored(pruned if dropped else value, tuple(dropped))

    def filled(self, value: Json) -> Json:
        """The value with the defaults that the server fills in; what it was given is not changed."""
        return _filled(value, self)

    def fault(self, value: Json, place: str) -> str:
        """What the server refuses of a value at `place`, after dropping and filling in; empty if nothing is known."""
        steps = iter(range(_BUDGET))
        try:
            return next(_faults(_filled(_pruned(value, self, "", []), self), self, place, steps), "")
        except _UndecidedError:
            return ""


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _bounds(raw: Mapping[str, Any]) -> dict[str, _Number]:
    found = {key: raw[key] for key in _BOUNDS if _is_number(raw.get(key))}
    for plain, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if plain in found and raw.get(exclusive) is True:
            found[exclusive] = found.pop(plain)
    return found


def _pruned(value: Json, schema: Schema | None, path: str, dropped: list[str], *, keep: bool = False) -> Json:
    """`keep`: an entry of a list that keeps unknown fields keeps them too."""
    keep = keep or (schema is not None and schema.preserves)
    if isinstance(value, list):
        inner = schema.items if schema else None
        return [_pruned(each, inner, f"{path}[{index}]", dropped, keep=keep) for index, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Json] = {}
    for name, each in value.items():
        at = f"{path}.{name}" if path else name
        known = schema.properties.get(name) if schema else None
        if known is None and schema is not None and schema.open:
            kept[name] = each if keep and schema.additional is None else _pruned(each, schema.additional, at, dropped)
        elif known is not None:
            kept[name] = _pruned(each, known, at, dropped)
        elif keep:
            kept[name] = each
        else:
            dropped.append(at)
    return kept


def _filled(value: Json, schema: Schema | None) -> Json:
    """The value with the schema's defaults."""
    if schema is None:
        return value
    if isinstance(value, list):
        return [_filled(each, schema.items) for each in value]
    if not isinstance(value, dict):
        return value
    given = {**schema.defaults, **value}
    return {name: _filled(each, schema.properties.get(name, schema.additional)) for name, each in given.items()}


def _faults(value: Json, schema: Schema, place: str, steps: Iterator[int]) -> Iterator[str]:
    if next(steps, None) is None:
        raise _UndecidedError
    if value is None and schema.nullable:
        return
    wanted = _type_fault(value, schema)
    if wanted:
        yield f"{place} must be {wanted}, is {kind_of(value)} {shown(value)}"
        return
    yield from (f"{place} must {each}, is {shown(value)}" for each in _own_faults(value, schema))
    yield from _combined(value, schema, place, steps)
    if isinstance(value, list) and schema.items:
        for index, each in enumerate(value):
            yield from _faults(each, schema.items, f"{place}[{index}]", steps)
    elif isinstance(value, dict):
        yield from (f"{place}.{name} is missing" for name in schema.required if name not in value)
        for name, each in value.items():
            inner = schema.properties.get(name, schema.additional)
            if inner:
                yield from _faults(each, inner, f"{place}.{name}", steps)


def _type_fault(value: Json, schema: Schema) -> str:
    if schema.int_or_string:
        return "" if isinstance(value, str) or _is_integer(value) else "a whole number or text"
    if not schema.type:
        return ""
    name, fits = _TYPES[schema.type]
    return "" if fits(value) else name


def _own_faults(value: Json, schema: Schema) -> Iterator[str]:
    """What is wrong with the value itself, to be put after `must`."""
    if schema.enum is not None and not any(_same(value, each) for each in schema.enum):
        yield f"be one of {', '.join(map(str, schema.enum))}"
    for keyword, limit in schema.bounds.items():
        measured, within, told = _BOUNDS[keyword]
        found = measured(value)
        if found is not None and not within(found, limit):
            yield told.format(limit)
    if schema.pattern and isinstance(value, str):
        pattern = python_pattern(schema.pattern) if len(value) <= _LONGEST_MATCHED else None
        if pattern is None:
            raise _UndecidedError
        if not pattern.search(value):
            yield f"match the pattern {schema.pattern}"


def _same(one: Json, other: Json) -> bool:
    """JSON's equality: true is not 1."""
    return isinstance(one, bool) is isinstance(other, bool) and one == other


def _combined(value: Json, schema: Schema, place: str, steps: Iterator[int]) -> Iterator[str]:
    def fits(each: Schema) -> bool:
        return next(_faults(value, each, place, steps), "") == ""

    for each in schema.all_of:
        yield from _faults(value, each, place, steps)
    if schema.any_of and not any(map(fits, schema.any_of)):
        yield f"{place} must fit one of the alternatives of its schema (anyOf), is {shown(value)}"
    if schema.one_of and sum(map(fits, schema.one_of)) != 1:
        yield f"{place} must fit exactly one of the alternatives of its schema (oneOf), is {shown(value)}"
    if any(map(fits, schema.none_of)):
        yield f"{place} must not fit what its schema excludes (not), is {shown(value)}"

"""Parameter values: what is declared, what is given, and which of it can be used.

A value that cannot be used is kept as a fault of that parameter alone: a member whose effect is Disabled does not
apply, whatever else is wrong with it.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller.azure.model import Absent, Parameter
from controller.policy.expressions import ExpressionError, parameter_names
from controller.policy.model import UnresolvedReason
from controller.policy.problem import Problem
from controller.policy.text_cache import TextCache
from controller.text import one_line
from controller.times import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from controller.jsontypes import Json


def _is_integer(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: Mapping[str, Callable[[Json], bool]] = {
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "float": _is_number,
    "datetime": lambda value: isinstance(value, str) and parse_moment(value) is not None,
}


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 3, 80, 40, 40


def kind_of(value: Json) -> str:
    """The parameter type that a value has, as Azure spells it."""
    match value:
        case None:
            return "null"
        case bool():
            return "Boolean"
        case int():
            return "Integer"
        case float():
            return "Float"
        case str():
            return "String"
        case list():
            return "Array"
        case _:
            return "Object"


@dataclass(frozen=True, slots=True)
class Declarations:
    """The parameters that a definition or initiative declares, ready to be bound: made once, used by all."""

    by_spelling: Mapping[str, Parameter]
    by_folded: Mapping[str, Parameter]
    defaults: Mapping[str, Json]
    faults: Mapping[str, str]

    @classmethod
    def of(cls, parameters: Mapping[str, Parameter]) -> Declarations:
        """Splits usable defaults from those of the wrong type."""
        defaults: dict[str, Json] = {}
        faults: dict[str, str] = {}
        for name, parameter in parameters.items():
            if isinstance(parameter.default, Absent):
                continue
            fault = _mismatch(parameter, parameter.default, "the default of ")
            if fault:
                faults[name] = fault
            else:
                defaults[name] = parameter.default
        return cls(parameters, {name.casefold(): each for name, each in parameters.items()}, defaults, faults)

    def find(self, name: str) -> Parameter | None:
        """The parameter of that name in any case."""
        return self.by_spelling.get(name) or self.by_folded.get(name.casefold())


@dataclass(frozen=True, slots=True)
class Binding:
    """Parameter values by declared name, what is wrong with those that cannot be used, and what a user should know.

    `notes` are by folded name, in its order; `ignored` names the parameters that are given and not declared, folded.
    """

    values: Mapping[str, Json]
    faults: Mapping[str, str]
    notes: Mapping[str, str]
    ignored: frozenset[str] = frozenset()

    def problem(self, error: ExpressionError, value: Json) -> Problem:
        """Why an expression in `value` failed: a parameter's fault where one is to blame.

        Only the parameters of that very expression are: the path of the error is its place.
        """
        for name in sorted(parameters_in(error.expression or value)):
            fault = self._fault_of(name)
            if fault:
                return Problem(UnresolvedReason.PARAMETER, f"{error.path}: {fault}" if error.path else fault)
        return Problem(UnresolvedReason.EXPRESSION, str(error))

    def _fault_of(self, name: str) -> str:
        folded = name.casefold()
        for known, fault in self.faults.items():
            if known.casefold() == folded:
                return fault
        if any(known.casefold() == folded for known in self.values):
            return ""
        return f"parameter '{name}' has no value: give it one in the assignment"


def bind(
    declared: Declarations,
    given: Mapping[str, Json],
    unusable: Mapping[str, str] | None = None,
) -> Binding:
    """Values for the declared parameters: what is given, else the default. Names compare case-insensitively.

    `unusable` holds faults of values that were meant to be given. A value outside allowedValues is used and noted, for
    Azure checked it when the assignment was written; a parameter that is not declared is noted and ignored.
    """
    values = dict(declared.defaults)
    faults = dict(declared.faults)
    notes: dict[str, str] = {}
    ignored: set[str] = set()
    for name, fault in (unusable or {}).items():
        known = declared.find(name)
        if known is not None:
            faults[known.name] = fault
            values.pop(known.name, None)
    for name, value in given.items():
        parameter = declared.find(name)
        if parameter is None:
            notes[name.casefold()] = f"parameter '{name}' is not declared, so its value is ignored"
            ignored.add(name.casefold())
            continue
        fault = _mismatch(parameter, value)
        if fault:
            faults[parameter.name] = fault
            values.pop(parameter.name, None)
            continue
        faults.pop(parameter.name, None)
        values[parameter.name] = value
        if not _allowed(parameter.allowed_values, value):
            notes[name.casefold()] = (
                f"parameter '{parameter.name}' has a value that is not among its allowedValues: {shown(value)}"
            )
    # Azure and a snapshot list the parameters in orders of their own.
    return Binding(values, faults, {name: one_line(notes[name]) for name in sorted(notes)}, frozenset(ignored))


def shown(value: Json) -> str:
    """A value short enough for a message."""
    return _SHORT.repr(value)


def _mismatch(parameter: Parameter, value: Json, what: str = "") -> str:
    """Why the value does not have the declared type; empty where it does."""
    fits = _TYPES.get(parameter.type)
    if fits is None:
        return f"parameter '{parameter.name}' has the type '{parameter.type}', which Azure Policy does not have"
    if fits(value):
        return ""
    return f"{what}parameter '{parameter.name}' must be of type {parameter.type}, is {kind_of(value)}: {shown(value)}"


def _allowed(allowed: tuple[Json, ...] | None, value: Json) -> bool:
    """Whether a value is allowed: of an array each element, as Microsoft's own definitions use allowedValues there."""
    if allowed is None or value in allowed:
        return True
    if isinstance(value, list):
        return all(_allowed(allowed, each) for each in value)
    # Initiatives pass `deny` where only `Deny` is allowed, and it works: effects compare case-insensitively.
    return isinstance(value, str) and value.casefold() in {each.casefold() for each in allowed if isinstance(each, str)}


@TextCache
def _names_in(text: str) -> frozenset[str]:
    try:
        return parameter_names(text)
    except ExpressionError:
        return frozenset()


def parameters_in(value: Json) -> frozenset[str]:
    """The parameters that a value's expressions refer to; none for what is no expression at all."""
    match value:
        case str():
            return _names_in(value)
        case list():
            return frozenset().union(*map(parameters_in, value))
        case dict():
            return frozenset().union(*map(parameters_in, (*value.keys(), *value.values())))
        case _:
            return frozenset()

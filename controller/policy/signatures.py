"""How a plain Python function becomes a function of expressions: its signature says what it may be called with.

So that a wrong call is the same clear error everywhere, and no function checks its arguments' number or types itself.
"""

from __future__ import annotations

import inspect
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union, get_args, get_origin

from controller.jsontypes import Json
from controller.policy.grammar import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TYPE_NAMES: Mapping[type, str] = {
    types.NoneType: "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def type_name(value: Json) -> str:
    """What a user calls the type of the value, with its article."""
    return _TYPE_NAMES.get(type(value), type(value).__name__)


@dataclass(frozen=True, slots=True)
class Function:
    """A function with what its signature says: for each argument the types it may have, None for any.

    `cost` gives the units that a call costs beyond what it is given and makes, None for none.
    """

    call: Callable[..., Json]
    kinds: tuple[frozenset[type] | None, ...]
    more: frozenset[type] | None
    least: int
    most: int | None
    cost: Callable[..., int] | None = None

    @classmethod
    def of(cls, call: Callable[..., Json], *, bound: int = 0, cost: Callable[..., int] | None = None) -> Function:
        """Read the signature; the first `bound` parameters are given by the evaluator, not by the expression."""
        parameters = list(inspect.signature(call, eval_str=True).parameters.values())[bound:]
        plain = [one for one in parameters if one.kind is not one.VAR_POSITIONAL]
        rest = [one for one in parameters if one.kind is one.VAR_POSITIONAL]
        return cls(
            call=call,
            kinds=tuple(_accepted(one.annotation) for one in plain),
            more=_accepted(rest[0].annotation) if rest else None,
            least=sum(one.default is one.empty for one in plain),
            most=None if rest else len(plain),
            cost=cost,
        )

    def kinds_of(self, count: int) -> tuple[frozenset[type] | None, ...]:
        """The accepted types of `count` arguments; ExpressionError if it does not take so many."""
        check_count(count, self.least, self.most)
        return (*self.kinds, *[self.more] * (count - len(self.kinds)))[:count]


def check_count(count: int, least: int, most: int | None) -> None:
    """ExpressionError unless `least <= count <= most`; None is no upper bound."""
    if count >= least and (most is None or count <= most):
        return
    wanted = f"{least}" if most == least else f"at least {least}" if most is None else f"{least} to {most}"
    raise ExpressionError(f"takes {wanted} argument{'' if wanted.endswith('1') else 's'}, has {count}")


def check_kind(number: int, value: Json, kinds: frozenset[type]) -> None:
    """ExpressionError unless the type of argument `number`, counted from 1, is one of `kinds`."""
    if type(value) in kinds:
        return
    names = [name for kind, name in _TYPE_NAMES.items() if kind in kinds]
    raise ExpressionError(f"argument {number} must be {' or '.join(names)}, is {type_name(value)}")


def _accepted(annotation: object) -> frozenset[type] | None:
    if annotation == Json:
        return None
    parts = get_args(annotation) if get_origin(annotation) in {types.UnionType, Union} else (annotation,)
    return frozenset(kind for part in parts if isinstance(kind := get_origin(part) or part, type))

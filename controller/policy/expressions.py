"""Evaluates ARM template expressions: what `[parameters('x')]` in a definition or an initiative's mapping stands for.

Every expression is compiled once to a closure and kept: the same few hundred texts come back for every assignment.
Nothing is guessed: a function that policy rules may not use, that only Azure can answer, or that is unknown here is an
ExpressionError that names it. Values are shared, not copied: nobody may change what comes out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias, assert_never

from controller.jsontypes import Json
from controller.policy.cost import CostBudget
from controller.policy.dotnet import ROUND_TRIP, format_moment
from controller.policy.functions import FUNCTIONS, check_size, find_key
from controller.policy.grammar import (
    Access,
    Call,
    Expression,
    ExpressionError,
    Literal,
    Step,
    is_expression,
    parse,
    shown,
)
from controller.policy.signatures import Function, check_count, check_kind, type_name
from controller.policy.text_cache import TextCache
from controller.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

__all__ = ["ExpressionError", "Scope", "evaluate", "is_expression", "parameter_names", "parse"]

_BOOLEAN = frozenset({bool})
_ESCAPED = re.compile(r"\[\[\s*[A-Za-z]\w*\s*\(")
_KEYS_SHOWN = 20
_MOST_ESCAPES = 3
_CALL_COST = 20


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may refer to. `now` is the poll's clock, with a zone; what is None cannot be asked for.

    `field` gives a field of the resource (policy rules only), `current` the element that a count looks at, by the name
    given or None for the innermost; `policy` has assignmentId, definitionId, setDefinitionId, definitionReferenceId.
    `budget` is what all evaluations in this scope may cost together.
    """

    parameters: Mapping[str, Json]
    now: datetime
    field: Callable[[str], Json] | None = None
    current: Callable[[str | None], Json] | None = None
    policy: dict[str, Json] | None = None
    request_context: dict[str, Json] | None = None
    resource_group: dict[str, Json] | None = None
    subscription: dict[str, Json] | None = None
    budget: CostBudget = dataclasses.field(default_factory=CostBudget, compare=False, repr=False)


Compiled: TypeAlias = Callable[[Scope], Json]


def evaluate(value: Json, scope: Scope, *, path: str = "") -> Json:
    """The value with every expression in it replaced, at any depth; `[[x]` becomes the text `[x]`, all else stays.

    The keys of objects are evaluated too, as ARM does in templates. What an expression yields is not evaluated again.
    ExpressionError carries the place as `path`, which starts with the one given.
    """
    try:
        return _evaluate(value, scope)
    except ExpressionError as error:
        if path:
            error.under_path(path)
        raise
    except RecursionError:
        raise ExpressionError("nested too deeply", path=path) from None


def escape_notes(value: Json, path: str) -> tuple[str, ...]:
    """Notes on the first few texts such as `[[parameters('x')]` below a path: they stay text, with one bracket less.

    ARM templates need the second bracket, so that what they deploy is not evaluated as their own:
    https://learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions#escape-characters.
    """
    return tuple(map(one_line, islice(_escapes(value, path), _MOST_ESCAPES)))


def _escapes(value: Json, path: str) -> Iterator[str]:
    match value:
        case str() as text if _ESCAPED.match(text):
            yield f"{path}: {shown(text)} is text, as [[ is an escape that only ARM templates need: write one ["
        case list():
            for index, each in enumerate(value):
                yield from _escapes(each, f"{path}[{index}]")
        case dict():
            for key, each in value.items():
                yield from _escapes(each, f"{path}.{key}")


def parameter_names(value: Json) -> frozenset[str]:
    """The parameters that expressions in the value refer to by a literal name, as spelled; errors as `parse`."""
    names: set[str] = set()
    pending: list[Json] = [value]
    while pending:
        match pending.pop():
            case str() as text if is_expression(text):
                names |= _names_in_text(text)
            case list() as items:
                pending += items
            case dict() as container:
                pending += [*container.keys(), *container.values()]
            case _:
                pass
    return frozenset(names)


def _evaluate(value: Json, scope: Scope) -> Json:
    if isinstance(value, str):
        return _text(value, scope) if value[:1] == "[" and value[-1:] == "]" else value
    if isinstance(value, dict):
        return _object(value, scope)
    if isinstance(value, list):
        return _list(value, scope)
    return value


def _text(text: str, scope: Scope) -> Json:
    if text[1:2] == "[":
        return text[1:]
    try:
        scope.budget.spend(len(text))
        return _compiled(text)(scope)
    except ExpressionError as error:
        error.locate(expression=text)
        raise


def _object(container: dict[str, Json], scope: Scope) -> Json:
    scope.budget.spend(len(container))
    result: dict[str, Json] = {}
    for key, item in container.items():
        try:
            name = key if key[:1] != "[" else _key(key, scope, taken=(container, result))
            result[name] = _evaluate(item, scope)
        except ExpressionError as error:
            error.under(key)
            raise
    return result


def _key(key: str, scope: Scope, *, taken: tuple[Mapping[str, Json], ...]) -> str:
    name = _evaluate(key, scope)
    if not isinstance(name, str):
        raise ExpressionError(f"a key must be a string, is {type_name(name)}")
    if name != key and any(name in container for container in taken):
        raise ExpressionError(f"the key '{shown(name)}' appears twice")
    return name


def _list(items: list[Json], scope: Scope) -> Json:
    scope.budget.spend(len(items))
    result: list[Json] = []
    for index, item in enumerate(items):
        try:
            result.append(_evaluate(item, scope))
        except ExpressionError as error:
            error.under(index)
            raise
    return result


@TextCache
def _names_in_text(text: str) -> frozenset[str]:
    return frozenset(_names(parse(text)))


def _names(expression: Expression) -> set[str]:
    match expression:
        case Literal():
            return set()
        case Call(name, (Literal(str() as parameter),)) if name.lower() == "parameters":
            return {parameter}
        case Call(_, arguments):
            return set().union(*map(_names, arguments))
        case Access(target, steps):
            return _names(target).union(*(_names(step.key) for step in steps))
        case _:
            assert_never(expression)


# From the syntax tree to closures.


@TextCache
def _compiled(text: str) -> Compiled:
    return _compile(parse(text))


def _compile(expression: Expression) -> Compiled:
    match expression:
        case Literal(value):
            return lambda _: value
        case Call():
            return _compile_call(expression)
        case Access():
            return _compile_access(expression)
        case _:
            assert_never(expression)


def _compile_call(call: Call) -> Compiled:
    match call:
        case Call(name, (Literal(str() as parameter),)) if name.lower() == "parameters":
            return _parameter_reader(parameter, call)
        case _:
            try:
                return _known_call(call, call.name.lower())
            except ExpressionError as error:
                raise _Site(call).blame(error) from error.__cause__


def _known_call(call: Call, name: str) -> Compiled:
    if name in _LAZY:
        lazy = _LAZY[name]
        check_count(len(call.arguments), lazy.least, lazy.most)
        return lazy.build(_Site(call), [_compile(argument) for argument in call.arguments])
    if name in _SCOPED:
        return _caller(call, _SCOPED[name], scoped=True)
    if name in FUNCTIONS:
        return _caller(call, FUNCTIONS[name], scoped=False)
    raise ExpressionError(_why_not(name))


@dataclass(frozen=True, slots=True)
class _Site:
    """Where a function is called, to say so in its errors."""

    call: Call

    def blame(self, error: ExpressionError) -> ExpressionError:
        """The error, with the function's name and place if it is this call's own and not an argument's."""
        if not error.position:
            error = ExpressionError(f"{self.call.name}(): {error.reason}", path=error.path)
            error.locate(position=self.call.position)
        return error


def _parameter_reader(name: str, call: Call) -> Compiled:
    """The commonest expression by far gets a closure of its own."""

    def read(scope: Scope) -> Json:
        try:
            value = scope.parameters[name]
        except KeyError:
            value = _other_spelling(scope, name, call)
        try:
            scope.budget.read(value)
        except ExpressionError as error:
            raise _Site(call).blame(error) from None
        return value

    return read


def _other_spelling(scope: Scope, name: str, call: Call) -> Json:
    key = find_key(scope.parameters, name)
    if key is None:
        raise ExpressionError(f"parameter '{shown(name)}' has no value", position=call.position)
    return scope.parameters[key]


def _caller(call: Call, function: Function, *, scoped: bool) -> Compiled:
    kinds = function.kinds_of(len(call.arguments))
    arguments = [_compile(argument) for argument in call.arguments]
    checks = [(number, index, kind) for number, (index, kind) in enumerate(enumerate(kinds), 1) if kind is not None]

    def run(scope: Scope) -> Json:
        values = [argument(scope) for argument in arguments]
        try:
            for number, index, kind in checks:
                if type(values[index]) not in kind:
                    check_kind(number, values[index], kind)
            scope.budget.spend(_CALL_COST if function.cost is None else _CALL_COST + function.cost(*values))
            result = function.call(scope, *values) if scoped else function.call(*values)
            if isinstance(result, str):
                check_size(len(result))
            scope.budget.make(result)
        except ExpressionError as error:
            raise _Site(call).blame(error) from error.__cause__
        return result

    return run


def _compile_access(access: Access) -> Compiled:
    target = _compile(access.target)
    steps = [(step, _compile(step.key)) for step in access.steps]

    def run(scope: Scope) -> Json:
        value = target(scope)
        for step, key in steps:
            try:
                value = _step(value, key(scope), step)
            except ExpressionError as error:
                error.locate(position=step.position)
                raise
            if value is None and step.safe:
                return None
        return value

    return run


def _step(value: Json, key: Json, step: Step) -> Json:
    match value, key:
        case None, _ if step.safe:
            return None
        case dict(), str():
            name = find_key(value, key)
            if name is not None:
                return value[name]
            if step.safe:
                return None
            has = ", ".join(map(shown, islice(value, _KEYS_SHOWN))) or "none"
            raise ExpressionError(f"there is no property '{shown(key)}'; there is: {has}")
        case list(), int() if type(key) is int:
            if 0 <= key < len(value):
                return value[key]
            if step.safe:
                return None
            raise ExpressionError(f"index {key} is outside the array, which has length {len(value)}")
        case _:
            wanted = f"property '{shown(key)}'" if isinstance(key, str) else f"index {key}"
            raise ExpressionError(f"{type_name(value)} has no {wanted}")


# Functions that do not evaluate all their arguments: only the branch taken, and up to the first that decides.


@dataclass(frozen=True, slots=True)
class _Lazy:
    build: Callable[[_Site, list[Compiled]], Compiled]
    least: int
    most: int | None


def _boolean(site: _Site, number: int, value: Json) -> bool:
    try:
        check_kind(number, value, _BOOLEAN)
    except ExpressionError as error:
        raise site.blame(error) from None
    return value is True


def _build_if(site: _Site, arguments: list[Compiled]) -> Compiled:
    condition, then, otherwise = arguments
    return lambda scope: then(scope) if _boolean(site, 1, condition(scope)) else otherwise(scope)


def _build_and(site: _Site, arguments: list[Compiled]) -> Compiled:
    return lambda scope: all(_boolean(site, number, one(scope)) for number, one in enumerate(arguments, 1))


def _build_or(site: _Site, arguments: list[Compiled]) -> Compiled:
    return lambda scope: any(_boolean(site, number, one(scope)) for number, one in enumerate(arguments, 1))


def _build_coalesce(_: _Site, arguments: list[Compiled]) -> Compiled:
    return lambda scope: next((value for one in arguments if (value := one(scope)) is not None), None)


_LAZY: Mapping[str, _Lazy] = {
    "if": _Lazy(_build_if, 3, 3),
    "and": _Lazy(_build_and, 2, None),
    "or": _Lazy(_build_or, 2, None),
    "coalesce": _Lazy(_build_coalesce, 1, None),
}


# Functions that read the scope.


def _parameters(scope: Scope, name: str) -> Json:
    key = find_key(scope.parameters, name)
    if key is None:
        raise ExpressionError(f"finds no value for parameter '{shown(name)}'")
    return scope.parameters[key]


def _field(scope: Scope, name: str) -> Json:
    if scope.field is None:
        raise ExpressionError("has no resource here; it belongs in the 'if' of a policy rule")
    return scope.field(name)


def _current(scope: Scope, name: str | None = None) -> Json:
    if scope.current is None:
        raise ExpressionError("belongs in the 'where' of a count")
    return scope.current(name)


def _utc_now(scope: Scope, pattern: str = ROUND_TRIP) -> str:
    """The poll's moment; without a pattern in the policies' own format, which is not that of ARM templates."""
    return format_moment(scope.now, pattern)


_NOT_READ = (
    "has no value here, for its document was not read: let the account read it, or export again; a declared cluster "
    "has what its scope names"
)


def _given(value: dict[str, Json] | None, otherwise: str = "can only be evaluated in Azure") -> Json:
    if value is None:
        raise ExpressionError(otherwise)
    return value


def _policy(scope: Scope) -> Json:
    return _given(scope.policy)


def _request_context(scope: Scope) -> Json:
    return _given(scope.request_context)


def _resource_group(scope: Scope) -> Json:
    return _given(scope.resource_group, _NOT_READ)


def _subscription(scope: Scope) -> Json:
    return _given(scope.subscription, _NOT_READ)


_SCOPE_TABLE: Mapping[str, Callable[..., Json]] = {
    "current": _current,
    "field": _field,
    "parameters": _parameters,
    "policy": _policy,
    "requestContext": _request_context,
    "resourceGroup": _resource_group,
    "subscription": _subscription,
    "utcNow": _utc_now,
}
_SCOPED: Mapping[str, Function] = {name.lower(): Function.of(call, bound=1) for name, call in _SCOPE_TABLE.items()}


# Functions that are refused, and why (the list of the forbidden: Azure's page on the structure of policy rules).

_FORBIDDEN = frozenset({
    "copyindex",
    "datetimeadd",
    "datetimefromepoch",
    "datetimetoepoch",
    "deployment",
    "environment",
    "extensionresourceid",
    "lambda",
    "managementgroup",
    "newguid",
    "pickzones",
    "providers",
    "reference",
    "resourceid",
    "subscriptionresourceid",
    "tenant",
    "tenantresourceid",
    "variables",
})  # fmt: skip
_TAKES_LAMBDA = frozenset({"filter", "groupby", "lambdavariables", "map", "mapvalues", "reduce", "sort", "toobject"})
# guid and uniqueString among them: how they are made is described, and no published value is there to check it with.
_ONLY_AZURE = frozenset(
    {
        "guid",
        "managementgroupresourceid",
        "tophysicalzone",
        "tophysicalzones",
        "tologicalzone",
        "tologicalzones",
        "uniquestring",
    }
)


def _why_not(name: str) -> str:
    if name in _FORBIDDEN or name.startswith("list"):
        return "may not be used in policy rules"
    if name in _TAKES_LAMBDA:
        return "needs lambda(), which may not be used in policy rules"
    if name in _ONLY_AZURE:
        return "can only be evaluated by Azure"
    return "is not a function that azpolicy knows"

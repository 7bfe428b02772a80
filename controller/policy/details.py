"""The `details` of a rule in mode Microsoft.Kubernetes.Data: which template or mutation, and what it looks at.

The shapes are Azure's: https://learn.microsoft.com/azure/governance/policy/concepts/effect-audit, effect-deny and
effect-mutate. What cannot be understood is a Problem that names the place: a key left out would make a policy stricter
or looser than meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from controller.policy.expressions import ExpressionError, Scope, evaluate
from controller.policy.model import (
    Base64Content,
    DocumentSource,
    Match,
    MutationPolicy,
    PublicUrl,
    TemplatePolicy,
    UnresolvedReason,
)
from controller.policy.parameters import Binding, kind_of, parameters_in, shown
from controller.policy.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from controller.jsontypes import Json

PLACE: Final = "policyRule.then.details"

_SOURCES: Final = {name.casefold(): name for name in ("All", "Generated", "Original")}
_SCOPES: Final = {name.casefold(): name for name in ("*", "Cluster", "Namespaced")}
# With which operators values are listed.
_OPERATORS: Final = {"DoesNotExist": False, "Exists": False, "In": True, "NotIn": True}
_LABEL_NAME: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY: Final = re.compile(rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_LABEL_NAME}")
_LABEL_VALUE: Final = re.compile(rf"({_LABEL_NAME})?")


def _wrong(place: str, what: str, value: Json) -> Problem:
    return Problem(UnresolvedReason.DETAILS, f"{place} must be {what}, is {kind_of(value)} {shown(value)}")


def _texts(value: Json, place: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _wrong(place, "a list of strings", value)
    texts = tuple(item for item in value if isinstance(item, str))
    if len(texts) < len(value):
        index, item = next((index, item) for index, item in enumerate(value) if not isinstance(item, str))
        raise _wrong(f"{place}[{index}]", "a string", item)
    return texts


def _named_kinds(value: Json, place: str) -> tuple[str, ...]:
    """API groups and kinds: Azure refuses `*` with a template, and none at all would match everything."""
    names = _texts(value, place)
    if not names or "*" in names:
        raise Problem(UnresolvedReason.DETAILS, f"{place} must name each one, is {shown(value)}")
    return names


def _boolean(value: Json, place: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(place, "true or false", value)
    return value


def _one_of(choices: Mapping[str, str], value: Json, place: str) -> str:
    found = choices.get(value.casefold()) if isinstance(value, str) else None
    if found is None:
        raise _wrong(place, f"one of {', '.join(choices.values())}", value)
    return found


def _object(value: Json, place: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise _wrong(place, "an object", value)
    return value


def _url(value: Json, place: str) -> PublicUrl:
    if not isinstance(value, str) or not value:
        raise _wrong(place, "a URL", value)
    return PublicUrl(value)


def _document(value: Json, place: str) -> DocumentSource:
    """`{sourceType: PublicURL, url}` or `{sourceType: Base64Encoded, content}`."""
    info = {key.casefold(): item for key, item in _object(value, place).items()}
    source = info.get("sourcetype")
    match source.casefold() if isinstance(source, str) else None:
        case "publicurl":
            return _url(info.get("url"), f"{place}.url")
        case "base64encoded":
            content = info.get("content")
            if not isinstance(content, str) or not content:
                raise _wrong(f"{place}.content", "Base64 text", content)
            return Base64Content(content)
        case _:
            raise _wrong(f"{place}.sourceType", "PublicURL or Base64Encoded", source)


def label_selector(value: Json, place: str) -> dict[str, Json] | None:
    """A label selector that Kubernetes takes, None where it is empty; a Problem names the place that is wrong."""
    selector = _object(value, place)
    for key, item in selector.items():
        match key:
            case "matchLabels":
                _match_labels(item, f"{place}.matchLabels")
            case "matchExpressions":
                _match_expressions(item, f"{place}.matchExpressions")
            case _:
                raise Problem(UnresolvedReason.DETAILS, f"{place}.{key} is not part of a label selector")
    return selector or None


def _match_labels(value: Json, place: str) -> None:
    for name, label in _object(value, place).items():
        _label(_LABEL_KEY, "a label's key", name, place)
        _label(_LABEL_VALUE, "a label's value", label, f"{place}.{name}")


def _match_expressions(value: Json, place: str) -> None:
    if not isinstance(value, list):
        raise _wrong(place, "a list", value)
    for index, item in enumerate(value):
        at = f"{place}[{index}]"
        expression = _object(item, at)
        _label(_LABEL_KEY, "a label's key", expression.get("key"), f"{at}.key")
        operator, values = expression.get("operator"), expression.get("values")
        if not isinstance(operator, str) or operator not in _OPERATORS:
            raise _wrong(f"{at}.operator", f"one of {', '.join(_OPERATORS)}", operator)
        if bool(values) is not _OPERATORS[operator]:
            raise _wrong(f"{at}.values", f"{'given' if _OPERATORS[operator] else 'empty'} with {operator}", values)
        for label in _texts(values or [], f"{at}.values"):
            _label(_LABEL_VALUE, "a label's value", label, f"{at}.values")


def _label(pattern: re.Pattern[str], what: str, value: Json, place: str) -> None:
    """An invalid label would be refused only when the constraint is written, and that error names no origin."""
    if not isinstance(value, str):
        raise _wrong(place, "a string", value)
    if not pattern.fullmatch(value):
        raise _wrong(place, what, value)


_KEYS: Final[Mapping[str, tuple[str, Callable[[Json, str], object]]]] = {
    name.casefold(): (name, convert)
    for name, convert in (
        ("apiGroups", _named_kinds),
        ("constraint", _url),
        ("constraintInfo", _document),
        ("constraintTemplate", _url),
        ("excludedNamespaces", _texts),
        ("kinds", _named_kinds),
        ("labelSelector", label_selector),
        ("mutationInfo", _document),
        ("namespaces", _texts),
        ("scope", partial(_one_of, _SCOPES)),
        ("source", partial(_one_of, _SOURCES)),
        ("templateInfo", _document),
        ("values", _object),
        ("warn", _boolean),
    )
}

# Which keys each form must have, and which it must not have in addition.
_FORMS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "templateInfo": (frozenset({"apiGroups", "kinds"}), frozenset({"constraint"})),
    "constraintInfo": (frozenset({"templateInfo"}), frozenset({"constraint", "apiGroups", "kinds"})),
    "constraintTemplate": (frozenset({"constraint"}), frozenset({"constraintInfo"})),
    "mutationInfo": (frozenset(), frozenset({"constraint", "constraintInfo", "apiGroups", "kinds", "values"})),
}
_LEADING: Final = ("templateInfo", "constraintTemplate", "mutationInfo")

_OPEN: Final = object()


@dataclass(frozen=True, slots=True)
class _Part:
    """One key of the details; `fixed` is its value where no expression is in it, worked out once for all members."""

    raw: Json
    place: str
    convert: Callable[[Json, str], object]
    fixed: object

    @classmethod
    def of(cls, raw: Json, place: str, convert: Callable[[Json, str], object]) -> _Part:
        if has_expression(raw):
            return cls(raw, place, convert, _OPEN)
        return cls(raw, place, convert, convert(raw, place))

    def read(self, scope: Scope, binding: Binding) -> object:
        if self.fixed is not _OPEN:
            return self.fixed
        try:
            value = evaluate(self.raw, scope, path=self.place)
        except ExpressionError as error:
            raise binding.problem(error, self.raw) from error
        return None if value is None else self.convert(value, self.place)


def has_expression(value: Json) -> bool:
    """Whether evaluating the value may change it."""
    if isinstance(value, str):
        return value[:1] == "["
    if isinstance(value, list):
        return any(map(has_expression, value))
    if isinstance(value, dict):
        return any(map(has_expression, value)) or any(map(has_expression, value.values()))
    return False


@dataclass(frozen=True, slots=True)
class Details:
    """A definition's details, checked for their shape; what parameters decide is read for each member.

    `origins` are the parameters that a key of the details, or of its values, is made of, as `values.cpuLimit` of
    `cpuLimit`.
    """

    form: str
    parts: Mapping[str, _Part]
    origins: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, details: Json) -> Details:
        """Checks the shape; a Problem says what is wrong with it."""
        given: dict[str, Json] = {}
        for key, value in _object(details, PLACE).items():
            known = _KEYS.get(key.casefold())
            if known is None:
                raise Problem(UnresolvedReason.DETAILS, f"{PLACE}.{key} is not known to azpolicy")
            if known[0] in given:
                raise Problem(UnresolvedReason.DETAILS, f"{PLACE}.{key} appears twice; Azure ignores case")
            if value is not None:
                given[known[0]] = value
        form = _form(given)
        parts = {name: _Part.of(value, f"{PLACE}.{name}", _KEYS[name.casefold()][1]) for name, value in given.items()}
        return cls(form, parts, _origins(given))

    @property
    def mutates(self) -> bool:
        """Whether this is a mutation, not a template."""
        return self.form == "mutationInfo"

    def match(self, scope: Scope, binding: Binding) -> Match:
        """What the policy looks at."""
        read = partial(self._read, scope, binding)
        kinds = partial(self._needed, scope, binding) if self.form == "templateInfo" else read
        return Match(
            api_groups=kinds("apiGroups") or (),
            kinds=kinds("kinds") or (),
            namespaces=read("namespaces") or (),
            excluded_namespaces=read("excludedNamespaces") or (),
            label_selector=read("labelSelector"),
            source=read("source"),
            scope=read("scope"),
        )

    def policy(self, scope: Scope, binding: Binding) -> TemplatePolicy | MutationPolicy:
        """The documents that do it, and the values for them."""
        read = partial(self._read, scope, binding)
        if self.mutates:
            return MutationPolicy(self._needed(scope, binding, "mutationInfo"))
        legacy = self.form == "constraintTemplate"
        return TemplatePolicy(
            template=self._needed(scope, binding, self.form if legacy else "templateInfo"),
            values=read("values") or {},
            constraint=read("constraint" if legacy else "constraintInfo"),
            legacy=legacy,
        )

    def warns(self, scope: Scope, binding: Binding) -> bool:
        """Whether audit should warn as well."""
        return bool(self._read(scope, binding, "warn"))

    # The converter in _KEYS says what a part yields; its type cannot follow a name in a table.
    def _read(self, scope: Scope, binding: Binding, name: str) -> Any:
        part = self.parts.get(name)
        return None if part is None else part.read(scope, binding)

    def _needed(self, scope: Scope, binding: Binding, name: str) -> Any:
        found = self._read(scope, binding, name)
        if found is None:
            raise _wrong(f"{PLACE}.{name}", "given", None)
        return found


def _origins(given: Mapping[str, Json]) -> dict[str, str]:
    values = given.get("values")
    inner = {f"values.{key}": raw for key, raw in values.items()} if isinstance(values, dict) else {}
    named = {key: parameters_in(raw) for key, raw in {**given, **inner}.items() if key != "values" or not inner}
    return {key: ", ".join(sorted(names)) for key, names in named.items() if names}


def _form(given: Mapping[str, Json]) -> str:
    leading = [name for name in _LEADING if name in given]
    if len(leading) != 1:
        found = " and ".join(leading) or "none of them"
        raise Problem(UnresolvedReason.DETAILS, f"{PLACE} must have one of {', '.join(_LEADING)}, has {found}")
    form = "constraintInfo" if leading == ["templateInfo"] and "constraintInfo" in given else leading[0]
    needed, refused = _FORMS[form]
    for name in sorted(needed - given.keys()):
        raise Problem(UnresolvedReason.DETAILS, f"{PLACE}.{name} is missing; {form} needs it")
    for name in sorted(refused & given.keys()):
        raise Problem(UnresolvedReason.DETAILS, f"{PLACE}.{name} cannot be combined with {form}")
    return form

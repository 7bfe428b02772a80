"""Gatekeeper's webhook configurations, judged by what they say: would the API server ask about what policies look at?

Pure. What is normal is what Gatekeeper's own manifest and chart have:
https://open-policy-agent.github.io/gatekeeper/website/docs/customize-admission
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from controller.cluster.foreign import mapping_at, mappings_at, text_at, texts_at, value_at, whole_at
from controller.gatekeeper.builtin_kinds import is_namespaced, kinds_in, plural
from controller.gatekeeper.label_selectors import contradiction, narrowing, requirements
from controller.gatekeeper.match_notes import NAMESPACE_NAME
from controller.gatekeeper.model import Role, digest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from controller.gatekeeper.model import DesiredObject

OPERATIONS: Final = ("CREATE", "UPDATE")
_ANY: Final = "*"
_EVERYTHING: Final = frozenset({(_ANY, _ANY)})
_SHOWN: Final = 5
_DEFAULT_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Webhook:
    """One that has to be in a configuration, the path that it calls, and what does not happen without it.

    `besides` are subresources of kinds whose updates have to be asked about, too.
    """

    name: str
    path: str
    loss: str
    besides: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)


# An ephemeral container comes into a pod by an update of that subresource, and by nothing else. In the manifest of
# Gatekeeper the rules of its validation have it, and those of its mutation do not.
VALIDATION: Final = Webhook(
    "validation.gatekeeper.sh", "/v1/admit", "is denied", {("", "Pod"): ("pods/ephemeralcontainers",)}
)
MUTATION: Final = Webhook("mutation.gatekeeper.sh", "/v1/mutate", "is mutated")


@dataclass(frozen=True, slots=True)
class Judged:
    """What a configuration comes to.

    `defects`: nothing, or less than it must, is asked. `uncovered`: operations on kinds that no rule covers. `facts`
    are worth knowing and no fault. `selector` is the namespaceSelector, None where it selects every namespace.
    """

    defects: tuple[str, ...] = ()
    uncovered: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    selector: Mapping[str, Any] | None = None

    @property
    def faults(self) -> frozenset[str]:
        """Each fault by itself, to be compared with those of another configuration."""
        return frozenset((*self.defects, *self.uncovered))

    def problem(self, configuration: str, hook: Webhook) -> str:
        """All faults in one line that says what to do; empty where there is none."""
        told = list(self.defects)
        if self.uncovered:
            more = f" and {len(self.uncovered) - _SHOWN} more" if len(self.uncovered) > _SHOWN else ""
            told.append(
                f"the rules of {hook.name} do not cover {', '.join(self.uncovered[:_SHOWN])}{more}, which policies "
                "look at"
            )
        if not told:
            return ""
        return f"{configuration}: {'; '.join(told)}; install Gatekeeper's manifest or chart again, or correct it"


def content(configuration: Mapping[str, Any]) -> str:
    """A digest of what a configuration has the API server do; its metadata is not in it."""
    return digest(mappings_at(configuration, "webhooks"))


def admitted_kinds(objects: Iterable[DesiredObject]) -> frozenset[tuple[str, str]]:
    """Groups and kinds that constraints look at when objects are admitted; audits alone need no webhook.

    With those that expansion makes pods of. One that names no kinds looks at all: they are `*`, in the group `*`.
    """
    found: set[tuple[str, str]] = set()
    for each in objects:
        spec = each.manifest["spec"]
        if each.role is Role.EXPANSION:
            found |= kinds_in(mappings_at(spec, "applyTo"), groups="groups")
        elif each.role is Role.CONSTRAINT and text_at(spec, "enforcementAction", default="deny") != "dryrun":
            found |= kinds_in(mappings_at(spec, "match", "kinds")) or _EVERYTHING
    return frozenset(found)


def mutated_kinds(objects: Iterable[DesiredObject]) -> frozenset[tuple[str, str]]:
    """Groups and kinds that mutators change."""
    specs = [each.manifest["spec"] for each in objects if each.role is Role.MUTATOR]
    return frozenset().union(
        *(
            kinds_in(mappings_at(spec, "applyTo"), groups="groups")
            or kinds_in(mappings_at(spec, "match", "kinds"))
            or _EVERYTHING
            for spec in specs
        )
    )


def judge(configuration: Mapping[str, Any], hook: Webhook, kinds: Collection[tuple[str, str]] = ()) -> Judged:
    """Judges a configuration that holds anything; without `kinds`, its rules need only be for something."""
    found = [each for each in mappings_at(configuration, "webhooks") if each.get("name") == hook.name]
    if not found:
        return Judged((f"it has no webhook {hook.name}, so nothing {hook.loss}",))
    (webhook, *_) = found
    rules = mappings_at(webhook, "rules")
    unasked = [each for each in OPERATIONS if not any(_has(rule, "operations", each) for rule in rules)]
    defects = [f"no rule of {hook.name} is for {each}" for each in unasked]
    uncovered = () if len(unasked) == len(OPERATIONS) else tuple(_uncovered(rules, kinds, hook))
    return Judged((*defects, *_defects(webhook, hook)), uncovered, tuple(_facts(webhook, hook)), _selector(webhook))


def _selector(webhook: Mapping[str, Any]) -> Mapping[str, Any] | None:
    selector = mapping_at(webhook, "namespaceSelector")
    return selector if requirements(selector) else None


def _defects(webhook: Mapping[str, Any], hook: Webhook) -> Iterator[str]:
    client = mapping_at(webhook, "clientConfig")
    called = text_at(client, "service", "path") or _path_of(text_at(client, "url"))
    if called.rstrip("/") != hook.path:
        yield f"{hook.name} calls {called or 'no path'} instead of {hook.path}, so nothing {hook.loss}"
    always = {"namespaceSelector": frozenset({NAMESPACE_NAME}), "objectSelector": frozenset[str]()}
    for name, known in always.items():
        if why := contradiction(webhook.get(name), always=known):
            yield f"the {name} of {hook.name} selects nothing: {why}"
    if asked := narrowing(webhook.get("objectSelector")):
        yield f"the objectSelector of {hook.name} leaves out every object without {', '.join(asked)}"


def _path_of(url: str) -> str:
    """The path of a URL, empty where it is none."""
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _facts(webhook: Mapping[str, Any], hook: Webhook) -> Iterator[str]:
    """What an administrator may want, and a reader of the status has to know."""
    policy = text_at(webhook, "failurePolicy", default="Fail")
    means = {"Ignore": "requests pass", "Fail": "requests are refused"}.get(policy, "the API server decides")
    seconds = whole_at(webhook, "timeoutSeconds", default=_DEFAULT_SECONDS)
    yield f"{hook.name} has failurePolicy {policy}: {means} while it does not answer within {seconds} s"
    if asked := narrowing(webhook.get("namespaceSelector")):
        yield f"its namespaceSelector leaves out every namespace without {', '.join(asked)}"
    if left_out := [str(each) for each in requirements(webhook.get("objectSelector"))]:
        yield f"its objectSelector is {', '.join(left_out)}"
    if conditions := [text_at(each, "name") for each in mappings_at(webhook, "matchConditions")]:
        yield f"its matchConditions may leave requests out: {', '.join(conditions)}"


def _uncovered(rules: list[Mapping[str, Any]], kinds: Collection[tuple[str, str]], hook: Webhook) -> Iterator[str]:
    for group, kind in sorted(kinds):
        missing = [
            operation for operation in OPERATIONS if not any(_covers(rule, operation, group, kind) for rule in rules)
        ]
        name = "every kind" if kind == _ANY else f"{kind}.{group}" if group else kind
        yield from (f"{operation} of {name}" for operation in missing)
        for resource in hook.besides.get((group, kind), ()):
            if not any(_covers_resource(rule, "UPDATE", group, resource) for rule in rules):
                yield f"UPDATE of {resource}"


def _covers(rule: Mapping[str, Any], operation: str, group: str, kind: str) -> bool:
    namespaced = is_namespaced(group, kind)
    scope = text_at(rule, "scope", default=_ANY)
    fits = scope == _ANY or (kind != _ANY and namespaced in (None, scope == "Namespaced"))
    return fits and _covers_resource(rule, operation, group, _ANY if kind == _ANY else plural(kind))


def _covers_resource(rule: Mapping[str, Any], operation: str, group: str, resource: str) -> bool:
    """Whether a rule is for an operation on a resource; `*` is every resource, `*/*` every subresource, too."""
    main, _, sub = resource.partition("/")
    fitting = {resource, "*/*", *((f"*/{sub}", f"{main}/*") if sub else (_ANY,))}
    return (
        _has(rule, "operations", operation)
        and _has(rule, "apiGroups", group)
        and bool(texts_at(rule, "apiVersions"))
        and not fitting.isdisjoint(texts_at(rule, "resources"))
    )


def _has(rule: Mapping[str, Any], field: str, value: str) -> bool:
    listed = texts_at(rule, field)
    return value in listed or _ANY in listed


def without_namespaces(selector: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A namespace selector that leaves out namespaces besides."""
    named = {"key": NAMESPACE_NAME, "operator": "NotIn", "values": sorted(names)}
    return {**selector, "matchExpressions": [*(value_at(selector, "matchExpressions") or ()), named]}

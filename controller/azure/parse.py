"""ARM documents to types: the one place that knows how Azure spells its things.

A resource that is ours but malformed becomes `Unreadable`: what depends on it is Unresolved, the rest goes on. Both
forms are read, ARM's own with `properties` and the flat one that the Azure CLI prints. A null property is as if absent.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from controller.azure.declared import declared_in, declared_of
from controller.azure.model import (
    ABSENT,
    CLUSTER_TYPES,
    MANAGEMENT_GROUPS,
    Absent,
    Assignment,
    AzureState,
    ClusterResource,
    Container,
    DefinitionReference,
    EnforcementMode,
    Enrollment,
    Entity,
    Exemption,
    Initiative,
    Override,
    Parameter,
    PolicyDefinition,
    ResourceSelector,
    Selector,
    Unreadable,
    Version,
    contains,
    fold,
)
from controller.errors import InputError
from controller.text import one_line
from controller.times import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from controller.jsontypes import Json

T = TypeVar("T")
V = TypeVar("V", PolicyDefinition, Initiative)

Resource: TypeAlias = (
    Assignment
    | PolicyDefinition
    | Initiative
    | Exemption
    | Enrollment
    | ClusterResource
    | Entity
    | Container
    | Unreadable
)
Located: TypeAlias = tuple[str, Resource]

DEEPEST_DOCUMENT: Final = 100

_AUTHORIZATION: Final = "microsoft.authorization/"
_DEFINITION: Final = f"{_AUTHORIZATION}policydefinitions"
_INITIATIVE: Final = f"{_AUTHORIZATION}policysetdefinitions"
_CLUSTER_TYPES: Final = {name.casefold(): name for name in CLUSTER_TYPES}
_CONTAINER_TYPES: Final = frozenset({"microsoft.resources/subscriptions", "microsoft.resources/resourcegroups"})
_CLUSTER_ID: Final = re.compile(
    r"/subscriptions/[^/]+/resourcegroups/[^/]+/providers/(?P<type>[^/]+/[^/]+)/(?P<name>[^/]+)", re.IGNORECASE
)
_CONTAINER_ID: Final = re.compile(r"/subscriptions/[^/]+(/resourcegroups/[^/]+)?", re.IGNORECASE)
_PROVIDERS: Final = re.compile("/providers/", re.IGNORECASE)
_VERSION_OF: Final = re.compile(r"(?P<head>.+)/versions/[^/]+/?", re.IGNORECASE | re.DOTALL)


class _Malformed(Exception):  # noqa: N818 - becomes an Unreadable, never leaves this module
    """A document does not have the shape it must have; `str()` names the JSON path, what it must be and what it is."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A JSON object on its way into a type, with the path that messages name."""

    value: Mapping[str, Json]
    path: str

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def raw(self, key: str) -> Json:
        """The value under the key, None where absent."""
        return self.value.get(key)

    def text(self, key: str, default: str = "") -> str:
        """A string, or the default where absent."""
        value = self.value.get(key)
        return default if value is None else _string(value, self._at(key))

    def required(self, key: str) -> str:
        """A string that must be there and not be empty."""
        value = self.text(key)
        if not value:
            raise _Malformed(f"{self._at(key)} is missing")
        return value

    def number(self, key: str) -> float | None:
        """A number, None where absent."""
        value = self.value.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise _Malformed(f"{self._at(key)} must be a number, is {_kind(value)}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings, empty where absent."""
        return tuple(_string(item, f"{self._at(key)}[{index}]") for index, item in enumerate(self._list(key)))

    def node(self, key: str) -> _Node:
        """An object, empty where absent."""
        value = self.value.get(key)
        return _Node({} if value is None else _object(value, self._at(key)), self._at(key))

    def nodes(self, key: str) -> list[_Node]:
        """A list of objects, empty where absent."""
        places = ((f"{self._at(key)}[{index}]", item) for index, item in enumerate(self._list(key)))
        return [_Node(_object(item, place), place) for place, item in places]

    def children(self) -> Iterable[tuple[str, _Node]]:
        """An object's members. Each must be an object; names that differ only in case are refused."""
        seen: dict[str, str] = {}
        for name, value in self.value.items():
            if seen.setdefault(name.casefold(), name) != name:
                raise _Malformed(f"{self.path} has both '{seen[name.casefold()]}' and '{name}', Azure ignores case")
            yield name, _Node(_object(value, self._at(name)), self._at(name))

    def _list(self, key: str) -> list[Json]:
        value = self.value.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise _Malformed(f"{self._at(key)} must be a list, is {_kind(value)}")
        return value


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def _string(value: Json, path: str) -> str:
    if not isinstance(value, str):
        raise _Malformed(f"{path} must be a string, is {_kind(value)}")
    return value


def _object(value: Json, path: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise _Malformed(f"{path} must be an object, is {_kind(value)}")
    return value


def parse_resource(document: Mapping[str, Json], place: str) -> Resource | None:
    """The typed resource, `Unreadable` where it is ours but malformed, None for a type that is not ours.

    `place` says where the document is from, for messages. InputError where its kind is not known: no type and
    no id, or a type of ours without an id.
    """
    fault = _unusable(document)
    resource_id, resource_type = document.get("id"), document.get("type")
    if not isinstance(resource_id, str | None) or not isinstance(resource_type, str | None):
        raise InputError(f"{place}: 'id' and 'type' must be strings")
    if not resource_id and not resource_type:
        raise InputError(f"{place}: this is not an ARM resource: it has neither 'id' nor 'type'")
    kind = (resource_type or type_of(resource_id or "")).casefold()
    parser = _PARSERS.get(kind)
    if parser is None and kind not in _CLUSTER_TYPES and kind not in _CONTAINER_TYPES:
        return None
    if kind in _CLUSTER_TYPES and not resource_id and not fault:
        return declared_in(document, place)
    if not resource_id or not resource_id.startswith("/"):
        raise InputError(f"{place}: {kind} needs its full resource id as 'id', it has {resource_id!r}")
    if not resource_id.isprintable():
        fault = fault or f"its id has characters that cannot be seen: {resource_id!a}"
    if fault:
        return _unreadable(resource_id, f"{place}: {fault}", document)
    if kind in _CONTAINER_TYPES:
        return Container(resource_id, document)
    if parser is None:
        return cluster_of(resource_id, document, place)
    try:
        return parser(_envelope(document), resource_id)
    except _Malformed as error:
        return _unreadable(resource_id, f"{place}: {error}", document)


def type_of(resource_id: str) -> str:
    """The resource type that an id spells, `Namespace/type[/subtype]`; empty where it spells none."""
    if _CONTAINER_ID.fullmatch(resource_id.rstrip("/")):
        return f"Microsoft.Resources/{resource_id.strip('/').split('/')[-2]}"
    above, *below = _PROVIDERS.split(resource_id)
    namespace, *rest = below[-1].strip("/").split("/") if below else [above]
    return "/".join((namespace, *rest[::2])) if below and rest else ""


def _envelope(document: Mapping[str, Json]) -> _Node:
    """The properties together with name and type, in either of the two forms."""
    if "properties" not in document:
        return _Node(document, "")
    properties = _object(document["properties"], "properties")
    return _Node({"name": document.get("name"), **properties}, "properties")


def _unreadable(resource_id: str, reason: str, document: Mapping[str, Json]) -> Unreadable:
    """A version that does not parse makes its definition unreadable; an exemption names its assignment, if it can."""
    properties = document.get("properties", document)
    named = properties.get("policyAssignmentId") if isinstance(properties, dict) else None
    concerns = named if isinstance(named, str) else ""
    return Unreadable(_head(resource_id) or resource_id, one_line(reason), concerns)


def _unusable(document: Mapping[str, Json]) -> str:
    """Why a document cannot be used at all: too deep, not Unicode, or an invalid number. Else empty."""
    level: list[Json] = [dict(document)]
    for _ in range(DEEPEST_DOCUMENT):
        below: list[Json] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
                below += value
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str):
                if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
                    return f"the text {value[:60]!r} contains half a surrogate pair"
            elif isinstance(value, float) and not math.isfinite(value):
                return f"{value} is not a JSON number"
        if not below:
            return ""
        level = below
    return f"it is nested deeper than {DEEPEST_DOCUMENT} levels"


def _last(resource_id: str) -> str:
    return resource_id.rstrip("/").rpartition("/")[2]


def _head(resource_id: str) -> str:
    """The definition's own id from that of one of its versions; empty where the id is no version's."""
    found = _VERSION_OF.fullmatch(resource_id)
    return found["head"] if found else ""


def scope_of(resource_id: str) -> str:
    """The scope at which an extension resource is kept, read from its id."""
    *_, last = ["", *_PROVIDERS.split(resource_id)[1:]]
    return resource_id[: len(resource_id) - len(last) - len("/providers/")] if last else ""


def _scope(told: str, resource_id: str) -> str:
    scope = told or scope_of(resource_id)
    if not fold(scope).startswith("/"):
        raise _Malformed(f"properties.scope must be a resource id such as /subscriptions/..., is {scope!r}")
    return scope


def _assignment(node: _Node, resource_id: str) -> Assignment:
    definition_id = _definition_id(node)
    name = node.text("name") or _last(resource_id)
    return Assignment(
        id=resource_id,
        name=name,
        display_name=node.text("displayName") or name,
        scope=_scope(node.text("scope"), resource_id),
        definition_id=definition_id,
        not_scopes=_not_scopes(node),
        parameters=_values(node.node("parameters")),
        enforcement_mode=node.text("enforcementMode", EnforcementMode.DEFAULT),
        definition_version=node.text("definitionVersion"),
        effective_version=node.text("effectiveDefinitionVersion"),
        overrides=tuple(_override(each) for each in node.nodes("overrides")),
        resource_selectors=_resource_selectors(node),
        is_initiative=type_of(definition_id).casefold() == _INITIATIVE,
        instance_id=node.text("instanceId"),
    )


def _definition_id(node: _Node) -> str:
    named = node.required("policyDefinitionId")
    known = type_of(named).casefold() in (_DEFINITION, _INITIATIVE)
    if not known or not named.startswith("/") or not named.isprintable():
        place = f"{node.path}.policyDefinitionId"
        raise _Malformed(f"{place} names neither a definition nor an initiative: {named!r}")
    return named


def _not_scopes(node: _Node) -> tuple[str, ...]:
    scopes = node.texts("notScopes")
    for scope in scopes:
        # An empty one would stand above everything.
        if not fold(scope).startswith("/"):
            raise _Malformed(f"properties.notScopes must be resource ids; {scope!r} is not one")
    return scopes


def _values(parameters: _Node) -> dict[str, Json]:
    values: dict[str, Json] = {}
    for name, entry in parameters.children():
        if "value" not in entry.value:
            raise _Malformed(f"{entry.path} has no 'value'")
        values[name] = entry.value["value"]
    return values


def _override(node: _Node) -> Override:
    return Override(
        kind=node.required("kind"),
        value=node.required("value"),
        selectors=tuple(_selector(each) for each in node.nodes("selectors")),
    )


def _resource_selectors(node: _Node) -> tuple[ResourceSelector, ...]:
    return tuple(
        ResourceSelector(each.text("name"), tuple(_selector(inner) for inner in each.nodes("selectors")))
        for each in node.nodes("resourceSelectors")
    )


def _selector(node: _Node) -> Selector:
    return Selector(
        kind=node.required("kind"),
        within=None if node.raw("in") is None else node.texts("in"),
        not_in=None if node.raw("notIn") is None else node.texts("notIn"),
        progress=node.number("progress"),
    )


def _exemption(node: _Node, resource_id: str) -> Exemption:
    expires = node.text("expiresOn")
    return Exemption(
        id=resource_id,
        display_name=node.text("displayName") or _last(resource_id),
        scope=_scope("", resource_id),
        assignment_id=node.required("policyAssignmentId"),
        reference_ids=node.texts("policyDefinitionReferenceIds"),
        category=node.text("exemptionCategory"),
        expires_on=_moment(expires) if expires else None,
        resource_selectors=_resource_selectors(node),
    )


def _enrollment(node: _Node, resource_id: str) -> Enrollment:
    return Enrollment(
        id=resource_id,
        scope=_scope("", resource_id),
        assignment_id=node.required("policyAssignmentId"),
        instance_id=node.required("policyAssignmentInstanceId"),
        resource_selectors=_resource_selectors(node),
    )


def _moment(text: str) -> datetime:
    moment = parse_moment(text)
    if moment is None:
        raise _Malformed(f"properties.expiresOn must be a date and time such as 2026-01-31T00:00:00Z, is {text!r}")
    return moment


def _version(node: _Node) -> Version | None:
    """`properties.version`, else the version in the metadata; None where neither has one."""
    spelled = node.text("version")
    if spelled:
        version = Version.parse(spelled)
        if version is None:
            raise _Malformed(f"{node.path}.version must be like 1.2.3 or 1.2.3-preview, is {spelled!r}")
        return version
    return Version.parse(_noted(node, "version"))


def _noted(node: _Node, key: str) -> str:
    """A text in the metadata. These are free, so something else than a text there is ignored."""
    metadata = node.raw("metadata")
    noted = metadata.get(key) if isinstance(metadata, dict) else None
    return noted if isinstance(noted, str) else ""


def _parameters(node: _Node) -> dict[str, Parameter]:
    return {name: _parameter(name, entry) for name, entry in node.children()}


def _parameter(name: str, node: _Node) -> Parameter:
    allowed = node.raw("allowedValues")
    if not isinstance(allowed, list | None):
        raise _Malformed(f"{node.path}.allowedValues must be a list, is {_kind(allowed)}")
    default: Json | Absent = node.value.get("defaultValue", ABSENT)
    return Parameter(
        name=name,
        type=node.required("type").lower(),
        # A null default is how the Azure CLI prints "none"; Azure itself refuses it.
        default=ABSENT if default is None else default,
        allowed_values=None if allowed is None else tuple(allowed),
        schema=node.node("schema").value if node.raw("schema") is not None else None,
    )


def _definition(node: _Node, resource_id: str) -> PolicyDefinition:
    rule = node.node("policyRule")
    if not rule.value:
        raise _Malformed(f"{rule.path} is missing")
    name = _last(resource_id)
    return PolicyDefinition(
        id=resource_id,
        name=name,
        display_name=node.text("displayName") or name,
        version=_version(node),
        mode=node.text("mode", "All"),
        parameters=_parameters(node.node("parameters")),
        rule=rule.value,
        description=node.text("description"),
        built_in=node.text("policyType").casefold() == "builtin",
        category=_noted(node, "category"),
    )


def _initiative(node: _Node, resource_id: str) -> Initiative:
    name = _last(resource_id)
    return Initiative(
        id=resource_id,
        name=name,
        display_name=node.text("displayName") or name,
        version=_version(node),
        parameters=_parameters(node.node("parameters")),
        references=_references(node.nodes("policyDefinitions")),
        built_in=node.text("policyType").casefold() == "builtin",
    )


def _references(nodes: list[_Node]) -> tuple[DefinitionReference, ...]:
    references: list[DefinitionReference] = []
    given = [node.text("policyDefinitionReferenceId") for node in nodes]
    taken = {each.casefold() for each in given if each}
    seen: set[str] = set()
    for node, told in zip(nodes, given, strict=True):
        reference_id = told or _made_reference_id(node, taken)
        again = reference_id.casefold() in seen
        seen.add(reference_id.casefold())
        references.append(_reference(node, reference_id, again=again))
    return tuple(references)


def _made_reference_id(node: _Node, taken: set[str]) -> str:
    """The reference id of a member in a file of the old form, where they were optional; it is put among those taken.

    Azure gives such a member a number as it stores the initiative, by a rule that is not published, and always answers
    with it. Ours comes from the definition's name, so that it stays the same when members come and go.
    """
    name = _last(node.text("policyDefinitionId")) or "member"
    numbered = (name if number == 1 else f"{name}-{number}" for number in count(1))
    found = next(each for each in numbered if each.casefold() not in taken)
    taken.add(found.casefold())
    return found


def _reference(node: _Node, reference_id: str, *, again: bool) -> DefinitionReference:
    try:
        reference = DefinitionReference(
            definition_id=_definition_id(node),
            reference_id=reference_id,
            version=node.text("definitionVersion"),
            parameters=_values(node.node("parameters")),
            effective_version=node.text("effectiveDefinitionVersion"),
        )
    except _Malformed as error:
        named = node.raw("policyDefinitionId")
        return DefinitionReference(named if isinstance(named, str) else "", reference_id, "", {}, fault=str(error))
    fault = f"{node.path}.policyDefinitionReferenceId appears twice in the initiative" if again else ""
    return replace(reference, fault=fault)


def _definition_version(node: _Node, resource_id: str) -> PolicyDefinition:
    return _of_version(_definition, node, resource_id)


def _initiative_version(node: _Node, resource_id: str) -> Initiative:
    return _of_version(_initiative, node, resource_id)


def _of_version(parser: Callable[[_Node, str], T], node: _Node, resource_id: str) -> T:
    """Reads a `.../versions/1.2.3` document as what it is a version of."""
    head = _head(resource_id)
    if not head:
        raise _Malformed(f"a version's id must end in /versions/ and the version, is {resource_id!r}")
    told = {"version": _last(resource_id)} | {key: value for key, value in node.value.items() if value is not None}
    return parser(_Node(told, node.path), head)


def _entity(node: _Node, resource_id: str) -> Entity:
    """As Azure lists it with its management groups; that the tenant's root group is among them shows they are all."""
    names, tenant = node.raw("parentNameChain"), node.raw("tenantId")
    if not isinstance(names, list) or not isinstance(tenant, str):
        return Entity(resource_id, None)
    folded = {str(name).casefold() for name in names}
    folded |= {_last(resource_id).casefold()} if fold(resource_id).startswith(MANAGEMENT_GROUPS) else set()
    # The root group has the tenant's id for its name.
    whole = tenant.casefold() in folded
    return Entity(resource_id, frozenset(MANAGEMENT_GROUPS + fold(name) for name in folded) if whole else None)


_PARSERS: Final[Mapping[str, Callable[[_Node, str], Resource]]] = {
    f"{_AUTHORIZATION}policyassignments": _assignment,
    _DEFINITION: _definition,
    f"{_DEFINITION}/versions": _definition_version,
    _INITIATIVE: _initiative,
    f"{_INITIATIVE}/versions": _initiative_version,
    f"{_AUTHORIZATION}policyexemptions": _exemption,
    f"{_AUTHORIZATION}policyenrollments": _enrollment,
    "/subscriptions": _entity,
    "microsoft.management/managementgroups": _entity,
    "/providers/microsoft.management/managementgroups": _entity,
}


def cluster_of(cluster_id: str, document: Mapping[str, Json] | None = None, place: str = "") -> ClusterResource:
    """The cluster that an id names, with its document and place where there is one; InputError for another's id."""
    if declared := declared_of(cluster_id, document, place):
        return declared
    found = _CLUSTER_ID.fullmatch(cluster_id.rstrip("/"))
    cluster_type = _CLUSTER_TYPES.get(found["type"].casefold()) if found else None
    if found is None or cluster_type is None:
        forms = " or ".join(f"/subscriptions/.../resourceGroups/.../providers/{name}/NAME" for name in CLUSTER_TYPES)
        raise InputError(
            f"{f'{place}: ' if place else ''}{cluster_id!r} is not a cluster's id, which has the form {forms}"
        )
    return ClusterResource(cluster_id.rstrip("/"), cluster_type, found["name"], document)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Parsed resources by what tells them apart, each with the place it came from, so that doubles are found."""

    places: dict[tuple[type[Resource], str, str], tuple[str, Resource]] = field(default_factory=dict)

    def put(self, place: str, resource: Resource) -> None:
        """Keeps the resource; the same again is fine, another of the same id and version is an InputError."""
        version = getattr(resource, "version", None)
        # A subscription appears twice: by itself, and with the management groups above it.
        key = (type(resource), fold(resource.id), "" if version is None else str(version))
        known = self.places.setdefault(key, (place, resource))
        if known[1] != resource:
            what = f"{resource.id} version {version}" if version else resource.id
            raise InputError(f"{known[0]} and {place} both contain {what}, with different content: remove one of them")

    def of(self, kind: type[T]) -> list[T]:
        """Everything of one type, in the order it came."""
        return [resource for _, resource in self.places.values() if isinstance(resource, kind)]


def build_state(
    resources: Iterable[Located], asked: str | ClusterResource | None, gone: frozenset[str] = frozenset()
) -> AzureState:
    """Everything read, as one state for one cluster. Each resource comes with its place, for messages.

    `asked` is the cluster or its id; without it the cluster is the only one among the resources. InputError on doubles
    that differ, and where no cluster is named. `gone` holds folded ids of assignments proven deleted.
    """
    shelf, unreadable = _Shelf(), dict[str, Unreadable]()
    for place, resource in resources:
        if isinstance(resource, Unreadable):
            unreadable.setdefault(fold(resource.id), resource)
        # An entity without what is above it tells nothing, and another document may tell the same one with it.
        elif not isinstance(resource, Entity) or resource.above is not None:
            shelf.put(place, resource)
    cluster, assignments = _choose_cluster(shelf.of(ClusterResource), asked), tuple(shelf.of(Assignment))
    return AzureState(
        cluster=cluster,
        assignments=assignments,
        definitions=_by_id(shelf.of(PolicyDefinition)),
        initiatives=_by_id(shelf.of(Initiative)),
        exemptions=tuple(shelf.of(Exemption)),
        gone=gone,
        unreadable=unreadable,
        enrollments=tuple(shelf.of(Enrollment)),
        resource_group=_holder(cluster, (each for each in shelf.of(Container) if each.is_group)),
        subscription=_holder(cluster, (each for each in shelf.of(Container) if not each.is_group)),
        management_groups=groups_above(cluster, shelf.of(Entity), assignments),
    )


def holders(cluster: ClusterResource) -> Mapping[str, str]:
    """The ids of what resourceGroup() and subscription() yield, by these names, where they hold the cluster."""
    match cluster.id.split("/"):
        case ["", _, _, groups, _, *_] as parts if fold(cluster.id).startswith("/subscriptions/"):
            within = {"resourceGroup": "/".join(parts[:5])} if fold(groups) == "resourcegroups" else {}
            return {"subscription": "/".join(parts[:3]), **within}
        case _:
            return {}


def _holder(cluster: ClusterResource, containers: Iterable[Container]) -> Container | None:
    return next((each for each in containers if contains(each.id, cluster.id)), None)


def groups_above(
    cluster: ClusterResource, entities: Iterable[Entity], assignments: Iterable[Assignment]
) -> frozenset[str] | None:
    """The management groups above the cluster; not believed where one that assigns to the cluster is not among them."""
    assigning = {scope for scope in (fold(each.scope) for each in assignments) if scope.startswith(MANAGEMENT_GROUPS)}
    for each in entities:
        if contains(each.id, cluster.id) and each.above is not None and assigning <= each.above:
            return each.above
    return None


def _by_id(versions: list[V]) -> dict[str, tuple[V, ...]]:
    grouped: dict[str, list[V]] = {}
    for version in versions:
        grouped.setdefault(fold(version.id), []).append(version)
    return {key: tuple(group) for key, group in grouped.items()}


def _choose_cluster(clusters: list[ClusterResource], asked: str | ClusterResource | None) -> ClusterResource:
    if asked:
        cluster = cluster_of(asked) if isinstance(asked, str) else asked
        there = (each for each in clusters if fold(each.id) == fold(cluster.id))
        # What is declared now counts for more than what was exported.
        return cluster if cluster.document is not None else next(there, cluster)
    match clusters:
        case [only]:
            return only
        case []:
            raise InputError(
                "the snapshot has no cluster: name one with --cluster-id, or declare one with --cluster-scope"
            )
        case _:
            found = ", ".join(sorted(each.id for each in clusters))
            raise InputError(f"the snapshot has several clusters: choose one with --cluster-id: {found}")

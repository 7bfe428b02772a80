"""A cluster that Azure does not know: kind, EKS, GKE or bare metal without Arc, declared to stand in one of its scopes.

Its id is made of what is declared, `{scope}/providers/azpolicy.dev/{connectedClusters|managedClusters}/{name}`: the
scope stands above it as above any resource, and no resource provider of Azure's has that namespace, so that the id
alone tells it from a real one wherever it is recorded or printed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from controller.azure.model import CLUSTER_TYPES, DECLARED, ClusterResource, is_declared
from controller.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.jsontypes import Json

TYPE_NAMES: Final = tuple(name.partition("/")[2] for name in CLUSTER_TYPES)
CONNECTED: Final = "connectedClusters"

_TYPES: Final = {name.partition("/")[2].casefold(): name for name in CLUSTER_TYPES}
# Azure's names of these end in no full stop, so that `..` is none of them: resource-name-rules on learn.microsoft.com.
_NAME: Final = r"[-\w.()]*[-\w()]"
_SCOPE: Final = re.compile(
    rf"/subscriptions/{_NAME}(?:/resourceGroups/{_NAME})?|/providers/Microsoft\.Management/managementGroups/{_NAME}",
    re.IGNORECASE,
)
_CLUSTER_NAME: Final = re.compile(r"[A-Za-z0-9](?:[-._A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_ID: Final = re.compile(rf"(?P<scope>.*){re.escape(DECLARED)}(?P<type>[^/]*)/(?P<name>.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class DeclaredCluster:
    """What is declared, as it was given: `type` is the last part of a resource type, empty for connectedClusters."""

    scope: str
    name: str
    type: str = ""
    location: str = ""
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """The id that is made of it."""
        return f"{self.scope.rstrip('/')}{DECLARED}{self.type or CONNECTED}/{self.name}"

    def resource(self) -> ClusterResource:
        """The cluster with the document that policies see; InputError for what is missing or cannot be."""
        if not self.scope:
            raise InputError("a declared cluster needs --cluster-scope: the Azure scope whose assignments apply to it")
        if not self.name:
            raise InputError("a declared cluster needs a name beside its scope: give --cluster-name")
        bare, doubles = declared_of(self.id), len(self.tags) - len({name.casefold() for name, _ in self.tags})
        assert bare is not None
        if doubles:
            raise InputError("--cluster-tag: a tag is given twice; Azure ignores the case of their names")
        document: dict[str, Json] = {"id": bare.id, "type": bare.type, "name": bare.name, "tags": dict(self.tags)}
        document |= {"location": self.location} if self.location else {}
        return ClusterResource(bare.id, bare.type, bare.name, document)


def declared_of(cluster_id: str, document: Mapping[str, Json] | None = None, place: str = "") -> ClusterResource | None:
    """The declared cluster that an id names, None for any other id.

    InputError where a part of it cannot be; it begins with the document's place, where there is one.
    """
    found = _ID.fullmatch(cluster_id.rstrip("/"))
    if found is None:
        return None
    cluster_type, at = _TYPES.get(found["type"].casefold()), f"{place}: " if place else ""
    if not _SCOPE.fullmatch(found["scope"]):
        raise InputError(
            f"{at}the scope of a declared cluster must be /subscriptions/ID, /subscriptions/ID/resourceGroups/NAME or"
            f" /providers/Microsoft.Management/managementGroups/NAME, is {found['scope']!r}"
        )
    if not _CLUSTER_NAME.fullmatch(found["name"]):
        raise InputError(
            f"{at}the name of a declared cluster must be 1 to 63 letters, digits, '-', '_' or '.', is {found['name']!r}"
        )
    if cluster_type is None:
        raise InputError(f"{at}the type of a declared cluster must be {' or '.join(TYPE_NAMES)}, is {found['type']!r}")
    return ClusterResource(cluster_id.rstrip("/"), cluster_type, found["name"], document)


def declared_in(document: Mapping[str, Json], place: str) -> ClusterResource:
    """The cluster of a document of a cluster's type without an id; InputError, naming the place, where it is none."""
    told = {key: value for key in ("scope", "name", "type") if isinstance(value := document.get(key), str) and value}
    if len(told) < 3:  # noqa: PLR2004 - the three
        raise InputError(
            f"{place}: a cluster needs its full resource id as 'id'; one that Azure does not know needs 'name' and"
            " 'scope' instead, the Azure scope whose assignments apply to it"
        )
    declared = DeclaredCluster(told["scope"], told["name"], told["type"].rpartition("/")[2])
    cluster = declared_of(declared.id, {**document, "id": declared.id}, place)
    assert cluster is not None
    return cluster


def described(cluster_id: str) -> str:
    """A cluster's id for people: of a declared one it says that it is no resource of Azure's."""
    return f"{cluster_id} (declared, no resource in Azure)" if is_declared(cluster_id) else cluster_id

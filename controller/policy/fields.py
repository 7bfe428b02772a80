"""The fields of the cluster that a policy rule may ask for; those that only Azure knows are Unknown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from controller.policy.verdict import Unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.azure.model import ClusterResource
    from controller.jsontypes import Json

_TAG = re.compile(r"tags(?:\.(?P<dotted>[^*]+)|\['(?P<quoted>.+)'\]|\[(?P<bare>[^'*\]]+)\])", re.IGNORECASE | re.DOTALL)
_LOCATION = "location"


def read_field(cluster: ClusterResource, name: str) -> Json | Unknown:
    """A field by the name that policy rules use, in any case; None where the cluster has none of it."""
    match name.casefold():
        case "type":
            return cluster.type
        case "id":
            return cluster.id
        case "name" | "fullname":
            return cluster.name
        case "location" | "kind" | "tags" as key:
            return _within(cluster, name, key)
        case "identity.type":
            return _within(cluster, name, "identity", "type")
    tag = _TAG.fullmatch(name)
    if tag is None:
        return Unknown(f"the field '{name}' is an alias, which only Azure can read")
    quoted = tag["quoted"]
    return _within(cluster, name, "tags", quoted.replace("''", "'") if quoted else tag["dotted"] or tag["bare"])


def location_of(cluster: ClusterResource) -> str | Unknown:
    """The cluster's location, normalised; Unknown where its document has none."""
    found = read_field(cluster, _LOCATION)
    if isinstance(found, str):
        return normalised_location(found)
    return found if isinstance(found, Unknown) else Unknown("the cluster's document has no location")


def is_location(name: str) -> bool:
    """Whether a field is the location, which compares normalised."""
    return name.casefold() == _LOCATION


def normalised_location(text: str) -> str:
    """`East US 2` and `eastus2` are one place."""
    return text.replace(" ", "").casefold()


def _within(cluster: ClusterResource, name: str, *keys: str) -> Json | Unknown:
    if cluster.document is None:
        return Unknown(f"the field '{name}' is not known, because the cluster's own document is not in the snapshot")
    value: Json = dict(cluster.document)
    for key in keys:
        value = _property(value, key) if isinstance(value, dict) else None
    return value


def _property(container: Mapping[str, Json], key: str) -> Json:
    if key in container:
        return container[key]
    folded = key.casefold()
    return next((value for name, value in container.items() if name.casefold() == folded), None)

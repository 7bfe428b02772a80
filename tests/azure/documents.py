"""What the ARM stand-in knows, and how ARM answers from it: versions, filters by scope, expanded versions.

Pure: no HTTP here. Written from ARM's documentation and apart from the reader, so that both can be wrong only apart.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

Document: TypeAlias = dict[str, Any]

_VERSION_ID: Final = re.compile(r"(?P<head>.+)/versions/(?P<version>[^/]+)", re.IGNORECASE)
_COLLECTION: Final = re.compile(r"(?P<scope>.*)/providers/Microsoft\.Authorization/(?P<kind>\w+)", re.IGNORECASE)
_VERSIONED: Final = frozenset({"policydefinitions", "policysetdefinitions"})
_TENANT_GROUPS: Final = "/providers/microsoft.management/managementgroups/"


def load(folder: Path) -> list[Document]:
    """Every ARM resource in a snapshot folder."""
    found: list[Document] = []
    for file in sorted(folder.rglob("*.json")):
        content = json.loads(file.read_text())
        found += content.get("value", [content]) if isinstance(content, dict) else content
    return found


class Documents:
    """Resources by id and version. Safe to change from another thread than the one that reads."""

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self._versions: dict[str, dict[str, Document]] = {}
        self._lock = threading.RLock()
        # Which management groups stand above the cluster's subscription; None means whichever is asked about.
        self.management_groups: frozenset[str] | None = None
        # Folded ids that no list shows although they are there.
        self.hidden: set[str] = set()
        for document in documents:
            self.put(document)

    def put(self, document: Document) -> None:
        """Adds a resource, or replaces the one of the same id and version."""
        head, version = _head_and_version(document)
        with self._lock:
            self._versions.setdefault(head, {})[version] = copy.deepcopy(document)

    def delete(self, resource_id: str) -> None:
        """Deletes a resource with all its versions; KeyError if there is none."""
        with self._lock:
            del self._versions[resource_id.casefold()]

    def newest(self, resource_id: str, *, expanded: bool = False) -> Document | None:
        """What a GET of the id answers."""
        with self._lock:
            versions = self._versions.get(resource_id.casefold())
            if not versions:
                return None
            document = copy.deepcopy(versions[max(versions, key=_rank)])
            return self._finished(document, expanded=expanded)

    def version(self, resource_id: str, version: str, *, expanded: bool = False) -> Document | None:
        """What a GET of `…/versions/version` answers."""
        with self._lock:
            found = self._versions.get(resource_id.casefold(), {}).get(version.casefold())
            return None if found is None else self._as_version(found, version.casefold(), expanded=expanded)

    def versions(self, resource_id: str, *, expanded: bool = False) -> list[Document] | None:
        """What a GET of `…/versions` lists; None for an id that is not there."""
        with self._lock:
            found = self._versions.get(resource_id.casefold())
            if not found:
                return None
            return [self._as_version(each, version, expanded=expanded) for version, each in found.items()]

    def collection(self, scope: str, kind: str, query_filter: str, *, expanded: bool = False) -> list[Document]:
        """What the list of a kind at a scope holds, with one of ARM's filters."""
        with self._lock:
            ids = [key for key in self._versions if _is_kind(key, kind) and key not in self.hidden]
            chosen = self._chooser(scope.casefold(), kind.casefold(), query_filter)
            found = [self.newest(key, expanded=expanded) for key in ids if chosen(key)]
            return [each for each in found if each is not None]

    def _chooser(self, scope: str, kind: str, query_filter: str) -> Callable[[str], bool]:
        if found := re.fullmatch(r"category eq '(\w+)'", query_filter):
            category = found[1]
            return lambda key: not _scope_of(key) and self._category(key) == category
        if query_filter == "atExactScope()":
            return lambda key: _scope_of(key) == scope
        if kind in _VERSIONED:
            return lambda key: not _scope_of(key) or self._above(_scope_of(key), scope)
        if query_filter == "atScope()":
            return lambda key: self._above(_scope_of(key), scope)
        if found := re.fullmatch(r"policyDefinitionId eq '((?:[^']|'')+)'", query_filter):
            wanted = found[1].replace("''", "'").casefold()
            return lambda key: self._above(_scope_of(key), scope) and self._assigns(key) == wanted
        if query_filter:
            raise ValueError(f"ARM has no such filter: {query_filter}")
        return lambda key: self._above(_scope_of(key), scope) or _scope_of(key).startswith(scope + "/")

    def _above(self, scope: str, resource_id: str) -> bool:
        if scope.startswith(_TENANT_GROUPS):
            group = scope.removeprefix(_TENANT_GROUPS)
            return self.management_groups is None or group in self.management_groups
        return resource_id == scope or resource_id.startswith(scope + "/")

    def _category(self, definition_id: str) -> str:
        newest = self.newest(definition_id) or {}
        return str(newest.get("properties", {}).get("metadata", {}).get("category", ""))

    def _assigns(self, assignment_id: str) -> str:
        [document] = self._versions[assignment_id].values()
        return str(document["properties"]["policyDefinitionId"]).casefold()

    def _as_version(self, document: Document, version: str, *, expanded: bool) -> Document:
        found = self._finished(copy.deepcopy(document), expanded=expanded)
        head = _head_id(found["id"])
        kind = "policySetDefinitions" if "policysetdefinitions" in head.casefold() else "policyDefinitions"
        found["properties"]["version"] = version
        return found | {
            "id": f"{head}/versions/{version}",
            "name": version,
            "type": f"Microsoft.Authorization/{kind}/versions",
        }

    def _finished(self, document: Document, *, expanded: bool) -> Document:
        """With the versions that `$expand` asks for, and a head's list of versions."""
        properties = document.get("properties", {})
        versions = self._versions.get(_head_id(document["id"]).casefold(), {})
        if "" not in versions:
            properties["versions"] = sorted(versions, key=_rank, reverse=True)
            properties.setdefault("version", max(versions, key=_rank))
        if expanded:
            for holder in [properties, *properties.get("policyDefinitions", [])]:
                if "policyDefinitionId" in holder:
                    self._expand(holder)
        return document

    def _expand(self, holder: Document) -> None:
        versions = self._versions.get(str(holder["policyDefinitionId"]).casefold(), {})
        asked = str(holder.get("definitionVersion", "*.*.*"))
        if fitting := [each for each in versions if each and _matches(each, asked)]:
            holder["effectiveDefinitionVersion"] = max(fitting, key=_rank)
            holder["latestDefinitionVersion"] = max(versions, key=_rank)


def _head_and_version(document: Document) -> tuple[str, str]:
    resource_id = str(document["id"])
    if found := _VERSION_ID.fullmatch(resource_id):
        return found["head"].casefold(), found["version"].casefold()
    properties = document.get("properties", {})
    kind = resource_id.rpartition("/")[0].rpartition("/")[2].casefold()
    if kind not in _VERSIONED:
        return resource_id.casefold(), ""
    version = properties.get("version") or properties.get("metadata", {}).get("version") or ""
    return resource_id.casefold(), str(version).casefold()


def _head_id(resource_id: str) -> str:
    found = _VERSION_ID.fullmatch(resource_id)
    return found["head"] if found else resource_id


def _is_kind(resource_id: str, kind: str) -> bool:
    found = _COLLECTION.fullmatch(resource_id.rpartition("/")[0])
    return found is not None and found["kind"].casefold() == kind.casefold()


def _scope_of(resource_id: str) -> str:
    found = _COLLECTION.fullmatch(resource_id.rpartition("/")[0])
    return found["scope"] if found else resource_id


def _rank(version: str) -> tuple[bool, list[int]]:
    numbers, _, suffix = version.partition("-")
    return not suffix, [int(each) for each in re.findall(r"\d+", numbers)]


def _matches(version: str, asked: str) -> bool:
    numbers, _, suffix = version.partition("-")
    wanted, _, wanted_suffix = asked.casefold().partition("-")
    if suffix and not wanted_suffix and wanted == "*.*.*":
        return False
    pairs = zip(numbers.split("."), wanted.split("."), strict=True)
    return all(want in ("*", have) for have, want in pairs)

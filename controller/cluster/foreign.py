"""Total reading of what others wrote: whatever stands in a field, reading it fails nobody.

A field that is missing, or is of another type than it should be, is as if it were not there; of a list the items that
do not fit are left out. What follows is each caller's to say: a status that cannot be understood is no status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def value_at(document: object, *path: str) -> Any:
    """Whatever is at a path of keys, None where the path ends before it."""
    for key in path:
        if not isinstance(document, dict):
            return None
        document = document.get(key)
    return document


def mapping_at(document: object, *path: str) -> Mapping[str, Any]:
    """The object at a path, empty where there is none."""
    found = value_at(document, *path)
    return found if isinstance(found, dict) else {}


def list_at(document: object, *path: str) -> list[Any]:
    """The list at a path, empty where there is none."""
    found = value_at(document, *path)
    return found if isinstance(found, list) else []


def mappings_at(document: object, *path: str) -> list[Mapping[str, Any]]:
    """The objects in the list at a path."""
    return [each for each in list_at(document, *path) if isinstance(each, dict)]


def text_at(document: object, *path: str, default: str = "") -> str:
    """The text at a path."""
    found = value_at(document, *path)
    return found if isinstance(found, str) else default


def texts_at(document: object, *path: str) -> list[str]:
    """The texts in the list at a path."""
    return [each for each in list_at(document, *path) if isinstance(each, str)]


def text_map_at(document: object, *path: str) -> Mapping[str, str]:
    """The texts in the object at a path by their keys, as labels and annotations are."""
    found = mapping_at(document, *path)
    if all(isinstance(each, str) for each in found.values()):
        return found
    return {key: each for key, each in found.items() if isinstance(each, str)}


def whole_at(document: object, *path: str, default: int = 0) -> int:
    """The whole number at a path."""
    found = value_at(document, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else default


def controller_of(document: object) -> Mapping[str, Any]:
    """The reference to the controller of an object, empty where it has none."""
    references = mappings_at(document, "metadata", "ownerReferences")
    return next((each for each in references if each.get("controller") is True), {})

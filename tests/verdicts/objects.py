"""Reads pods as Azure's templates do: which containers count, what is excluded, which pods are for Windows."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.verdicts.cases import Case

LASTING = ("containers", "initContainers")
EVERY = (*LASTING, "ephemeralContainers")


def containers(case: Case, fields: Sequence[str] = EVERY) -> list[Mapping[str, Any]]:
    """The containers in these fields of the pod's spec."""
    return [container for field in fields for container in case.spec.get(field) or []]


def judged(case: Case, fields: Sequence[str] = EVERY) -> list[Mapping[str, Any]]:
    """The containers that neither excludedContainers nor excludedImages takes out."""
    return [each for each in containers(case, fields) if not (is_named(each, case) or has_excluded_image(each, case))]


def is_named(container: Mapping[str, Any], case: Case) -> bool:
    """Whether excludedContainers has the container's name."""
    return container["name"] in case.parameters.get("excludedContainers", [])


def has_excluded_image(container: Mapping[str, Any], case: Case) -> bool:
    """Whether an entry of excludedImages is the container's image, or up to its last `*` the beginning of it."""
    image = container.get("image")
    return image is not None and any(
        image.startswith(entry[:-1]) if entry.endswith("*") else image == entry
        for entry in case.parameters.get("excludedImages", [])
    )


def security(owner: Mapping[str, Any]) -> Mapping[str, Any]:
    """The securityContext of a container or of a pod's spec; empty where it has none."""
    context: Mapping[str, Any] = owner.get("securityContext") or {}
    return context


def selects_windows(case: Case) -> bool:
    """Whether the pod asks for Windows nodes by its nodeSelector: by that alone Azure knows a Windows pod."""
    return bool((case.spec.get("nodeSelector") or {}).get("kubernetes.io/os") == "windows")


def names_windows(case: Case) -> bool:
    """Whether spec.os.name says that the pod is for Windows."""
    return bool((case.spec.get("os") or {}).get("name") == "windows")


def annotations(case: Case) -> Mapping[str, str]:
    """The object's annotations."""
    found: Mapping[str, str] = case.object.get("metadata", {}).get("annotations") or {}
    return found

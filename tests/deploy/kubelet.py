"""What a kubelet would give a container: its variables in order, each with those before it filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^()]+)\))")


@dataclass(frozen=True, slots=True)
class Pod:
    """What only the pod knows: the paths of its fields with their values, and how a key of a Secret is read."""

    fields: Mapping[str, str]
    secret: Callable[[str, str], str]


def environ(container: Mapping[str, Any], pod: Pod) -> dict[str, str]:
    """The container's environment."""
    made: dict[str, str] = {}
    for variable in container["env"]:
        source = variable.get("valueFrom")
        made[variable["name"]] = expanded(variable.get("value", ""), made) if source is None else _read(source, pod)
    return made


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """$(NAME) of what is known by then, $$ for a dollar, all else as it stands."""
    return _REFERENCE.sub(lambda found: environ.get(found[1], found[0]) if found[1] else "$", text)


def _read(source: Mapping[str, Any], pod: Pod) -> str:
    match source:
        case {"fieldRef": {"fieldPath": path}}:
            return pod.fields[path]
        case {"secretKeyRef": {"name": name, "key": key}}:
            return pod.secret(name, key)
        case _:
            raise NotImplementedError(f"an environment variable from {source}")

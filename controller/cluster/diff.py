"""Differences between two JSON values, as the API server would see them. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_/-]+")


@dataclass(frozen=True, slots=True)
class Absent:
    """A value that is not there, in a difference."""

    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where live and desired differ: a path such as `spec.match.kinds[0].kinds` or `labels["a.b"]`."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is ABSENT:
            return f"{self.path} added"
        return f"{self.path} removed" if self.after is ABSENT else f"{self.path} changed"


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values mean the same: numbers by value, as the server stores 1.0 as 1, but `true` is no 1."""
    if left is right:
        return True
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


def differences(before: Any, after: Any, path: str = "") -> Iterable[Difference]:
    """Every place where two JSON values differ; lists of one length item by item, others whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key, ABSENT), after.get(key, ABSENT), _inner(path, key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{path}[{index}]")
    elif not same(before, after):
        yield Difference(path, before, after)


def missing(wanted: Any, stored: Any, path: str = "spec") -> tuple[str, ...]:
    """Paths that are wanted but not stored: fields that the server pruned."""
    if isinstance(wanted, dict) and isinstance(stored, dict):
        return tuple(
            found
            for key, value in wanted.items()
            for inner in (_inner(path, key),)
            for found in (missing(value, stored[key], inner) if key in stored else (inner,))
        )
    if isinstance(wanted, list) and isinstance(stored, list) and len(wanted) == len(stored):
        return tuple(
            found
            for index, (value, other) in enumerate(zip(wanted, stored, strict=True))
            for found in missing(value, other, f"{path}[{index}]")
        )
    return ()


def _inner(path: str, key: str) -> str:
    """The path of a key; one that could be read as several, or as anything but a path, is quoted."""
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key

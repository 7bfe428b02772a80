"""JSON in which equal values stand once: thousands of constraints repeat their labels, match blocks and ids.

A document becomes a list of its different values, each after those that it consists of: a list or an object holds
positions in that list in place of its items, everything else stands for itself, and the last value is the document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from controller.bounded_json import DEEPEST

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

# Written out in full. A few positions can name a value of any size, so whoever reads them needs a bound.
LARGEST_WRITTEN_OUT: Final = 256 * 1024 * 1024


def share(document: Any) -> list[Any]:
    """The document as a list of its different values: the same list for equal documents of equal order."""
    sharing = _Sharing()
    sharing.place(document)
    return sharing.values


def written_out(values: object) -> Any:
    """The document that `share` was given, its equal values as one object; ValueError for any other list of values."""
    if not isinstance(values, list) or not values:
        raise ValueError("it has no values")
    made: list[Any] = []
    bounds: list[tuple[int, int]] = []  # of each value: characters, as far as they count, and levels
    for value in values:
        made.append(_made(value, made))
        parts = [bounds[place] for place in _places(value)]
        size = _own_size(value) + sum(size for size, _ in parts)
        depth = 1 + max((depth for _, depth in parts), default=0)
        if size > LARGEST_WRITTEN_OUT or depth > DEEPEST:
            raise ValueError(f"written out it is larger than {LARGEST_WRITTEN_OUT} bytes or {DEEPEST} levels")
        bounds.append((size, depth))
    return made[-1]


class _Sharing:
    """The values found so far, and where each one is."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[Hashable, int] = {}
        self._known: dict[int, int] = {}  # by identity, as the document keeps them all alive

    def place(self, value: Any) -> int:
        """The position of a value."""
        known = self._known.get(id(value))
        if known is not None:
            return known
        key: Hashable
        stored: Any
        if isinstance(value, dict):
            stored = {name: self.place(item) for name, item in sorted(value.items())}
            key = ("object", *stored.items())
        elif isinstance(value, list | tuple):
            stored = [self.place(item) for item in value]
            key = ("list", *stored)
        else:
            stored = value
            # 1, 1.0 and true are equal to Python, and not in JSON.
            key = value if isinstance(value, str) else (type(value).__name__, repr(value))
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = len(self.values)
            self.values.append(stored)
        if isinstance(value, dict | list):
            self._known[id(value)] = place
        return place


def _places(value: Any) -> Iterable[int]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _made(value: Any, made: list[Any]) -> Any:
    for place in _places(value):
        if type(place) is not int or not 0 <= place < len(made):
            raise ValueError("a value is not there")
    if isinstance(value, dict):
        return {name: made[place] for name, place in value.items()}
    return [made[place] for place in value] if isinstance(value, list) else value


def _own_size(value: Any) -> int:
    names = sum(map(len, value)) if isinstance(value, dict) else 0
    return 4 + names + (len(value) if isinstance(value, str) else 0)

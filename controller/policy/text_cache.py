"""What was made of a text, kept by the text; bounded by characters, as a few long expressions outweigh thousands."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

CHARACTERS: Final = 1 << 20


class TextCache(Generic[T]):
    """A function of a text that remembers its answers; the oldest go first. Errors are raised, and not remembered.

    It can be called from several threads. An answer takes up to about 50 bytes for each character of its text.
    """

    def __init__(self, make: Callable[[str], T], characters: int = CHARACTERS) -> None:
        self._make = make
        self._left = characters
        self._kept: dict[str, T] = {}
        self._lock = threading.Lock()
        self.__doc__ = make.__doc__

    def __call__(self, text: str) -> T:
        """What `make` says of the text."""
        try:
            return self._kept[text]
        except KeyError:
            pass
        made = self._make(text)
        with self._lock:
            if text not in self._kept:
                self._kept[text] = made
                self._left -= len(text)
            while self._left < 0:
                oldest = next(iter(self._kept))
                del self._kept[oldest]
                self._left += len(oldest)
        return made

    @property
    def kept(self) -> frozenset[str]:
        """The texts whose answers are remembered."""
        with self._lock:
            return frozenset(self._kept)

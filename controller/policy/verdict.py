"""Logic with three values, so that what cannot be known is never guessed and never hides what is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Unknown:
    """Neither true nor false here, and why."""

    reason: str


Verdict: TypeAlias = bool | Unknown


def negate(verdict: Verdict) -> Verdict:
    """Not; the unknown stays unknown."""
    return verdict if isinstance(verdict, Unknown) else not verdict


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """And: false as soon as one is false, although another is unknown. Nothing is true."""
    unknown: Unknown | None = None
    for verdict in verdicts:
        if verdict is False:
            return False
        if isinstance(verdict, Unknown):
            unknown = unknown or verdict
    return True if unknown is None else unknown


def any_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Or: true as soon as one is true, although another is unknown. Nothing is false."""
    return negate(all_of(negate(verdict) for verdict in verdicts))

"""How a figure is printed: what, how much, against which goal."""

from __future__ import annotations

import statistics
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Stopwatch:
    """Seconds spent in a `with` block."""

    seconds = 0.0


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Times a block by the wall clock."""
    watch = Stopwatch()
    start = time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - start


def figure(name: str, measured: str, *, goal: str = "", met: bool | None = None) -> None:
    """Prints one line; `met` None where there is no goal."""
    verdict = "" if met is None else f"  goal {goal}: {'met' if met else 'MISSED'}"
    print(f"{name:<58} {measured}{verdict}", flush=True)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


def median_of(values: Sequence[float]) -> float:
    """The median, as every figure of several runs is quoted."""
    return statistics.median(values)

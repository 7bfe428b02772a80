"""The form of a figure: what was measured, how much, the goal and whether it is met, and what it is compared with.

A bench calls `figure`, `growing` or `unmeasured`; `make bench` prints a table for each group of figures, and one of all
at its end as Markdown, as docs/benchmarks.md has them.
"""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_COLUMNS: Final = ("what", "measured", "goal", "", "beside it, in the same run", "growth")
_UNMEASURED: Final = "not measured"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that a value meets when it is below it, or above it where more is better."""

    bound: float
    more_is_better: bool = False

    def met(self, value: float) -> bool:
        """Whether the value keeps to it."""
        return value >= self.bound if self.more_is_better else value <= self.bound

    def told(self, unit: str) -> str:
        """As a table has it."""
        return f"{'≥' if self.more_is_better else '≤'} {quantity(self.bound, unit)}"


def at_most(bound: float) -> Goal:
    """Less is better."""
    return Goal(bound)


def at_least(bound: float) -> Goal:
    """More is better."""
    return Goal(bound, more_is_better=True)


@dataclass(frozen=True, slots=True)
class Figure:
    """A row: `met` is None where there is no goal; `beside` is a limit, or a peer's figure, from the same run."""

    name: str
    measured: str
    goal: str = ""
    met: bool | None = None
    beside: str = ""
    growth: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of the columns."""
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        return (self.name, self.measured, self.goal, verdict, self.beside, self.growth)


# What the bench that runs now has told, in order.
_told: Final[list[Figure]] = []


def take() -> tuple[Figure, ...]:
    """The figures since the last call."""
    figures = tuple(_told)
    _told.clear()
    return figures


def _tell(told: Figure) -> None:
    _told.append(told)
    sys.stderr.write(f"{': '.join(filter(None, told.cells[:2]))}\n")


def figure(name: str, value: float, unit: str, *, goal: Goal | None = None, beside: str = "", detail: str = "") -> None:
    """A value in a unit as `quantity` takes it (seconds as "s"); `detail` is told behind it, in brackets."""
    measured = quantity(value, unit) + (f" ({detail})" if detail else "")
    met = None if goal is None else goal.met(value)
    _tell(Figure(name, measured, goal.told(unit) if goal else "", met, beside))


def growing(
    name: str, values: Mapping[int, float], unit: str, *, goal: Goal | None = None, beside: str = "", detail: str = ""
) -> None:
    """Values by size, side by side, and how they grow from the smallest size to the largest, which the goal is for."""
    sizes = sorted(values)
    first, last = sizes[0], sizes[-1]
    measured = ", ".join(quantity(values[size], unit) for size in sizes) + (f" ({detail})" if detail else "")
    ratio = (values[last] / values[first]) / (last / first)
    told = goal.told(unit) + (f" at {last:,}" if len(sizes) > 1 else "") if goal else ""
    met = None if goal is None else goal.met(values[last])
    at = ", ".join(f"{size:,}" for size in sizes)
    _tell(Figure(f"{name}: {at}", measured, told, met, beside, f"{ratio:.2f} of linear"))


def unmeasured(name: str, why: str) -> None:
    """A figure that cannot be had here."""
    _tell(Figure(name, f"{_UNMEASURED}: {why}"))


def quantity(value: float, unit: str) -> str:
    """A value as it is read: seconds below one in ms, large numbers without decimals and with thousands apart."""
    if unit == "s" and value < 1:
        value, unit = 1000 * value, "ms"
    decimals = 0 if value >= 10 or value == int(value) else 1 if value >= 1 else 2
    return f"{value:,.{decimals}f} {unit}".rstrip()


def table(figures: Sequence[Figure]) -> str:
    """As Markdown that can be read as it is: columns of one width, without those that are empty."""
    rows = [_COLUMNS, *(each.cells for each in figures)]
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in zip(*columns, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary(figures: Sequence[Figure]) -> str:
    """How many goals are met, and which are missed."""
    met = sum(each.met is True for each in figures)
    missed = [each.name for each in figures if each.met is False]
    without = sum(each.measured.startswith(_UNMEASURED) for each in figures)
    lines = [f"{met} goals met, {len(missed)} missed" + (f", {without} figures {_UNMEASURED}" if without else "")]
    return "\n".join([*lines, *(f"missed: {name}" for name in missed)])


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


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


def spread(seconds: Sequence[float]) -> str:
    """The p50 and the p99 of some durations."""
    return ", ".join(f"p{percent} {quantity(percentile(seconds, percent), 's')}" for percent in (50, 99))


def median_of(values: Sequence[float]) -> float:
    """The median, as every figure of several runs is quoted."""
    return statistics.median(values)

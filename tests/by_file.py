"""Where the time of a run goes, by file of tests/cluster: how long a worker was at it, and how much of that it waited.

    pytest --by-file ...        # a table at the end; `make test` prints it

What a test takes of the processors is what its worker and all processes below it take meanwhile: the cluster, the
commands and operators under test, and the Python of the test itself. The rest is waiting.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = "tests/cluster/"
PROPERTY: Final = "processor_seconds"
BEGUN: Final = pytest.StashKey[float]()
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def processor_seconds() -> float:
    """What this process and all below it have taken of the processors so far, ended ones too."""
    own = os.times()
    times, children = _processes()
    below, waiting = 0.0, [os.getpid()]
    while waiting:
        for each in children[waiting.pop()]:
            below += times[each]
            waiting.append(each)
    return own.user + own.system + own.children_user + own.children_system + below


def _processes() -> tuple[dict[int, float], defaultdict[int, list[int]]]:
    """Seconds of each process with those of its children that ended, and the living children of each."""
    times: dict[int, float] = {}
    children = defaultdict[int, list[int]](list)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # Behind the name, which may hold anything: state, parent, …; the times are fields 14 to 17 of proc(5).
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            times[int(folder.name)] = sum(map(int, fields[11:15])) / _TICKS
            children[int(fields[1])].append(int(folder.name))
    return times, children


@dataclass(slots=True)
class Spent:
    """What the tests of a file took, in seconds."""

    tests: int = 0
    wall: float = 0.0
    processors: float = 0.0


class ByFile:
    """A plugin of pytest: measures in the worker that runs a test, adds up where the results come together."""

    def __init__(self) -> None:
        self.files = defaultdict[str, Spent](Spent)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Notes when a test begins, its fixtures with it."""
        if item.nodeid.startswith(FOLDER):
            item.stash[BEGUN] = processor_seconds()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Adds to a test's last report what it took."""
        if call.when == "teardown" and BEGUN in item.stash:
            item.user_properties.append((PROPERTY, processor_seconds() - item.stash[BEGUN]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Adds a phase of a test to its file."""
        if report.nodeid.startswith(FOLDER):
            spent = self.files[report.nodeid.partition("::")[0].removeprefix(FOLDER)]
            spent.wall += report.duration
            spent.tests += report.when == "teardown"
            spent.processors += sum(float(str(value)) for name, value in report.user_properties if name == PROPERTY)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints the table, the longest file first."""
        if self.files:
            terminalreporter.section("where the time goes, in seconds")
            for line in self.lines():
                terminalreporter.write_line(line)

    def lines(self) -> Iterator[str]:
        """The table's lines."""
        yield f"{'file':<32}{'tests':>6}{'wall':>8}{'processors':>12}{'waits':>8}"
        rows = sorted(self.files.items(), key=lambda row: -row[1].wall)
        total = Spent()
        for _, each in rows:
            total = Spent(total.tests + each.tests, total.wall + each.wall, total.processors + each.processors)
        for name, each in (*rows, ("all", total)):
            waits = max(0.0, 1 - each.processors / each.wall) if each.wall else 0.0
            yield f"{name:<32}{each.tests:>6}{each.wall:>8.1f}{each.processors:>12.1f}{waits:>8.0%}"

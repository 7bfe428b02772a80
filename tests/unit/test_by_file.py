"""Where the time goes: what a test's processes take is told from what it waits."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.by_file import FOLDER, PROPERTY, ByFile, processor_seconds

BUSY = "import time\nwhile time.process_time() < {seconds}: pass\nprint(flush=True)\ninput()"


def report(file: str, when: str, duration: float, processors: float | None = None) -> pytest.TestReport:
    """A phase of a test."""
    return pytest.TestReport(
        nodeid=f"{FOLDER}{file}::test_it",
        location=(file, 1, "test_it"),
        keywords={},
        outcome="passed",
        longrepr=None,
        when=when,  # type: ignore[arg-type]  # a literal
        user_properties=[] if processors is None else [(PROPERTY, processors)],
        duration=duration,
    )


def test_what_processes_below_take_counts_while_they_live_and_when_they_have_ended() -> None:
    before = processor_seconds()
    # A process below a process, as a server below a worker.
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY.format(seconds=0.3)!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        living = processor_seconds() - before
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.wait()
        ended = processor_seconds() - before

    assert living >= 0.25
    assert ended >= living


def test_a_file_is_the_sum_of_its_tests_and_the_longest_comes_first() -> None:
    plugin = ByFile()
    for each in (
        report("test_one.py", "setup", 1.0),
        report("test_one.py", "call", 2.0),
        report("test_one.py", "teardown", 1.0, processors=1.0),
        report("test_two.py", "call", 10.0),
        report("test_two.py", "teardown", 0.0, processors=8.0),
    ):
        plugin.pytest_runtest_logreport(each)

    assert [line.split() for line in plugin.lines()] == [
        ["file", "tests", "wall", "processors", "waits"],
        ["test_two.py", "1", "10.0", "8.0", "20%"],
        ["test_one.py", "1", "4.0", "1.0", "75%"],
        ["all", "2", "14.0", "9.0", "36%"],
    ]

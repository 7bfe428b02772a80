"""The form of a benchmark's figures, and that one which cannot be run leaves the others alone."""

from __future__ import annotations

import pytest

from tests.bench import __main__ as bench
from tests.bench.figures import at_least, at_most, figure, growing, quantity, summary, table, take, unmeasured


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    take()


def test_a_figure_says_whether_its_goal_is_met_and_what_stands_beside_it() -> None:
    figure("start", 2.5, "s", goal=at_most(2), beside="the server: 1.2 s")
    figure("rate", 20_000, "members/s", goal=at_least(10_000))
    missed, met = take()
    assert missed.cells == ("start", "2.5 s", "≤ 2 s", "MISSED", "the server: 1.2 s", "")
    assert met.cells == ("rate", "20,000 members/s", "≥ 10,000 members/s", "met", "", "")


def test_sizes_stand_side_by_side_with_their_growth_and_the_goal_is_for_the_largest() -> None:
    growing("memory", {500: 100, 5000: 310}, "MiB", goal=at_most(300))
    [told] = take()
    assert told.cells == (
        "memory: 500, 5,000",
        "100 MiB, 310 MiB",
        "≤ 300 MiB at 5,000",
        "MISSED",
        "",
        "0.31 of linear",
    )


def test_the_summary_counts_goals_and_names_those_missed() -> None:
    figure("start", 2.5, "s", goal=at_most(2))
    figure("requests", 4, "requests", goal=at_most(4))
    figure("size", 4, "MiB")
    unmeasured("safeguards", "no definitions here")
    assert summary(take()) == "1 goals met, 1 missed, 1 figures not measured\nmissed: start"


def test_a_table_has_columns_of_one_width_and_none_that_is_empty() -> None:
    figure("start", 2, "s")
    figure("requests of a poll", 4, "requests")
    lines = table(take()).splitlines()
    assert lines[0] == "| what               | measured   |"
    assert {len(line) for line in lines} == {len(lines[0])}


def test_quantities_read_well() -> None:
    told = [quantity(*each) for each in ((0.1834, "s"), (0.00243, "s"), (4.26, "s"), (15.8, "s"), (5_800_123, "bytes"))]
    assert told == ["183 ms", "2.4 ms", "4.3 s", "16 s", "5,800,123 bytes"]


def test_a_bench_that_fails_is_named_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> None:
        figure("before", 1, "s")
        raise SystemExit("no cluster")

    monkeypatch.setattr(bench, "BENCHES", {"a": broken, "b": lambda _: figure("after", 2, "s", goal=at_most(1))})
    monkeypatch.setattr("sys.argv", ["bench"])
    assert bench.main() == 1
    out = capsys.readouterr().out
    assert "FAILED: no cluster" in out
    assert "failed: a: no cluster" in out
    assert "missed: after" in out
    assert out.count("| before") == 2

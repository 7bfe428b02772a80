"""How far a long command is, on a terminal alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from controller.cli.output import progress, report_forecast
from controller.errors import ClusterError
from controller.forecast.verdicts import Forecasts

if TYPE_CHECKING:
    from collections.abc import Callable


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, terminal: bool) -> str:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with progress() as tell:
        tell("reading Pods", 500)
        tell("reading Pods", 1000)
    return capsys.readouterr().err


def test_a_terminal_has_one_line_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    err = told(monkeypatch, capsys, terminal=True)

    assert [part for part in err.split("\r\x1b[K") if part] == ["reading Pods: 500", "reading Pods: 1000"]
    assert err.endswith("\r\x1b[K")


def test_a_log_has_nothing_of_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(monkeypatch, capsys, terminal=False) == ""


def test_the_line_goes_away_when_the_command_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    def fail(tell: Callable[[str, int], None]) -> None:
        tell("reading Pods", 1)
        raise ClusterError("gone")

    with pytest.raises(ClusterError), progress() as tell:
        fail(tell)

    assert capsys.readouterr().err.endswith("\r\x1b[K")


@pytest.mark.parametrize(("errors", "code"), [((), 0), (("policy x: no",), 2)])
def test_what_a_forecast_left_out_is_told_and_what_is_refused_is_an_error(
    capsys: pytest.CaptureFixture[str], errors: tuple[str, ...], code: int
) -> None:
    assert report_forecast(Forecasts((), 0, ("mutator m: left out",), errors)) == code

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "note: mutator m: left out"
    assert lines[1:] == [f"error: {each}; fix its definition or template" for each in errors]

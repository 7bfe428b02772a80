"""What several commands print alike, and the exit code that they share."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from controller.policy.model import Unresolved
from controller.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from controller.forecast.verdicts import Forecasts
    from controller.gatekeeper.model import DesiredState

ERROR: Final = 2
_ERASE: Final = "\r\x1b[K"


def report_unresolved(desired: DesiredState, *, strict: bool) -> int:
    """Names every unresolved member on stderr, and gives the exit code that follows."""
    unresolved = [outcome for outcome in desired.outcomes if isinstance(outcome, Unresolved)]
    for outcome in unresolved:
        member = "" if outcome.message.startswith(str(outcome.member)) else f"{outcome.member}: "
        click.echo(one_line(f"unresolved {outcome.reason}: {member}{outcome.message}"), err=True)
    return ERROR if strict and unresolved else 0


def report_forecast(found: Forecasts) -> int:
    """Names on stderr what a forecast left out, and what Gatekeeper would not take; the exit code that follows."""
    for note in found.notes:
        click.echo(one_line(f"note: {note}"), err=True)
    for error in found.errors:
        click.echo(one_line(f"error: {error}; fix its definition or template"), err=True)
    return ERROR if found.errors else 0


@contextmanager
def progress() -> Iterator[Callable[[str, int], None]]:
    """Takes what is done and how far, and keeps one line about it on a terminal; a log gets none of it."""
    terminal = sys.stderr.isatty()

    def tell(doing: str, count: int) -> None:
        if terminal:
            click.echo(f"{_ERASE}{doing}: {count}", nl=False, err=True)

    try:
        yield tell
    finally:
        if terminal:
            click.echo(_ERASE, nl=False, err=True)

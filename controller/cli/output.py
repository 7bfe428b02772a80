"""What several commands print alike, and the exit code that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from controller.policy.model import Unresolved
from controller.text import one_line

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredState

ERROR: Final = 2


def report_unresolved(desired: DesiredState, *, strict: bool) -> int:
    """Names every unresolved member on stderr, and gives the exit code that follows."""
    unresolved = [outcome for outcome in desired.outcomes if isinstance(outcome, Unresolved)]
    for outcome in unresolved:
        member = "" if outcome.message.startswith(str(outcome.member)) else f"{outcome.member}: "
        click.echo(one_line(f"unresolved {outcome.reason}: {member}{outcome.message}"), err=True)
    return ERROR if strict and unresolved else 0

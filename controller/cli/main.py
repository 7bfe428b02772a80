"""Entry point of the command line, and the one place where errors become a line and an exit code.

Exit codes: 0 well, 1 where a command's help says so, 2 an error. Errors go to stderr, one line each.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from controller.cli.completion import VARIABLE, answer_shell
from controller.cli.group import cli
from controller.cli.output import ERROR
from controller.errors import AzpolicyError
from controller.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 141
# How many new objects make the garbage collector look: Python's own 700 are made many times over by what a command
# imports, and by each page of a list.
_ALLOCATIONS: Final = 20_000


def _run(name: str, arguments: Sequence[str]) -> int:
    # Not `cli.main`: it takes a closed pipe for an error of its own, with an exit code that means something else here.
    with cli.make_context(name, list(arguments)) as context:
        return int(cli.invoke(context) or 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs a command and leaves with its exit code."""
    gc.set_threshold(_ALLOCATIONS, *gc.get_threshold()[1:])
    called = Path(sys.argv[0]).name
    name = "kubectl azpolicy" if called == "kubectl-azpolicy" else "azpolicy"
    try:
        if asked := os.environ.get(VARIABLE):
            code = answer_shell(asked)
        else:
            code = _run(name, sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except click.exceptions.Exit as finished:
        code = finished.exit_code
    except AzpolicyError as error:
        click.echo(one_line(f"error: {error}"), err=True)
        code = ERROR
    except click.ClickException as error:
        error.show()
        code = ERROR
    except (click.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    except BrokenPipeError:
        # What reads our output has left.
        code = _PIPE_CLOSED
    except Exception:  # noqa: BLE001 - Python's own exit code of 1 would read as "changes" or "denied"
        traceback.print_exc()
        click.echo("internal error: please report the traceback above", err=True)
        code = ERROR
    sys.exit(code)

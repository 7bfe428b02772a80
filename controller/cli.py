"""The command line: one thin function per command, and the one place where errors become a line and an exit code.

Exit codes: 0 well, 1 where a command says so (design, Commands), 2 an error. Errors go to stderr, one line each.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.errors import AzpolicyError, InputError
from controller.options import SourceOptions, source_options, strict_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.gatekeeper.model import DesiredState

ERROR = 2
_INTERRUPTED = 130
_PIPE_CLOSED = 141


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="azure-policy-sync", message="%(prog)s %(version)s")
def cli() -> None:
    """Azure Policy for any Kubernetes cluster that runs Gatekeeper.

    Reads the policy assignments that apply to a cluster and makes the ConstraintTemplates, constraints and mutators
    that they mean.
    """


@cli.command()
@source_options
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write each object to a file of its own in this folder. Files that render did not write are never touched.",
)
@strict_option
def render(*, source: SourceOptions, output: Path | None, strict: bool) -> int:
    """Print the objects that the assignments mean, as YAML.

    Templates come first, then mutators, then constraints, always in the same order. Nothing is asked of or written to
    a cluster. Members that cannot be resolved are named on stderr.
    """
    from controller import rendering  # noqa: PLC0415 - keeps --help and other commands quick

    desired = asyncio.run(read_desired_state(source))
    if output is None:
        for text in rendering.texts(desired.objects):
            click.echo(text, nl=False)
    else:
        rendering.write_folder(output, desired.objects)
    return report_unresolved(desired, strict=strict)


async def read_desired_state(source: SourceOptions) -> DesiredState:
    """Reads the source once and says what the cluster should hold."""
    from controller.azure.snapshot import read_snapshot  # noqa: PLC0415
    from controller.gatekeeper.desired import desired_state  # noqa: PLC0415
    from controller.gatekeeper.providers import make_provider  # noqa: PLC0415

    provider = make_provider(
        source.templates, hosts=source.template_hosts, pins=source.template_pins, cache=source.template_cache
    )
    if source.snapshot is None:
        raise InputError("nothing to read from: give --snapshot PATH")
    state = read_snapshot(source.snapshot, source.cluster_id)
    return await desired_state(
        state, provider, now=datetime.now(UTC), marks=source.marks, excluded_namespaces=source.excluded_namespaces
    )


def report_unresolved(desired: DesiredState, *, strict: bool) -> int:
    """Names every unresolved member on stderr, and gives the exit code that follows."""
    from controller.policy.model import Unresolved  # noqa: PLC0415

    unresolved = [outcome for outcome in desired.outcomes if isinstance(outcome, Unresolved)]
    for outcome in unresolved:
        member = "" if outcome.message.startswith(str(outcome.member)) else f"{outcome.member}: "
        click.echo(one_line(f"unresolved {outcome.reason}: {member}{outcome.message}"), err=True)
    return ERROR if strict and unresolved else 0


def one_line(text: str) -> str:
    """Text from elsewhere as one line that cannot move the cursor or start another."""
    return "".join(character if character.isprintable() else " " for character in text)


def _run(name: str, arguments: Sequence[str]) -> int:
    # Not `cli.main`: it takes a closed pipe for an error of its own, with an exit code that means something else here.
    with cli.make_context(name, list(arguments)) as context:
        return int(cli.invoke(context) or 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs a command and leaves with its exit code."""
    called = Path(sys.argv[0]).name
    name = "kubectl azpolicy" if called == "kubectl-azpolicy" else "azpolicy"
    try:
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
        # What reads our output has left; a second failing flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _PIPE_CLOSED
    sys.exit(code)

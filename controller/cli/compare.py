"""`azpolicy compare`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from controller.cli.options import cluster_options, source_options
from controller.cli.output import ERROR
from controller.commands import compare as comparing
from controller.commands.session import compare_audits

if TYPE_CHECKING:
    from controller.config import ClusterOptions, SourceOptions


@click.command()
@source_options
@cluster_options
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Exit with 2 if anything could not be compared.")
def compare(*, source: SourceOptions, cluster: ClusterOptions, output: str, strict: bool) -> int:
    """Set the compliance that Azure holds beside Gatekeeper's own audit, member by member.

    Exits with 0 when no two verdicts contradict each other, 1 when some do, 2 on an error.
    """
    found = asyncio.run(compare_audits(source, cluster))
    if output == "json":
        click.echo(comparing.as_json(str(source.cluster_id), found), nl=False)
    else:
        for line in comparing.as_text(found):
            click.echo(line)
    verdicts = {each.verdict for each in found}
    if strict and comparing.Verdict.UNKNOWN in verdicts:
        return ERROR
    return int(comparing.Verdict.DIFFERS in verdicts)

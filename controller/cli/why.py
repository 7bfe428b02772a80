"""`azpolicy why`."""

from __future__ import annotations

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING, Final

import click

from controller.cli.options import cluster_options, source_options
from controller.commands import why as asking
from controller.why.report import FORMATS

if TYPE_CHECKING:
    from controller.config import ClusterOptions, SourceOptions

NOT_OURS: Final = 3


@click.command()
@click.argument("denial", nargs=-1, metavar="TEXT|-|KIND/NAME")
@click.option("-n", "--namespace", metavar="NAME", help="Namespace of the workload. Without it: default.")
@click.option("-f", "--filename", metavar="FILE", help="The manifest that was denied, where the text does not hold it.")
@click.option(
    "--gator",
    metavar="PATH",
    default="gator",
    show_default=True,
    envvar="AZPOLICY_GATOR",
    help="Gatekeeper's command line, which has to pass a fix before it is printed.",
)
@click.option(
    "-o",
    "output",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="yaml is the patch alone, for kubectl patch --patch-file.",
)
@source_options
@cluster_options
def why(
    *,
    source: SourceOptions,
    cluster: ClusterOptions,
    denial: tuple[str, ...],
    namespace: str | None,
    filename: str | None,
    gator: str,
    output: str,
) -> int:
    """Say which policy denied a request, who decides about it, and the smallest change that it would let pass.

    Takes what kubectl, an event, Helm, Argo CD or Flux printed, as TEXT or on standard input (-), or looks at a
    workload's own events. A workload that nothing is said of, or a manifest alone (-f), is judged by gator. With
    --snapshot the policies are read from there, else from the cluster, and never from Azure. Exits with 0 when a policy
    of azpolicy's denied or warned, or would, 3 when none did, 2 on an error.
    """
    asked = asking.question(denial, namespace, filename, sys.stdin.buffer)
    found = asyncio.run(asking.why(asked, source, cluster, shutil.which(gator)))
    click.echo(FORMATS[output](found), nl=False)
    if output == "yaml" and found.ours and not found.patch:
        click.echo("no patch: -o text says why", err=True)
    return 0 if found.ours else NOT_OURS

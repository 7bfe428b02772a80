"""`azpolicy run`: the operator."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import click

from controller.cli.options import cluster_options, prune_options, source_options
from controller.cluster.client import Connection
from controller.cluster.report_objects import BY_SETTING
from controller.gatekeeper.naming import GATEKEEPER_NAMESPACE
from controller.operator.logs import start_logging
from controller.operator.main import OperatorSettings, operate
from controller.operator.settings import Pace, Settings

if TYPE_CHECKING:
    from controller.cluster.prune import PruneLimit
    from controller.config import ClusterOptions, SourceOptions


@click.command()
@source_options
@cluster_options
@prune_options
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2),
    default=900.0,
    show_default=True,
    metavar="SECONDS",
    envvar="AZPOLICY_INTERVAL",
    help="Time between polls of the source. A changed snapshot is read at once.",
)
@click.option(
    "--resync",
    type=click.FloatRange(min=0.2),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    envvar="AZPOLICY_RESYNC",
    help="Time between full compares without any cause.",
)
@click.option(
    "--listen",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    envvar="AZPOLICY_LISTEN",
    help="Where /healthz, /readyz and /metrics are served.",
)
@click.option(
    "--page-listen",
    default="",
    metavar="HOST:PORT",
    envvar="AZPOLICY_PAGE_LISTEN",
    help="Where the page for people is served. It is read-only and has no login of its own. Off if not given.",
)
@click.option(
    "--page-host",
    "page_hosts",
    multiple=True,
    metavar="NAME",
    envvar="AZPOLICY_PAGE_HOSTS",
    help="A host name that browsers reach the page by, for instance behind a proxy. It always answers to addresses, "
    "localhost and names of the cluster's own.",
)
@click.option(
    "--leader-elect",
    is_flag=True,
    envvar="AZPOLICY_LEADER_ELECT",
    help="Stand by while another replica is at work, and take over within seconds when it no longer is.",
)
@click.option(
    "--namespace",
    metavar="NAME",
    default=GATEKEEPER_NAMESPACE,
    show_default=True,
    envvar="AZPOLICY_NAMESPACE",
    help="The operator's own namespace: its Lease and the last good state are kept there.",
)
@click.option(
    "--identity",
    metavar="NAME",
    default=socket.gethostname,
    show_default="the host's name",
    envvar="AZPOLICY_IDENTITY",
    help="What tells this replica from the others: the pod's name.",
)
@click.option(
    "--release",
    metavar="NAME",
    default="",
    envvar="AZPOLICY_RELEASE",
    help="The Helm release that the operator is of: with the namespace it tells installations apart, of which a "
    "cluster has one.",
)
@click.option("--dry-run", is_flag=True, envvar="AZPOLICY_DRY_RUN", help="Poll, log and report, but enforce nothing.")
@click.option(
    "--guard-gatekeeper",
    is_flag=True,
    envvar="AZPOLICY_GUARD_GATEKEEPER",
    help="Bring Gatekeeper's Deployments, Services and webhook configurations back when somebody deletes them.",
)
@click.option(
    "--probe",
    is_flag=True,
    envvar="AZPOLICY_PROBE",
    help="Prove once a minute that Gatekeeper enforces, by a dry run in --namespace that it must deny.",
)
@click.option(
    "--reports",
    type=click.Choice(list(BY_SETTING)),
    default="none",
    show_default=True,
    envvar="AZPOLICY_REPORTS",
    help="Where reports of policies are written, once the kinds of the API are installed: openreports.io/v1alpha1 or "
    "wgpolicyk8s.io/v1alpha2.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="AZPOLICY_LOG_LEVEL",
)
def run(
    *,
    source: SourceOptions,
    cluster: ClusterOptions,
    limit: PruneLimit,
    interval: float,
    resync: float,
    listen: str,
    page_listen: str,
    page_hosts: tuple[str, ...],
    leader_elect: bool,
    namespace: str,
    identity: str,
    release: str,
    dry_run: bool,
    guard_gatekeeper: bool,
    probe: bool,
    reports: str,
    log_level: str,
) -> int:
    """Keep the cluster as Azure says until told to stop: the operator.

    Polls the source, repairs whatever somebody changes as it happens, and compares everything at every resync. Where
    the kinds PolicySync and AssignedPolicy are installed it reports there, and the PolicySync named default steers it.
    """
    start_logging(log_level)
    settings = OperatorSettings(
        connection=Connection(cluster.kubeconfig, cluster.context),
        base=Settings(source, Pace(interval, resync), limit, probe, BY_SETTING[reports]),
        marks=source.marks,
        listen=listen,
        namespace=namespace,
        identity=identity,
        release=release,
        leader_elect=leader_elect,
        dry_run=dry_run,
        guard_gatekeeper=guard_gatekeeper,
        lists_violations=bool(page_listen),
    )
    if not page_listen:
        asyncio.run(operate(settings))
        return 0
    from controller.page.server import serving  # noqa: PLC0415 - jinja2, which nothing else needs

    asyncio.run(operate(settings, serving(page_listen, page_hosts)))
    return 0

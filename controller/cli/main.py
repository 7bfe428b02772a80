"""The command line: one thin function per command, and the one place where errors become a line and an exit code.

Exit codes: 0 well, 1 where a command says so (design, Commands), 2 an error. Errors go to stderr, one line each.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import traceback
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.options import (
    cluster_options,
    managed_by_option,
    operator_namespace_option,
    prune_options,
    source_options,
    strict_option,
    wait_options,
)
from controller.errors import AzpolicyError, Refused
from controller.gatekeeper.naming import GATEKEEPER_NAMESPACE
from controller.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from controller.cluster.client import KubeClient
    from controller.cluster.plan import PruneLimit
    from controller.commands.status import PolicySync
    from controller.commands.status_view import Sheet
    from controller.config import ClusterOptions, SourceOptions
    from controller.gatekeeper.model import DesiredState
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.migration.migrate import Step

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
    from controller.commands import render as rendering  # noqa: PLC0415 - keeps --help and other commands quick

    desired = asyncio.run(read_desired_state(source))
    if output is None:
        for text in rendering.texts(desired.objects):
            click.echo(text, nl=False)
    else:
        rendering.write_folder(output, desired.objects)
    return report_unresolved(desired, strict=strict)


@cli.command()
@source_options
@cluster_options
@prune_options
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-v", "--verbose", is_flag=True, help="Show objects that stay as they are, too.")
@strict_option
def plan(
    *, source: SourceOptions, cluster: ClusterOptions, limit: PruneLimit, output: str, verbose: bool, strict: bool
) -> int:
    """Show what apply would change in the cluster, with a diff per object. Writes nothing.

    Exits with 0 when the cluster is in sync, 1 when there are changes, 2 on an error, a conflict or a refused deletion.
    """
    return asyncio.run(_plan(source, cluster, limit, output, verbose=verbose, strict=strict))


async def _plan(
    source: SourceOptions, cluster: ClusterOptions, limit: PruneLimit, output: str, *, verbose: bool, strict: bool
) -> int:
    from controller.commands import plan_view  # noqa: PLC0415
    from controller.commands.session import open_session  # noqa: PLC0415

    async with open_session(source, cluster) as session:
        made = await session.plan(limit, preview=True)
    if output == "json":
        click.echo(plan_view.as_json(made, session.desired), nl=False)
    else:
        for line in plan_view.as_text(made, session.desired, colour=sys.stdout.isatty(), verbose=verbose):
            click.echo(line)
    unresolved = report_unresolved(session.desired, strict=strict)
    return unresolved or (ERROR if made.problems else int(bool(made.writes)))


@cli.command()
@source_options
@cluster_options
@prune_options
@click.option("--dry-run", is_flag=True, help="The same as azpolicy plan.")
@strict_option
def apply(*, source: SourceOptions, cluster: ClusterOptions, limit: PruneLimit, dry_run: bool, strict: bool) -> int:
    """Make the cluster as Azure says, once, and say what was done.

    Exits with 2 when anything failed, is in conflict or was refused; the rest is done all the same.
    """
    if dry_run:
        return asyncio.run(_plan(source, cluster, limit, "text", verbose=False, strict=strict))
    return asyncio.run(_apply(source, cluster, limit, strict=strict))


async def _apply(source: SourceOptions, cluster: ClusterOptions, limit: PruneLimit, *, strict: bool) -> int:
    from controller.commands import plan_view  # noqa: PLC0415
    from controller.commands.session import open_session  # noqa: PLC0415

    async with open_session(source, cluster) as session:
        made = await session.plan(limit, preview=False)
        outcome = await session.apply(made, plan_view.Progress(len(made.writes)).done)
    click.echo(plan_view.summary(outcome.results, session.desired, head="apply"))
    unresolved = report_unresolved(session.desired, strict=strict)
    return unresolved or (ERROR if outcome.problems else 0)


@cli.command()
@click.argument("assignments", nargs=-1, metavar="[ASSIGNMENT]...")
@source_options
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@strict_option
def explain(*, source: SourceOptions, assignments: tuple[str, ...], output: str, strict: bool) -> int:
    """Show what each member of each ASSIGNMENT became, or why it is not enforced and what to do.

    An assignment is given by its id, name or display name; without any, all are shown. No cluster is asked.
    """
    from controller.commands import explain as explaining  # noqa: PLC0415

    desired = asyncio.run(read_desired_state(source))
    explanation = explaining.explain(desired, assignments)
    if output == "json":
        click.echo(explaining.as_json(explanation), nl=False)
    else:
        for line in explaining.as_text(explanation):
            click.echo(line)
    return ERROR if strict and explanation.unresolved else 0


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@source_options
def export(*, source: SourceOptions, folder: Path) -> int:
    """Save what Azure says of the cluster as a snapshot in the folder DIR, for --snapshot.

    All of it or nothing; an earlier export in DIR is replaced, a DIR that holds other files is refused.
    """
    from controller.commands.export import write_export  # noqa: PLC0415
    from controller.source import read_azure  # noqa: PLC0415

    reading = asyncio.run(read_azure(source))
    count = write_export(folder, reading.documents)
    click.echo(f"export: {count} files in {folder}, {reading.requests} requests")
    return 0


@cli.command()
@source_options
@cluster_options
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Exit with 2 if anything could not be compared.")
def compare(*, source: SourceOptions, cluster: ClusterOptions, output: str, strict: bool) -> int:
    """Set the compliance that Azure holds beside Gatekeeper's own audit, member by member.

    Exits with 0 when no two verdicts contradict each other, 1 when some do, 2 on an error.
    """
    from controller.commands import compare as comparing  # noqa: PLC0415
    from controller.commands import session  # noqa: PLC0415

    found = asyncio.run(session.compare_audits(source, cluster))
    if output == "json":
        click.echo(comparing.as_json(str(source.cluster_id), found), nl=False)
    else:
        for line in comparing.as_text(found):
            click.echo(line)
    verdicts = {each.verdict for each in found}
    if strict and comparing.Verdict.UNKNOWN in verdicts:
        return ERROR
    return int(comparing.Verdict.DIFFERS in verdicts)


@cli.command()
@click.option("--from-addon", "direction", flag_value="from-addon", help="From the AKS add-on to azpolicy.")
@click.option("--to-addon", "direction", flag_value="to-addon", help="Back: compare, enforce and check.")
@click.option(
    "--step",
    type=click.Choice(["compare", "shadow", "enforce", "check", "finish"]),
    default="compare",
    show_default=True,
    help="compare and check only read. shadow installs everything beside the add-on's in dry run, enforce enforces it "
    "there, finish takes over what the add-on left once it is off.",
)
@source_options
@cluster_options
@prune_options
@click.option("--dry-run", is_flag=True, help="Show the step's plan, write nothing.")
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def migrate(
    *,
    direction: str | None,
    step: str,
    source: SourceOptions,
    cluster: ClusterOptions,
    limit: PruneLimit,
    dry_run: bool,
    output: str,
) -> int:
    """Move from the AKS add-on to azpolicy, or back, a step at a time.

    Exits with 0 when a step is done, nothing compared differs, or the check says that the other can be switched off;
    with 1 when something differs or it must not be yet; with 2 on an error or a problem. With --dry-run as plan.
    """
    from controller.migration import migrate as migrating  # noqa: PLC0415
    from controller.migration import view  # noqa: PLC0415

    if direction is None:
        raise click.UsageError("give --from-addon or --to-addon")
    leg = migrating.Leg(migrating.Direction(direction), migrating.Step(step))
    if not leg.step.reads:
        return asyncio.run(_migrate(leg.step, source, cluster, limit, output, dry_run=dry_run))
    answer = asyncio.run(migrating.look(leg, source, cluster))
    click.echo(view.FORMATS[output](answer), nl=False)
    return int(not answer.good)


async def _migrate(
    step: Step, source: SourceOptions, cluster: ClusterOptions, limit: PruneLimit, output: str, *, dry_run: bool
) -> int:
    from controller.commands import plan_view  # noqa: PLC0415
    from controller.migration import migrate as migrating  # noqa: PLC0415

    async with migrating.prepared(step, source, cluster, limit) as ready:
        desired, made = ready.session.desired, ready.plan
        if output == "json":
            click.echo(plan_view.as_json(made, desired), nl=False)
        else:
            for line in plan_view.as_text(made, desired, colour=sys.stdout.isatty()):
                click.echo(line)
        for note in ready.notes:
            click.echo(one_line(f"note: {note}"), err=True)
        report_unresolved(desired, strict=False)
        if dry_run:
            return ERROR if made.problems else int(bool(made.writes))
        progress = plan_view.Progress(len(made.writes)).done if output == "text" else lambda _: None
        outcome = await ready.session.apply(made, progress)
    if output == "text":
        click.echo(plan_view.summary(outcome.results, desired, head=step))
    else:
        for problem in outcome.problems:
            click.echo(one_line(f"{problem.action} {problem.ref}: {problem.message}"), err=True)
    return ERROR if outcome.problems else 0


@cli.command()
@click.argument("manifests", nargs=-1, required=True, metavar="FILE|DIR|-...")
@source_options
@click.option(
    "--gator",
    metavar="PATH",
    default="gator",
    show_default=True,
    envvar="AZPOLICY_GATOR",
    help="Gatekeeper's command line, which judges.",
)
@click.option(
    "--namespace",
    default="default",
    show_default=True,
    metavar="NAME",
    help="Namespace of objects that do not name theirs.",
)
@click.option("-o", "output", type=click.Choice(["text", "json", "sarif", "junit"]), default="text", show_default=True)
@strict_option
def check(
    *, source: SourceOptions, manifests: tuple[str, ...], gator: str, namespace: str, output: str, strict: bool
) -> int:
    """Say whether the objects in FILE, DIR or standard input (-) would pass what Azure assigns.

    Workloads are judged by the pods that they would make, too. Nothing is asked of a cluster. Exits with 0 when all
    pass (findings that are only audited or warned of included), 1 when something would be denied, 2 on an error.
    """
    from controller.check.gator import find_gator  # noqa: PLC0415
    from controller.check.judge import Action, judge  # noqa: PLC0415
    from controller.check.manifests import read_manifests  # noqa: PLC0415
    from controller.check.report import FORMATS  # noqa: PLC0415

    program = find_gator(gator)
    reading = read_manifests(manifests)
    desired = asyncio.run(read_desired_state(source))
    result = judge(reading.manifests, desired, gator=program, namespace=namespace)
    click.echo(FORMATS[output](result), nl=False)
    for location in reading.passed_over:
        click.echo(one_line(f"note: {location}: no Kubernetes object, passed over"), err=True)
    for note in result.notes:
        click.echo(one_line(f"note: {note}"), err=True)
    return report_unresolved(desired, strict=strict) or int(result.count(Action.DENY) > 0)


@cli.command()
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
@click.option("--dry-run", is_flag=True, envvar="AZPOLICY_DRY_RUN", help="Poll, log and report, but enforce nothing.")
@click.option(
    "--guard-gatekeeper",
    is_flag=True,
    envvar="AZPOLICY_GUARD_GATEKEEPER",
    help="Bring Gatekeeper's Deployments, Services and webhook configurations back when somebody deletes them.",
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
    leader_elect: bool,
    namespace: str,
    identity: str,
    dry_run: bool,
    guard_gatekeeper: bool,
    log_level: str,
) -> int:
    """Keep the cluster as Azure says until told to stop: the operator.

    Polls the source, repairs whatever somebody changes as it happens, and compares everything at every resync. Where
    the kinds PolicySync and AssignedPolicy are installed it reports there, and the PolicySync named default steers it.
    """
    from controller.cluster.client import Connection  # noqa: PLC0415
    from controller.operator.logs import start_logging  # noqa: PLC0415
    from controller.operator.main import OperatorSettings, operate  # noqa: PLC0415
    from controller.operator.settings import Pace, Settings  # noqa: PLC0415

    start_logging(log_level)
    settings = OperatorSettings(
        connection=Connection(cluster.kubeconfig, cluster.context),
        base=Settings(source, Pace(interval, resync), limit),
        marks=source.marks,
        listen=listen,
        namespace=namespace,
        identity=identity,
        leader_elect=leader_elect,
        dry_run=dry_run,
        guard_gatekeeper=guard_gatekeeper,
    )
    asyncio.run(operate(settings))
    return 0


@cli.command()
@click.argument("assignments", nargs=-1, metavar="[ASSIGNMENT]...")
@cluster_options
@operator_namespace_option
@click.option("--problems", is_flag=True, help="Show only policies that are neither enforced nor known not to apply.")
@click.option("-o", "output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True)
def status(
    *, cluster: ClusterOptions, namespace: str | None, assignments: tuple[str, ...], problems: bool, output: str
) -> int:
    """Show how the operator is doing and what became of the policies of each ASSIGNMENT, as the cluster has it.

    An assignment is given by its id, name or display name; without any, all are shown. Reads PolicySync default and
    the AssignedPolicies, and writes nothing.
    """
    from controller.cluster.resources import read_resources  # noqa: PLC0415
    from controller.commands import status_view  # noqa: PLC0415
    from controller.commands.status import Status  # noqa: PLC0415

    async def read() -> Status:
        async with _cluster_client(cluster) as client:
            return Status.of(await read_resources(client, namespace))

    found = asyncio.run(read()).only(assignments, problems=problems)
    if output != "text":
        click.echo(status_view.FORMATS[output](found), nl=False)
    else:
        _show(status_view.sheet(found, datetime.now(UTC)))
    return 0


def _show(sheet: Sheet) -> None:
    """On a terminal as tables, else as text: only a terminal needs the library that draws them."""
    if sys.stdout.isatty():
        from controller.commands.terminal import show  # noqa: PLC0415

        show(sheet)
        return
    from controller.commands.status_view import as_text  # noqa: PLC0415

    for line in as_text(sheet):
        click.echo(line)


@cli.command()
@cluster_options
@click.option(
    "--force-prune", metavar="DIGEST", default="", help="Do the refused deletions that azpolicy status names, once."
)
@wait_options
def sync(*, cluster: ClusterOptions, force_prune: str, wait_s: float | None) -> int:
    """Have the operator poll the source and compare everything now, and wait until it has.

    Exits with 0 when that is done and the cluster is as Azure says, 2 otherwise.
    """
    return asyncio.run(_sync(cluster, force_prune, wait_s))


async def _sync(cluster: ClusterOptions, force_prune: str, wait_s: float | None) -> int:
    from controller.commands import requests  # noqa: PLC0415
    from controller.commands.status_view import result_line  # noqa: PLC0415

    async with _cluster_client(cluster) as client:
        asked = await requests.request_sync(client, datetime.now(UTC), force_prune)
        if wait_s is None:
            click.echo(f"sync: asked for at {asked.requested}")
            return 0
        answered = await requests.wait_for(client, requests.is_answered(asked), wait_s)
    if force_prune and answered.forced_digest != force_prune:
        raise Refused("the refused deletions are others by now, and were not done: see azpolicy status")
    click.echo(result_line("sync", answered))
    return 0 if answered.ready else ERROR


@cli.command()
@cluster_options
@click.option("--until", metavar="TIME", help="When it ends, with its zone, such as 2030-01-31T18:00:00Z.")
@click.option("--for", "duration", metavar="DURATION", help="How long it lasts, such as 90m or 8h30m.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for whoever meets it later.")
@wait_options
def suspend(
    *, cluster: ClusterOptions, until: str | None, duration: str | None, reason: str, wait_s: float | None
) -> int:
    """Have the operator read and report, but write nothing, until a moment that has to be given.

    Drift is not repaired meanwhile. Exits with 0 once the operator has taken it up.
    """
    from controller.commands import requests  # noqa: PLC0415

    end = requests.end_of_suspension(until, duration, datetime.now(UTC))
    asked = partial(requests.request_suspension, until=end, reason=reason)
    return asyncio.run(_set(cluster, asked, "suspend", wait_s))


@cli.command()
@cluster_options
@wait_options
def resume(*, cluster: ClusterOptions, wait_s: float | None) -> int:
    """End a suspension now. Exits with 0 once the operator has taken it up."""
    from controller.commands import requests  # noqa: PLC0415

    return asyncio.run(_set(cluster, requests.request_resumption, "resume", wait_s))


async def _set(
    cluster: ClusterOptions, ask: Callable[[KubeClient], Awaitable[PolicySync]], head: str, wait_s: float | None
) -> int:
    """Changes the settings in PolicySync and waits until the operator has taken them up."""
    from controller.commands import requests  # noqa: PLC0415
    from controller.commands.status_view import result_line  # noqa: PLC0415

    async with _cluster_client(cluster) as client:
        asked = await ask(client)
        if wait_s is None:
            click.echo(f"{head}: asked for")
            return 0
        taken_up = await requests.wait_for(client, requests.is_taken_up(asked), wait_s)
    click.echo(result_line(head, taken_up))
    return 0


@cli.command()
@cluster_options
@managed_by_option
@operator_namespace_option
@click.option("--keep-crds", is_flag=True, help="Leave the kinds PolicySync and AssignedPolicy, without any object.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Go on although an operator is at work.")
def uninstall(
    *, cluster: ClusterOptions, managed_by: str, namespace: str | None, keep_crds: bool, yes: bool, force: bool
) -> int:
    """Take away everything that azpolicy made in the cluster: nothing of it is enforced any more.

    Shows what will go and asks. Templates that constraints of others use are kept, and nothing of others is touched.
    Stop the operator first: it would put everything back. One that holds a Lease is noticed, and makes this refuse; one
    that runs without --leader-elect cannot be seen. Exits with 2 when it was not confirmed, or anything could not go.
    """
    from controller.gatekeeper.naming import OwnershipMarks  # noqa: PLC0415

    marks = OwnershipMarks(managed_by)
    return asyncio.run(_uninstall(cluster, marks, namespace, keep_crds=keep_crds, yes=yes, force=force))


async def _uninstall(
    cluster: ClusterOptions, marks: OwnershipMarks, namespace: str | None, *, keep_crds: bool, yes: bool, force: bool
) -> int:
    from controller.commands import plan_view  # noqa: PLC0415
    from controller.commands import uninstall as uninstalling  # noqa: PLC0415

    async with _cluster_client(cluster) as client:
        job = uninstalling.Uninstall(client, marks, namespace, keep_kinds=keep_crds)
        if not force:
            await job.refuse_beside_operator()
        found = await job.survey()
        for line in uninstalling.as_text(found):
            click.echo(line)
        if not found.count:
            return ERROR if found.held else 0
        if not (yes or _confirmed(f"Delete these {found.count} objects?")):
            raise Refused("nothing was deleted: confirm it, or give --yes")
        outcome = await job.remove(found, plan_view.Progress(found.count).done)
    click.echo(uninstalling.summary(outcome))
    return ERROR if outcome.problems or found.held else 0


def _confirmed(question: str) -> bool:
    """Whether somebody at a terminal says yes."""
    return sys.stdin.isatty() and click.confirm(question)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> int:
    """Print the script that completes azpolicy's commands and options in a shell.

    For bash: source <(azpolicy completion bash), in ~/.bashrc to have it always. For kubectl azpolicy nothing is to be
    done but to have kubectl_complete-azpolicy, which comes with azpolicy, on PATH.
    """
    return _complete(f"{shell}_source")


def _complete(instruction: str) -> int:
    """What a shell is told: its script, or the candidates for what was typed so far."""
    from controller.cli.completion import answer_shell  # noqa: PLC0415

    return answer_shell(instruction)


def _cluster_client(cluster: ClusterOptions) -> KubeClient:
    from controller.cluster.client import Connection, KubeClient  # noqa: PLC0415

    return KubeClient(Connection(cluster.kubeconfig, cluster.context))


async def read_desired_state(source: SourceOptions) -> DesiredState:
    """Reads the source once and says what the cluster should hold."""
    from controller.source import NoCluster, open_source  # noqa: PLC0415

    async with open_source(source) as opened:
        return await opened.read(NoCluster())


def report_unresolved(desired: DesiredState, *, strict: bool) -> int:
    """Names every unresolved member on stderr, and gives the exit code that follows."""
    from controller.policy.model import Unresolved  # noqa: PLC0415

    unresolved = [outcome for outcome in desired.outcomes if isinstance(outcome, Unresolved)]
    for outcome in unresolved:
        member = "" if outcome.message.startswith(str(outcome.member)) else f"{outcome.member}: "
        click.echo(one_line(f"unresolved {outcome.reason}: {member}{outcome.message}"), err=True)
    return ERROR if strict and unresolved else 0


def _run(name: str, arguments: Sequence[str]) -> int:
    # Not `cli.main`: it takes a closed pipe for an error of its own, with an exit code that means something else here.
    with cli.make_context(name, list(arguments)) as context:
        return int(cli.invoke(context) or 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs a command and leaves with its exit code."""
    called = Path(sys.argv[0]).name
    name = "kubectl azpolicy" if called == "kubectl-azpolicy" else "azpolicy"
    try:
        if asked := os.environ.get("_AZPOLICY_COMPLETE"):
            code = _complete(asked)
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
        click.echo("error: this is a fault of azpolicy itself: please report the lines above", err=True)
        code = ERROR
    sys.exit(code)

"""The operator: our loops beside kopf's, and a small web server for probes and metrics.

kopf does signals, login and the watch on CustomResourceDefinitions. Gatekeeper's own kinds go through our watchers:
kopf's end the process when a kind goes away under them (design property 11). kopf ending ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import kopf
from aiohttp import web

from controller.cluster.apply import Applier, Memory
from controller.cluster.client import KubeClient
from controller.cluster.record import ClusterRecord
from controller.cluster.sync import Planner
from controller.errors import AzpolicyError, InputError
from controller.gatekeeper.naming import CONSTRAINT_GROUP, MUTATION_GROUP, TEMPLATE_GROUP
from controller.reconcile import Pace, Reconciler, Tools
from controller.report.metrics import Metrics
from controller.sources import open_source

if TYPE_CHECKING:
    from controller.cluster.client import Connection
    from controller.cluster.plan import PruneLimit
    from controller.gatekeeper.naming import Marks
    from controller.options import SourceOptions

log = logging.getLogger("azpolicy")
_WATCHED_GROUPS: Final = frozenset({CONSTRAINT_GROUP, MUTATION_GROUP, TEMPLATE_GROUP})
_STOP_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """All that `azpolicy run` is told; `listen` is HOST:PORT of probes and metrics."""

    connection: Connection
    source: SourceOptions
    marks: Marks
    pace: Pace
    limit: PruneLimit
    listen: str
    dry_run: bool = False


async def operate(settings: OperatorSettings) -> None:
    """Runs until SIGTERM or SIGINT; an AzpolicyError when it cannot start or must not go on."""
    metrics = Metrics(time.time)
    async with open_source(settings.source) as source, KubeClient(settings.connection) as client:
        memory = Memory()
        applier = Applier(client, settings.marks, memory)
        tools = Tools(
            client=client,
            planner=Planner(client, applier, memory, settings.marks),
            applier=applier,
            record=ClusterRecord(client, settings.marks),
            source=source,
            marks=settings.marks,
            metrics=metrics,
            pace=settings.pace,
            limit=settings.limit,
            dry_run=settings.dry_run,
        )
        reconciler = Reconciler(tools)
        async with _web_server(settings.listen, reconciler, metrics):
            log.info("started cluster=%s listen=%s dry_run=%s", client.server, settings.listen, settings.dry_run)
            with _first_error():
                await _run_beside_kopf(settings, reconciler)
    log.info("stopped")


async def _run_beside_kopf(settings: OperatorSettings, reconciler: Reconciler) -> None:
    async with asyncio.TaskGroup() as group:
        # Ours first: kopf cancels, on its way out, every task that is younger than itself.
        loops = group.create_task(reconciler.run())
        registry = _registry(settings.connection, reconciler, loops)
        operator = group.create_task(
            kopf.operator(registry=registry, settings=_kopf_settings(), clusterwide=True, standalone=True)
        )
        operator.add_done_callback(lambda _: loops.cancel())


@contextlib.contextmanager
def _first_error() -> Any:
    """A task group's errors as the one that a user can do something about."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours = group.subgroup(AzpolicyError)
        if ours is None:
            raise
        first: BaseException = ours
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from group


def _registry(connection: Connection, reconciler: Reconciler, loops: asyncio.Task[None]) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection_info(connection)

    @kopf.on.event("apiextensions.k8s.io", "v1", "customresourcedefinitions", registry=registry)
    def crd_changed(type: str | None, body: Any, **_: Any) -> None:  # noqa: A002 - kopf's name
        # The first listing (no type) tells nothing that the first sync does not see itself.
        if type is not None and (body.get("spec") or {}).get("group") in _WATCHED_GROUPS:
            reconciler.wake()

    @kopf.on.cleanup(registry=registry)
    async def end_loops(**_: Any) -> None:
        # kopf waits five seconds for tasks that are younger than itself, and our watchers are.
        loops.cancel()
        await asyncio.wait([loops], timeout=_STOP_SECONDS)

    return registry


async def connection_info(connection: Connection) -> kopf.ConnectionInfo:
    """kopf's form of the connection that our own client uses, a fresh token included."""
    configuration = await connection.configuration()
    auth = (await configuration.auth_settings()).get("BearerToken")
    scheme, _, token = str(auth["value"]).rpartition(" ") if auth else ("", "", None)
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        scheme=scheme or None,
        token=token,
    )


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    settings.watching.server_timeout = 290
    settings.watching.client_timeout = 300
    settings.process.ultimate_exiting_timeout = _STOP_SECONDS
    return settings


@contextlib.asynccontextmanager
async def _web_server(listen: str, reconciler: Reconciler, metrics: Metrics) -> Any:
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(_app(reconciler, metrics), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host or "0.0.0.0", int(port)).start()  # noqa: S104 - probes come from the node
    except (OSError, ValueError, OverflowError) as error:
        await runner.cleanup()
        raise InputError(f"--listen {listen}: {error}; give HOST:PORT that is free") from error
    try:
        yield
    finally:
        await runner.cleanup()


def _app(reconciler: Reconciler, metrics: Metrics) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        alive = reconciler.alive()
        return web.Response(text="ok\n" if alive else "a loop does not advance\n", status=200 if alive else 500)

    async def readyz(_: web.Request) -> web.Response:
        ready = reconciler.complete.is_set()
        return web.Response(text="ok\n" if ready else "no complete inventory yet\n", status=200 if ready else 503)

    async def metrics_text(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics_text)])
    return app

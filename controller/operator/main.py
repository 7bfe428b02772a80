"""The operator: our loops beside kopf's, and a small web server for probes and metrics.

kopf does signals and login. All watches are our own: kopf's end the process when a kind goes away under them, or when
one object cannot be read (docs/decisions/008-the-part-of-kopf.md). The end of kopf ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import kopf
from aiohttp import web

from controller.cluster.client import KubeClient
from controller.cluster.installation import Installation
from controller.cluster.lean import FIRST
from controller.cluster.lease import Leadership, LeaseSettings
from controller.errors import AzpolicyError, InputError
from controller.operator.leader_session import LeaderSession
from controller.operator.loop_lag import loop_lag_measured
from controller.report.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from controller.cluster.client import Connection
    from controller.cluster.lease import Lease
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.operator.settings import Settings

log = logging.getLogger("azpolicy")
_STOP_SECONDS: Final = 10.0
_NO_INVENTORY: Final = "no complete inventory yet"


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The settings of `azpolicy run`; `listen` is HOST:PORT of probes and metrics.

    `base` is what a PolicySync can change; `namespace` is the operator's own; `identity` tells replicas apart, and
    `release` the installations in one namespace. `lists_violations` keeps the violations that constraints list.
    """

    connection: Connection
    base: Settings
    marks: OwnershipMarks
    listen: str
    namespace: str
    identity: str
    release: str = ""
    leader_elect: bool = False
    dry_run: bool = False
    guard_gatekeeper: bool = False
    lists_violations: bool = False

    @property
    def installation(self) -> Installation:
        """Which of several installations this operator is of."""
        return Installation(self.marks, "/".join(filter(None, (self.namespace, self.release))))


async def operate(
    settings: OperatorSettings,
    beside: Callable[[Replica], AbstractAsyncContextManager[None]] = lambda _: contextlib.nullcontext(),
) -> None:
    """Runs until SIGTERM or SIGINT; an AzpolicyError when it cannot start or must not go on.

    `beside` serves what shows the replica to people, as long as it runs.
    """
    # What was imported stays: to look through it for garbage would hold up the event loop again and again.
    gc.freeze()
    # The elector's own client has no fence, and does not queue behind requests that hang.
    async with KubeClient(settings.connection) as electing:
        leadership = _leadership(settings, electing) if settings.leader_elect else None
        fence = leadership.remaining if leadership else None
        async with KubeClient(settings.connection, fence=fence, violations=FIRST) as client:
            replica = Replica(settings, client, leadership)
            async with (
                web_server(_app(replica), settings.listen, option="--listen"),
                beside(replica),
                loop_lag_measured(replica.metrics.lagged),
            ):
                log.info("started cluster=%s listen=%s dry_run=%s", client.server, settings.listen, settings.dry_run)
                with _first_error():
                    await _run_beside_kopf(settings, replica)
    log.info("stopped")


def _leadership(settings: OperatorSettings, client: KubeClient) -> Leadership:
    # A pod that starts again under its name must not take what it held before for its own.
    identity = f"{settings.identity}_{uuid.uuid4().hex[:8]}"
    return Leadership(
        client, LeaseSettings(namespace=settings.namespace, identity=identity, installation=settings.installation)
    )


class Replica:
    """One of the operator's replicas: stands by, or is at work; and what its pages say of it."""

    def __init__(self, settings: OperatorSettings, client: KubeClient, leadership: Leadership | None) -> None:
        self.metrics = Metrics(time.time)
        self._settings = settings
        self._client = client
        self._leadership = leadership
        self._session: LeaderSession | None = None
        self._synced = False

    async def run(self) -> None:
        """Works, or stands by and works when it comes to lead, until it is cancelled."""
        if self._leadership is None:
            await self._work()
        else:
            await self._leadership.lead(self._work)

    async def _work(self) -> None:
        settings, leadership = self._settings, self._leadership
        if leadership and leadership.last_good:
            self.metrics.last_good(leadership.last_good.timestamp())
        self._session = LeaderSession(
            self._client,
            settings.installation,
            self.metrics,
            settings.base,
            namespace=settings.namespace,
            instance=settings.identity,
            good_at=self._good_at,
            dry_run=settings.dry_run,
            guard=settings.guard_gatekeeper,
            lists_violations=settings.lists_violations,
        )
        self.metrics.leading(leads=True)
        try:
            await self._session.run()
        finally:
            self.metrics.leading(leads=False)
            self._session = None

    def _good_at(self, moment: datetime) -> None:
        """A full sync was good."""
        if not self._synced:
            self._synced = True
            gc.freeze()  # what the first one leaves stays, as what was imported
        if self._leadership is not None:
            self._leadership.note(moment)

    @property
    def session(self) -> LeaderSession | None:
        """The term at work; None while this replica stands by."""
        return self._session

    @property
    def lease(self) -> Lease | None:
        """The Lease as it was last seen; None without one, and where nothing is known of it."""
        return self._leadership.lease if self._leadership is not None else None

    @property
    def alive(self) -> bool:
        """Whether what should advance advances."""
        return self._session is None or self._session.loops.state.alive()

    @property
    def unready(self) -> str:
        """Why it is not ready, empty where it is: it is at work and knows the cluster, or stands by for one of its own.

        A standby of another installation would wait for ever.
        """
        if self._session is not None:
            return "" if self._session.loops.state.complete.is_set() else _NO_INVENTORY
        return self._leadership.held_by_another if self._leadership is not None else _NO_INVENTORY


async def _run_beside_kopf(settings: OperatorSettings, replica: Replica) -> None:
    async with asyncio.TaskGroup() as group:
        # Ours first: kopf cancels, on its way out, every task that is younger than itself.
        loops = group.create_task(replica.run())
        registry = _registry(settings.connection, loops)
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


def _registry(connection: Connection, loops: asyncio.Task[None]) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection_info(connection)

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
async def web_server(app: web.Application, listen: str, *, option: str) -> AsyncIterator[None]:
    """Serves an application at HOST:PORT; InputError that names the option where that is not possible."""
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host or "0.0.0.0", int(port)).start()  # noqa: S104 - probes come from the node
    except (OSError, ValueError, OverflowError) as error:
        await runner.cleanup()
        raise InputError(f"{option} {listen}: {error}; give HOST:PORT that is free") from error
    try:
        yield
    finally:
        await runner.cleanup()


def _app(replica: Replica) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        alive = replica.alive
        return web.Response(text="ok\n" if alive else "a loop does not advance\n", status=200 if alive else 500)

    async def readyz(_: web.Request) -> web.Response:
        unready = replica.unready
        return web.Response(text=f"{unready or 'ok'}\n", status=503 if unready else 200)

    async def metrics_text(_: web.Request) -> web.Response:
        # Thousands of policies have a series each: on the event loop, every scrape would hold up the repairs.
        body = await asyncio.to_thread(replica.metrics.text)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics_text)])
    return app

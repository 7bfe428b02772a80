"""An HTTPS server in a thread, with an authority of its own, so that TLS checks are part of every test."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from tests.certs import Authority

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Server:
    """aiohttp's server in a thread with a loop of its own; `authority_file` has the CA that clients are to trust."""

    def __init__(self, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        self._answer = answer
        self._folder = tempfile.TemporaryDirectory(prefix="arm-")
        authority = Authority()
        self.authority_file = Path(self._folder.name, "ca.pem")
        self.authority_file.write_bytes(authority.pem)
        pair = authority.server("127.0.0.1")
        self._pair_file = Path(self._folder.name, "server.pem")
        self._pair_file.write_bytes(pair.certificate + pair.key)
        self.url, self.host = "", ""
        self.stopping: asyncio.Event
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="arm-standin", daemon=True)
        self._server: web.Server
        self._runner: web.ServerRunner

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(timeout=30)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=30)
        self._loop.close()
        self._folder.cleanup()

    async def _open(self) -> None:
        self.stopping = asyncio.Event()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._pair_file)
        self._server = web.Server(self._answer)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.host = f"{host}:{port}"
        self.url = f"https://{self.host}"

    async def _close(self) -> None:
        self.stopping.set()
        transports = [connection.transport for connection in self._server.connections]
        await self._runner.cleanup()
        # A polite end of TLS waits for the peer, who may be gone or an API server that keeps idle connections.
        for transport in transports:
            if transport is not None:
                transport.abort()
        handshakes = asyncio.all_tasks() - {asyncio.current_task()}
        for task in handshakes:
            task.cancel()
        await asyncio.gather(*handshakes, return_exceptions=True)
        await asyncio.sleep(0)  # Sockets are closed in the loop's next round.

"""The page's web server: GET and HEAD, a few addresses, and nothing that changes anything.

It has no login: docs/page.md says how to put one in front. What a browser could be made to do with it is limited here:
no script runs, nothing may frame it, and it answers only to names that a stranger's site cannot take (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from aiohttp import web

from controller.operator.main import web_server
from controller.page import views
from controller.page.facts import Facts, Moment
from controller.page.render import FOLDER, environment, html

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping
    from contextlib import AbstractAsyncContextManager

    from controller.operator.main import Replica

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger("azpolicy")
# Nothing may be loaded or run but our own style and icon; forms go to this page alone.
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_METHODS: Final = ("GET", "HEAD")
_FRESH_SECONDS: Final = 1.0
_ASKED_AT_MOST: Final = 32
_LONGEST_LOGGED: Final = 200
_STATIC: Final = {"/style.css": "text/css", "/icon.svg": "image/svg+xml"}
# Names that no public DNS gives: https://www.rfc-editor.org/rfc/rfc6761 and a cluster's own.
_PRIVATE_NAMES: Final = (".localhost", ".svc", ".cluster.local")


def serving(listen: str, hosts: Collection[str]) -> Callable[[Replica], AbstractAsyncContextManager[None]]:
    """What serves a replica's page at HOST:PORT; `hosts` are the names that it answers to besides private ones."""
    return lambda replica: web_server(application(replica, hosts), listen, option="--page-listen")


def is_own_host(host: str, hosts: Collection[str]) -> bool:
    """Whether a request's Host is one that nobody else's site can have: an address, a private name, or a given one."""
    name = host.strip().casefold().removesuffix(".")
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return name == "localhost" or name.endswith(_PRIVATE_NAMES) or name in hosts


class _Pages:
    """The pages of one replica. One is made at a time, in a thread, so that the operator's loops go on."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._templates = environment()
        self._making = asyncio.Lock()
        self._asked = 0
        self._facts: Facts | None = None

    async def answer(self, request: web.Request, make: Callable[[Facts], views.Page]) -> web.Response:
        """The page as HTML, or as JSON with `?format=json`."""
        if self._asked >= _ASKED_AT_MOST:
            busy = "too many requests at once: try again in a moment"
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, busy, {"Retry-After": "1"})
        self._asked += 1
        try:
            async with self._making:
                facts = await self._read()
                page = views.standby(self._replica.lease) if facts is None else await asyncio.to_thread(make, facts)
                response = await asyncio.to_thread(self._rendered, request, page)
        finally:
            self._asked -= 1
        if facts is None:
            # The next request may reach the replica that leads, but not over this connection.
            response.force_close()
        return response

    async def _read(self) -> Facts | None:
        """The facts, which many requests of one second share; None while the replica stands by."""
        moment = Moment.of(self._replica)
        if moment is None:
            self._facts = None
        elif self._facts is None:
            self._facts = await asyncio.to_thread(Facts.of, moment)
            # They are as large as the cluster: not to be kept when nobody looks.
            asyncio.get_running_loop().call_later(_FRESH_SECONDS, self._forget)
        return self._facts

    def _forget(self) -> None:
        self._facts = None

    def _rendered(self, request: web.Request, page: views.Page) -> web.Response:
        if request.query.get("format") == "json":
            text = json.dumps(page.document, indent=2, sort_keys=True) + "\n"
            return web.Response(text=text, content_type="application/json", status=page.status)
        query = urlencode({**request.query, "format": "json"})
        text = html(self._templates, page, request.path, query)
        return web.Response(text=text, content_type="text/html", status=page.status)


def application(replica: Replica, hosts: Collection[str]) -> web.Application:
    """The page of a replica; `hosts` are the names that it answers to besides private ones."""
    pages = _Pages(replica)
    app = web.Application(middlewares=[_guarded(frozenset(map(str.casefold, hosts)))])

    def page_of(view: Callable[[Facts, views.Query], views.Page]) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            query = views.Query.of(request.query)
            return await pages.answer(request, lambda facts: view(facts, query))

        return handler

    def page_by_key(view: Callable[[Facts, views.Query, str], views.Page]) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            query, key = views.Query.of(request.query), request.match_info["key"]
            return await pages.answer(request, lambda facts: view(facts, query, key))

        return handler

    for path, view in views.PAGES.items():
        app.router.add_get(path, page_of(view))
    for path, named in views.NAMED_PAGES.items():
        app.router.add_get(f"{path}/{{key}}", page_by_key(named))
    for path, content_type in _STATIC.items():
        app.router.add_get(path, _static(path, content_type))
    app.router.add_get("/{key:.*}", page_by_key(views.missing))
    return app


def _static(path: str, content_type: str) -> Handler:
    text = (FOLDER / path.removeprefix("/")).read_text(encoding="utf-8")

    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type=content_type, headers={"Cache-Control": "max-age=300"})

    return handler


def _guarded(hosts: Collection[str]) -> Any:
    """What holds for every answer: who may ask, how, and what a browser may do with it."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await _allowed(request, handler, hosts)
        except Exception:
            log.exception("the page %r could not be made", request.path[:_LONGEST_LOGGED])
            response = _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "this page could not be made: the log says why")
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return guarded


async def _allowed(request: web.Request, handler: Handler, hosts: Collection[str]) -> web.StreamResponse:
    if not is_own_host(request.host, hosts):
        unknown = "this page does not answer to the name in the address: add it with --page-host (page.hosts)"
        return _refusal(HTTPStatus.MISDIRECTED_REQUEST, unknown)
    if request.method not in _METHODS:
        reads = "this page can only be read: GET or HEAD"
        return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, reads, {"Allow": ",".join(_METHODS)})
    return await handler(request)


def _refusal(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(text=f"{text}\n", status=status, headers=headers)

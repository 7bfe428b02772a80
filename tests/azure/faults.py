"""What can go wrong between a reader and ARM, so that each of it can be had on demand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    import asyncio
    import re
    from collections.abc import Callable


class FaultKind(StrEnum):
    """What can go wrong, each as ARM or the network would show it."""

    THROTTLED = "429, Retry-After in seconds"
    THROTTLED_UNTIL = "429, Retry-After as a date"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    SERVER_ERROR = "500"
    CUT = "the connection ends before the answer"
    CUT_WITHIN = "the connection ends within the answer"
    SLOW = "no answer until the stand-in stops"
    TRUNCATED = "JSON without its end, in a whole response"
    NO_JSON = "a proxy's page in place of JSON"
    LAST_PAGE = "a page that says it is the last although it is not"
    NO_VALUE = "a page without its list"
    LOOP = "a page whose next page is itself"
    ASTRAY = "a page whose next page is on another host"
    REDIRECT = "307 to another host"


@dataclass(slots=True)
class Fault:
    """A fault for requests whose path and query match; `after` of them are let through first, then `times` are not."""

    kind: FaultKind
    where: re.Pattern[str]
    times: int
    after: int
    wait: float


def error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


def _throttled(fault: Fault) -> web.Response:
    response = error(429, "TooManyRequests", "Too many requests.")
    until = datetime.now(UTC) + timedelta(seconds=fault.wait)
    dated = fault.kind is FaultKind.THROTTLED_UNTIL
    response.headers["Retry-After"] = format_datetime(until, usegmt=True) if dated else f"{fault.wait:g}"
    return response


def _redirect(_: Fault) -> web.Response:
    return web.Response(status=307, headers={"Location": "https://elsewhere.test/"})


def _forbidden(_: Fault) -> web.Response:
    # Retry-After on a 403 has been seen, and must not be waited for.
    response = error(403, "AuthorizationFailed", "The client does not have authorization.")
    response.headers["Retry-After"] = "3600"
    return response


REFUSALS: Final[dict[FaultKind, Callable[[Fault], web.Response]]] = {
    FaultKind.THROTTLED: _throttled,
    FaultKind.THROTTLED_UNTIL: _throttled,
    FaultKind.UNAUTHORIZED: lambda _: error(401, "InvalidAuthenticationToken", "The token is not good."),
    FaultKind.FORBIDDEN: _forbidden,
    FaultKind.NOT_FOUND: lambda _: error(404, "ResourceNotFound", "It is not here."),
    FaultKind.SERVER_ERROR: lambda _: error(500, "InternalServerError", "Try again."),
    FaultKind.REDIRECT: _redirect,
}
TRANSPORT_FAULTS: Final = frozenset(
    {FaultKind.CUT, FaultKind.CUT_WITHIN, FaultKind.SLOW, FaultKind.TRUNCATED, FaultKind.NO_JSON}
)


async def break_connection(
    request: web.BaseRequest, response: web.Response, kind: FaultKind, stopping: asyncio.Event
) -> web.StreamResponse:
    body = response.body if isinstance(response.body, bytes) else b""
    match kind:
        case FaultKind.SLOW:
            await stopping.wait()
        case FaultKind.TRUNCATED:
            return web.Response(body=body[: len(body) // 2], content_type="application/json")
        case FaultKind.NO_JSON:
            return web.Response(text="<html>Sign in to the network</html>", content_type="text/html")
        case FaultKind.CUT_WITHIN:
            partial = web.StreamResponse(headers={"Content-Type": "application/json"})
            partial.content_length = len(body)
            await partial.prepare(request)
            await partial.write(body[: len(body) // 2])
        case _:
            pass
    if request.transport is not None:
        request.transport.abort()
    return response

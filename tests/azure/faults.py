"""What can go wrong between a reader and ARM, so that each of it can be had on demand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
    HIDDEN = "what one without the right to read is shown: an empty list, and 403 for each thing by itself"
    NOT_FOUND = "404 of the gateway, for a resource"
    NO_SUBSCRIPTION = "404 of the gateway: it does not find the subscription"
    NO_RESOURCE_TYPE = "404 of the gateway: the type does not exist in this api-version"
    UNSUPPORTED_TYPE = "404: the type is not supported"
    NOT_FOUND_BY_GATEWAY = "404 of the gateway, with the code of a policy assignment that is not there"
    NO_API_VERSION = "400: the api-version is not one of those supported"
    NO_PROVIDER = "400: no provider is registered for the type and api-version"
    SERVER_ERROR = "500"
    SERVER_TIMEOUT = "503: the service took too long"
    BAD_GATEWAY = "502 with a page of HTML"
    BAD_GATEWAY_AS_JSON = "502 with a page of HTML that calls itself JSON"
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


_ANSWERS: Final = Path(__file__).parent / "data" / "10-error-answers.json"
_RECORDED: Final[dict[str, dict[str, Any]]] = {
    each["body"]["error"]["code"]: each for each in json.loads(_ANSWERS.read_text()) if "error" in each["body"]
}


def recorded(code: str) -> web.Response:
    """The answer with this error code as Azure gives it: status, headers and body."""
    answer = _RECORDED[code]
    return web.json_response(answer["body"], status=answer["status"], headers=answer["headers"])


def error(status: int, code: str, message: str, *, gateway: bool = False) -> web.Response:
    """An answer of the same form; `gateway` marks one that the service itself never saw."""
    headers = {"x-ms-failure-cause": "gateway"} if gateway else {}
    return web.json_response({"error": {"code": code, "message": message}}, status=status, headers=headers)


def absent(path: str) -> web.Response:
    """404 for a path that names nothing, with the code of the service that was asked."""
    provider, _, rest = path.rpartition("/providers/")[2].partition("/")
    kind, name = (*rest.split("/"), "")[:2]
    if provider.casefold() == "microsoft.authorization":
        code, words = _ABSENT[kind.casefold()]
        return error(404, code, f"The {words} '{name}' could not be found.")
    return error(404, "ResourceNotFound", f"The Resource '{path}' was not found.", gateway=True)


_ABSENT: Final = {
    "policyassignments": ("PolicyAssignmentNotFound", "policy assignment"),
    "policydefinitions": ("PolicyDefinitionNotFound", "policy definition"),
    "policysetdefinitions": ("PolicySetDefinitionNotFound", "policy set definition"),
    "policyexemptions": ("PolicyExemptionNotFound", "policy exemption"),
    "policyenrollments": ("PolicyEnrollmentNotFound", "policy enrollment"),
}


def _throttled(fault: Fault) -> web.Response:
    response = recorded("SubscriptionRequestsThrottled")
    until = datetime.now(UTC) + timedelta(seconds=fault.wait)
    dated = fault.kind is FaultKind.THROTTLED_UNTIL
    response.headers["Retry-After"] = format_datetime(until, usegmt=True) if dated else f"{fault.wait:g}"
    return response


def _redirect(_: Fault) -> web.Response:
    return web.Response(status=307, headers={"Location": "https://elsewhere.test/"})


def _forbidden(_: Fault) -> web.Response:
    # Retry-After on a 403 has been seen, and must not be waited for.
    response = recorded("AuthorizationFailed")
    response.headers["Retry-After"] = "3600"
    return response


def _bad_gateway(fault: Fault) -> web.Response:
    content_type = "application/json" if fault.kind is FaultKind.BAD_GATEWAY_AS_JSON else "text/html"
    return web.Response(status=502, text="<html><h1>502 Bad Gateway</h1></html>", content_type=content_type)


REFUSALS: Final[dict[FaultKind, Callable[[Fault], web.Response]]] = {
    FaultKind.THROTTLED: _throttled,
    FaultKind.THROTTLED_UNTIL: _throttled,
    FaultKind.UNAUTHORIZED: lambda _: recorded("InvalidAuthenticationToken"),
    FaultKind.FORBIDDEN: _forbidden,
    FaultKind.NOT_FOUND: lambda _: recorded("ResourceNotFound"),
    FaultKind.NO_SUBSCRIPTION: lambda _: recorded("SubscriptionNotFound"),
    FaultKind.NO_RESOURCE_TYPE: lambda _: recorded("InvalidResourceType"),
    FaultKind.UNSUPPORTED_TYPE: lambda _: recorded("ResourceTypeNotSupported"),
    FaultKind.NOT_FOUND_BY_GATEWAY: lambda _: error(404, "PolicyAssignmentNotFound", "It is not here.", gateway=True),
    FaultKind.NO_API_VERSION: lambda _: recorded("InvalidApiVersionParameter"),
    FaultKind.NO_PROVIDER: lambda _: error(
        400, "NoRegisteredProviderFound", "No registered resource provider found for the API version.", gateway=True
    ),
    FaultKind.SERVER_ERROR: lambda _: error(500, "InternalServerError", "Try again."),
    FaultKind.SERVER_TIMEOUT: lambda _: recorded("ServerTimeout"),
    FaultKind.BAD_GATEWAY: _bad_gateway,
    FaultKind.BAD_GATEWAY_AS_JSON: _bad_gateway,
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

"""One authenticated pipeline to Azure Resource Manager: pages, retries, throttling, and errors that a user can act on.

The SDK's generated clients carry the pipeline; lists are read as JSON, which costs a sixteenth of their models' CPU.
Nothing here knows what the documents mean. Everything only reads, so any request may be sent again.
"""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.policies import AsyncHTTPPolicy, AsyncRetryPolicy
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy
from azure.mgmt.policyinsights.aio import PolicyInsightsClient
from azure.mgmt.policyinsights.models import QueryOptions
from azure.mgmt.resource.policy.aio import PolicyClient
from azure.mgmt.resource.resources.aio import ResourceManagementClient

from controller.azure.links import at_endpoint
from controller.bounded_json import read_json
from controller.errors import InputError, SourceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.pipeline import PipelineRequest, PipelineResponse

    from controller.azure.access import Limits
    from controller.azure.clouds import Cloud

Document: TypeAlias = dict[str, Any]
_Request: TypeAlias = "PipelineRequest[HttpRequest]"
_Response: TypeAlias = "PipelineResponse[HttpRequest, AsyncHttpResponse]"
_Policy: TypeAlias = AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse]
_Answer = TypeVar("_Answer")

_RETRIED: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_REMAINING: Final = "x-ms-ratelimit-remaining-"
_LONGEST_REASON: Final = 300
_FAILURE_CAUSE: Final = "x-ms-failure-cause"
_API_VERSION_CODES: Final = frozenset(
    {"invalidapiversionparameter", "missingapiversionparameter", "noregisteredproviderfound", "invalidresourcetype"}
)
# What reading takes where the type's own `read` is not it: Reader has no actions, and states are asked for by POST.
_STATES: Final = "Microsoft.PolicyInsights/policyStates"
_ROLES: Final = {_STATES: f"a role with {_STATES}/queryResults/read and {_STATES}/queryResults/action"}
# By the last type in a path, folded: which api-version it is asked with, as --api-version names them.
_API_VERSION_NAMES: Final = {
    "policyassignments": "policy",
    "policydefinitions": "policy",
    "policysetdefinitions": "policy",
    "policyexemptions": "exemptions",
    "policyenrollments": "enrollments",
    "policystates": "policy-states",
    "managedclusters": "managed-clusters",
    "connectedclusters": "connected-clusters",
    "getentities": "management-groups",
    "resourcegroups": "resource-groups",
    "subscriptions": "subscriptions",
}


class ArmRefusal(SourceError):  # noqa: N818 - a refusal is an answer, not a fault of ours
    """ARM answered with an error status. `code` is the error's code, empty where the body tells none.

    `by_gateway` says that the answer is not the service's own; `passes` that asking again later can help.
    """

    def __init__(self, message: str, *, status: int, code: str = "", by_gateway: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.by_gateway = by_gateway

    @property
    def passes(self) -> bool:
        """Whether it is likely to pass by itself."""
        return _passes(self.status)

    @property
    def about_api_version(self) -> bool:
        """Whether it is the api-version that this cloud does not have: no answer about the thing asked for at all."""
        return self.code.casefold() in _API_VERSION_CODES

    def because(self, what: str) -> ArmRefusal:
        """The same refusal, told as the reason of something else."""
        return ArmRefusal(f"{what}: {self}", status=self.status, code=self.code, by_gateway=self.by_gateway)


class ArmClient:
    """Reads ARM as one identity; an async context manager. `requests` counts what it has sent.

    `remaining` is the least that each bucket of ARM's was told to hold, since it was last cleared.

    `renew` creates the credential again: after a 401 the old one would return its cached token until that expires.
    """

    def __init__(
        self,
        cloud: Cloud,
        credential: AsyncTokenCredential,
        limits: Limits,
        *,
        renew: Callable[[], AsyncTokenCredential] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.requests = 0
        self.remaining: dict[str, int] = {}
        self._tokens = _Tokens(credential, renew)
        self._endpoint = cloud.endpoint
        self._parallel = limits.parallel
        self._transport = AioHttpTransport(session=_session(cloud))
        # One connection pool, one token and one way to retry, whichever generated client builds the request.
        options: dict[str, Any] = {
            "base_url": cloud.endpoint,
            "transport": self._transport,
            "authentication_policy": AsyncARMChallengeAuthenticationPolicy(self._tokens, cloud.token_scope),
            "retry_policy": _Retries(limits, sleep),
            "per_call_policies": [_SecondToken(self._tokens)],
            "per_retry_policies": [_Gate(cloud.endpoint, self._count)],
        }
        # Their subscription fills only the paths of operations that are not used here.
        self._policy = PolicyClient(credential, "-", **options)
        self._resources = ResourceManagementClient(credential, "-", **options)
        self._insights = PolicyInsightsClient(credential, "-", **options)
        self._patience: dict[str, Any] = {
            "connection_timeout": limits.connect,
            "read_timeout": limits.answer,
            "retry_on_methods": ["GET", "POST"],
        }

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.close()
        await self._tokens.close()

    async def together(self, calls: Iterable[Callable[[], Awaitable[_Answer]]]) -> list[_Answer]:
        """The calls' results in order, a few at a time. After a failure no further call starts, and it is raised.

        Those that run then are left to end: a connection that is cancelled while it opens stays open (CPython 3.11).
        Of several failures it is the first call's, not the soonest: while Azure is away every read says the same.
        """
        turns = asyncio.Semaphore(self._parallel)
        failures: dict[int, Exception] = {}

        async def in_turn(place: int, call: Callable[[], Awaitable[_Answer]]) -> list[_Answer]:
            async with turns:
                if failures:
                    return []
                try:
                    return [await call()]
                except Exception as exc:  # noqa: BLE001 - raised below
                    failures[place] = exc
                    return []

        results = await asyncio.gather(*(in_turn(place, call) for place, call in enumerate(calls)))
        if failures:
            raise failures[min(failures)]
        return [answer for result in results for answer in result]

    async def get(self, path: str, query: Mapping[str, str]) -> Document:
        """The JSON object at `path`; ArmRefusal for an error status, SourceError for no answer or a malformed one."""
        return await self._answer(path, self._fetch(path, _url(path, query), "GET"))

    async def list(
        self, path: str, query: Mapping[str, str], *, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> list[Document]:
        """Every entry of every page at `path`; a page that is missing or malformed is an error, never the end."""
        found: list[Document] = []
        url, seen = _url(path, query), set[str]()
        while url:
            if url in seen:
                raise SourceError(f"{path}: a page links back to an earlier one, so the answer is not complete")
            seen.add(url)
            page = await self._answer(path, self._fetch(path, url, method, headers))
            found += _entries(path, page)
            url = _next_page(path, page)
        return found

    async def resource(self, resource_id: str, api_version: str) -> Document:
        """A resource of any type, as JSON; errors as for `get`."""
        # With `cls` the SDK hands on what that returns in place of its model.
        get: Callable[..., Awaitable[Any]] = self._resources.resources.get_by_id
        name = quote(resource_id.strip("/"))
        return await self._answer(resource_id, get(name, api_version=api_version, cls=_as_json, **self._patience))

    async def policy_states(self, resource_id: str, api_version: str) -> Sequence[Any]:
        """The latest policy states of a resource, the SDK's models, each with its components."""
        states = self._insights.policy_states.list_query_results_for_resource(
            "latest",
            quote(resource_id.strip("/")),
            QueryOptions(expand="components"),
            api_version=api_version,
            **self._patience,
        )
        path = f"{resource_id}/providers/Microsoft.PolicyInsights/policyStates"
        return await self._answer(path, _collected(states))

    async def _fetch(self, path: str, url: str, method: str, headers: Mapping[str, str] | None = None) -> Document:
        request = HttpRequest(method, url, headers=dict(headers or {}))
        response = await self._policy.send_request(request, **self._patience)
        if response.status_code != HTTPStatus.OK:  # an empty answer is none either
            raise HttpResponseError(response=response)
        document = read_json(response.content)
        if not isinstance(document, dict):
            raise SourceError(f"{path}: the answer is not a JSON object")
        return document

    async def _answer(self, path: str, call: Awaitable[_Answer]) -> _Answer:
        try:
            return await call
        except _NoTokenError as exc:
            reason = (
                f"no token from the credential for {self._endpoint}: {_one_line(exc)}; check the credential's settings"
            )
            raise SourceError(reason) from exc.__cause__
        except HttpResponseError as exc:
            status = exc.status_code or 0
            if status < HTTPStatus.MULTIPLE_CHOICES:  # cut off, or no JSON
                raise self._not_whole(path, exc) from exc
            raise _refusal(path, status, exc) from exc
        except (AzureError, ValueError, RecursionError) as exc:  # the last for JSON nested without end
            raise self._not_whole(path, exc) from exc

    def _not_whole(self, path: str, error: Exception) -> SourceError:
        return SourceError(
            f"{path}: no complete answer from {self._endpoint}: {_one_line(error)}; the next poll tries again"
        )

    def _count(self, headers: Mapping[str, str] | None) -> None:
        if headers is None:
            self.requests += 1
            return
        for name, value in headers.items():
            if name.lower().startswith(_REMAINING) and value.isdecimal():
                bucket = name.lower().removeprefix(_REMAINING)
                self.remaining[bucket] = min(int(value), self.remaining.get(bucket, int(value)))


class _NoTokenError(Exception):
    """The credential gave no token: not ARM's doing, and no reason to ask ARM again."""


class _Tokens:
    """A credential whose failures are distinct from ARM's; azure-identity has already retried them."""

    def __init__(self, credential: AsyncTokenCredential, renew: Callable[[], AsyncTokenCredential] | None) -> None:
        self.renewed = 0
        self._credential = credential
        self._renew = renew
        self._turn = asyncio.Lock()

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        async with self._turn:
            try:
                return await self._credential.get_token(*scopes, **options)
            except (AzureError, OSError, ValueError) as exc:
                raise _NoTokenError(_one_line(exc)) from exc

    async def renew(self, seen: int) -> None:
        """Puts a new credential in the place of the one that was used, unless another request has done so since."""
        async with self._turn:
            if self._renew is not None and self.renewed == seen:
                used, self._credential = self._credential, self._renew()
                self.renewed += 1
                await used.close()

    async def close(self) -> None:
        await self._credential.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _SecondToken(_Policy):
    """Asks once more after a 401: the SDK drops the token it had, and a new one may be good."""

    def __init__(self, tokens: _Tokens) -> None:
        super().__init__()
        self._tokens = tokens

    async def send(self, request: _Request) -> _Response:
        renewed = self._tokens.renewed
        response = await self.next.send(request)
        if response.http_response.status_code == HTTPStatus.UNAUTHORIZED:
            await self._tokens.renew(renewed)
            response = await self.next.send(request)
        return response


class _Gate(_Policy):
    """Sends every request to the endpoint, for it carries a token, and a link or a redirect may lead anywhere."""

    def __init__(self, endpoint: str, count: Callable[[Mapping[str, str] | None], None]) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._count = count

    async def send(self, request: _Request) -> _Response:
        request.http_request.url = at_endpoint(request.http_request.url, self._endpoint)
        self._count(None)
        response = await self.next.send(request)
        self._count(response.http_response.headers)
        return response


class _Retries(AsyncRetryPolicy[HttpRequest, AsyncHttpResponse]):
    """The SDK's retries, but with Retry-After capped and honoured only where trying again can help."""

    def __init__(self, limits: Limits, sleep: Callable[[float], Awaitable[None]]) -> None:
        tries = limits.retries
        super().__init__(retry_total=tries, retry_connect=tries, retry_read=tries, retry_status=tries)
        self._cap = limits.retry_after_cap
        self._pause = sleep

    def is_retry(self, settings: dict[str, Any], response: Any) -> bool:
        """Whether the status is one that passes; the SDK would retry a 403 too if it said Retry-After."""
        return bool(settings["total"]) and response.http_response.status_code in _RETRIED

    async def sleep(self, settings: dict[str, Any], transport: Any, response: Any = None) -> None:  # noqa: ARG002
        """Waits as long as the answer asks, up to the cap, or otherwise longer each time."""
        wait = self._asked_wait(response)
        pause = self.get_backoff_time(settings) if wait is None else wait
        if pause > 0:
            await self._pause(min(pause, self._cap))

    def _asked_wait(self, response: Any) -> float | None:
        try:
            return None if response is None else self.get_retry_after(response)
        except (ValueError, TypeError, OverflowError):  # a Retry-After that is not valid
            return None


def _session(cloud: Cloud) -> aiohttp.ClientSession:
    """A session as the SDK makes its own, but with one TLS context: given a CA file, the SDK makes one a request."""
    try:
        context = ssl.create_default_context(cafile=cloud.ca_file or None)
    except OSError as exc:
        raise InputError(f"the cloud's CA file {cloud.ca_file} cannot be used: {_one_line(exc)}") from exc
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=True,
    )


def _url(path: str, query: Mapping[str, str]) -> str:
    return f"{quote(path)}?{urlencode(query, quote_via=quote)}"


def _entries(path: str, page: Document) -> list[Document]:
    entries = page.get("value")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SourceError(f"{path}: a page has no list of objects in `value`, so the answer is not complete")
    return entries


def _next_page(path: str, page: Document) -> str:
    link = page.get("nextLink")
    if link is not None and not isinstance(link, str):
        raise SourceError(f"{path}: a page's nextLink is not a string, so the answer is not complete")
    # The SDK takes braces in a URL for its own placeholders.
    return (link or "").replace("{", "%7B").replace("}", "%7D")


def _as_json(response: Any, _model: object, _headers: object) -> Document:
    document: Document = read_json(response.http_response.content)
    return document


async def _collected(entries: AsyncIterable[_Answer]) -> Sequence[_Answer]:
    try:
        return [entry async for entry in entries]
    except TypeError as exc:  # how the SDK meets a page without a list
        raise ValueError("a page has no list in `value`") from exc


def _refusal(path: str, status: int, error: HttpResponseError) -> ArmRefusal:
    code = (error.error.code if error.error else "") or ""
    # A proxy's page says nothing that is not in its status.
    said = _one_line(error) if code else _phrase(status)
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return ArmRefusal(
        f"{path}: Azure answered {status}: {said}; {_advice(path, status, code)}",
        status=status,
        code=code,
        by_gateway=headers.get(_FAILURE_CAUSE, "").casefold() == "gateway",
    )


def _passes(status: int) -> bool:
    return status in _RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "a status that HTTP does not name"


def _advice(path: str, status: int, code: str) -> str:
    """What to do about a refusal: wait where it passes, and otherwise what somebody has to change."""
    scope, kind = _scope_and_type(path)
    if code.casefold() in _API_VERSION_CODES:
        name = _API_VERSION_NAMES.get(kind.rpartition("/")[2].casefold(), "NAME")
        return f"this does not pass by itself: set --api-version {name}=VERSION to one that this cloud has"
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return "the credential is not accepted there: check its tenant, client and cloud"
        case HTTPStatus.FORBIDDEN:
            role = _ROLES.get(kind) or f"Reader, or a role with {kind}/read"
            return f"this does not pass by itself: grant its identity {role}, at {scope}"
        case HTTPStatus.TOO_MANY_REQUESTS:
            return "Azure is throttling: poll less often"
        case _ if _passes(status):
            return "the next poll tries again"
        case _:
            return "this does not pass by itself: check the id"


def _scope_and_type(path: str) -> tuple[str, str]:
    """Where a right to read `path` is granted, and of which type: `SCOPE/providers/NAMESPACE/TYPE[/NAME]`.

    A subscription and a resource group are of no provider in their ids, and of Microsoft.Resources in actions.
    """
    scope, provider, rest = path.rpartition("/providers/")
    if not provider:
        return path, "/".join(["Microsoft.Resources", *path.strip("/").split("/")[::2]])
    namespace, *segments = rest.split("/")
    own = namespace in {"Microsoft.Authorization", "Microsoft.PolicyInsights"}
    return (scope or "the tenant") if own else path, "/".join([namespace, *segments[:1]])


def _one_line(error: Exception) -> str:
    text = str(error.message if isinstance(error, AzureError) else error).strip()
    if isinstance(error, HttpResponseError):  # the SDK says the same again in the lines below
        text = text.partition("\n")[0]
    line = " ".join(text.split()) or type(error).__name__
    return line if len(line) <= _LONGEST_REASON else line[:_LONGEST_REASON] + "…"

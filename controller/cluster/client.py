"""Requests to the Kubernetes API: in lanes, with backoff when the server asks for it, errors as ClusterError.

Paths are built by hand over `kubernetes.aio`'s `call_api`: its discovery asks three requests per unknown kind, and its
watch blocks the loop for each new one. Nothing here decides anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yaml import YAMLError

from controller.bounded_json import DEEPEST, read_bounded
from controller.cluster.foreign import mapping_at, mappings_at, text_at, whole_at
from controller.cluster.kinds import LISTED_BY_METADATA, LiveObject, name_of
from controller.cluster.kubernetes_aio import (
    ApiClient,
    ConfigException,
    Configuration,
    load_incluster_config,
    load_kube_config,
)
from controller.cluster.lanes import LIMITS, Lanes
from controller.cluster.object_cache import ObjectCache
from controller.cluster.reasons import Reason
from controller.errors import ClusterError, InputError
from controller.gatekeeper.naming import FIELD_MANAGER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from controller.cluster.kinds import Resource
    from controller.cluster.lanes import Lane
    from controller.gatekeeper.model import ObjectRef

T = TypeVar("T")

REQUEST_TIMEOUT: Final = 60.0
PAGE: Final = 500
LARGEST_ANSWER: Final = 64 * 1024 * 1024
TRIES: Final = 6
RETRY_AFTER_CAP: Final = 30.0
_TRANSIENT: Final = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
_UNREADABLE_KEPT: Final = 1000
_JSON: Final = "application/json"
# https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches
_METADATA: Final = f"{_JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{_JSON}"
_METADATA_LIST: Final = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{_JSON}"
log = logging.getLogger("azpolicy")


@dataclass(frozen=True, slots=True)
class Connection:
    """Which cluster: a kubeconfig and context, or (both None, inside a pod) the pod's own service account."""

    kubeconfig: Path | None = None
    context: str | None = None

    async def configuration(self) -> Configuration:
        """The client's configuration; InputError when there is no usable cluster."""
        configuration = Configuration()
        try:
            if self.kubeconfig is None and self.context is None and _in_cluster():
                load_incluster_config(client_configuration=configuration)
            else:
                # The library prints about a missing file by itself, and then complains of something else.
                if not any(path.is_file() for path in self._files()):
                    raise FileNotFoundError("no such file")
                await load_kube_config(
                    config_file=str(self.kubeconfig) if self.kubeconfig else None,
                    context=self.context,
                    client_configuration=configuration,
                )
        except (ConfigException, OSError, ValueError, KeyError, TypeError, YAMLError) as error:
            where = f"kubeconfig {os.pathsep.join(map(str, self._files()))}"
            detail = " ".join(str(error).split())
            raise InputError(f"no cluster to connect to: {where}: {detail}; give --kubeconfig or --context") from error
        # The default of 100 is a hard limit that open watches would use up; the lanes bound requests.
        configuration.connection_pool_maxsize = 0
        # aiohttp would look up the proxy, and passwords in ~/.netrc, for each request anew and in a thread.
        configuration.client_session_kwargs = {"trust_env": False}
        configuration.proxy = configuration.proxy or _proxy_in_environment(configuration.host)
        return configuration

    def _files(self) -> list[Path]:
        """The files that kubectl would look at."""
        if self.kubeconfig is not None:
            return [self.kubeconfig]
        named = os.environ.get("KUBECONFIG", "").split(os.pathsep)
        return [Path(name).expanduser() for name in named if name] or [Path("~/.kube/config").expanduser()]


def _proxy_in_environment(server: str) -> str | None:
    """The proxy that HTTPS_PROXY (HTTP_PROXY for a plain URL) and NO_PROXY name for a server, None for none."""
    url = urlsplit(server)
    return None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)


def _in_cluster() -> bool:
    return Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: HTTP status, the parsed body, and whether part of it was too deep to be read."""

    status: int
    body: Mapping[str, Any]
    retry_after: float | None = None
    cut: bool = False

    @property
    def ok(self) -> bool:
        """Whether the request did what it asked."""
        return self.status < HTTPStatus.BAD_REQUEST

    @property
    def refused(self) -> bool:
        """Whether the same request would be refused again: by validation, by admission, or for want of a right."""
        return self.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY)

    @property
    def message(self) -> str:
        """The API's own words on one line."""
        return " ".join(str(self.body.get("message") or self.body.get("reason") or f"HTTP {self.status}").split())

    @property
    def reason(self) -> str:
        """The API's reason word, such as Conflict."""
        return str(self.body.get("reason") or "")

    def error(self, doing: str) -> ClusterError:
        """This answer as the error of an attempt to do something."""
        return ClusterError(f"{doing}: {self.message}", status=self.status, reason=self.reason)


class AnswerTooLarge(ClusterError):  # noqa: N818 - a state of the cluster
    """An answer that is not read, because it would not fit into memory."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """What a watch tells: `type` as Kubernetes has it, the object as it is now, and where to go on from."""

    type: str
    live: LiveObject
    position: str


class KubeClient:
    """An async client for Gatekeeper's kinds; use as an async context manager."""

    def __init__(
        self,
        connection: Connection,
        *,
        limits: Mapping[Lane, int] = LIMITS,
        fence: Callable[[], float] | None = None,
        violations: int | None = None,
    ) -> None:
        """`limits` bound the requests in flight by lane.

        `fence` says for how many seconds writing is still allowed: after that no write is sent or waited for.

        `violations` is how many of each constraint's audit are kept, however many Gatekeeper writes; None: all.
        """
        self._connection = connection
        self._fence = fence
        self._cache = ObjectCache(violations)
        self._lanes = Lanes(limits)
        self._api: ApiClient | None = None
        self._unreadable: dict[ObjectRef, tuple[str, int]] = {}

    async def __aenter__(self) -> Self:
        self._api = ApiClient(await self._connection.configuration())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._api is not None:
            await self._api.close()

    @property
    def violations(self) -> int | None:
        """How many of each constraint's audit are kept, None: all; another number makes all that was read unknown."""
        return self._cache.violations

    @violations.setter
    def violations(self, kept: int | None) -> None:
        self._cache.violations = kept

    @property
    def server(self) -> str:
        """The API server's URL."""
        return str(self._api.configuration.host) if self._api else ""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        by_metadata: bool = False,
    ) -> Response:
        """One request, repeated on 429 and on answers that promise better ones; ClusterError when none came.

        A write is repeated only where the server says that it did not happen (429, 503 with Retry-After). With
        `by_metadata` a list has of each object the metadata alone, as that of what may be huge always has.
        """
        for attempt in range(1, TRIES + 1):
            last = attempt == TRIES
            try:
                async with self._lanes.slot(), asyncio.timeout(self._seconds(method, path, query or {})):
                    response = await self._once(method, path, query or {}, body, by_metadata=by_metadata)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if last or method != "GET":
                    raise ClusterError(f"{method} {path}: {_words(error)}") from error
                await asyncio.sleep(_backoff(attempt, None))
                continue
            if response.ok and "kind" not in response.body:
                raise ClusterError(f"{method} {path}: the answer is not from a Kubernetes API (a proxy?)")
            repeat = response.status in _TRANSIENT and (
                method == "GET" or response.status == HTTPStatus.TOO_MANY_REQUESTS
            )
            if last or not repeat:
                return response
            await asyncio.sleep(_backoff(attempt, response.retry_after))
        raise AssertionError("unreachable")

    def _seconds(self, method: str, path: str, query: Mapping[str, str]) -> float:
        """How long a request may take that is about to be sent; ClusterError when it must not be sent at all."""
        if self._fence is None or method == "GET" or "dryRun" in query:
            return REQUEST_TIMEOUT
        left = self._fence()
        if left <= 0:
            raise ClusterError(
                f"{method} {path}: not sent, because another replica may lead", reason=Reason.NOT_LEADING
            )
        return min(REQUEST_TIMEOUT, left)

    async def _once(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None, *, by_metadata: bool
    ) -> Response:
        answer = await self._send(method, path, query, body, REQUEST_TIMEOUT, by_metadata=by_metadata)
        try:
            raw = await _content(answer.response, f"{method} {path}")
        finally:
            answer.response.release()
        retry_after = answer.response.headers.get("Retry-After", "")
        seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
        content, cut = _parsed(raw)
        return Response(answer.response.status, content, seconds, cut)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        timeout_s: float,
        *,
        by_metadata: bool = False,
    ) -> Any:
        if self._api is None:
            raise AssertionError("the client is used outside its context")
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        by_metadata |= method == "GET" and path in LISTED_BY_METADATA
        headers = {"Accept": _accepted(query) if by_metadata else _JSON, "Content-Type": content}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = f"{self._api.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=10)
        return await self._api.call_api(method, url, header_params=headers, body=body, _request_timeout=timeout)

    async def get(self, path: str) -> Mapping[str, Any] | None:
        """The object at a path, None on 404; ClusterError on anything else."""
        response = await self.request("GET", path)
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        if not response.ok:
            raise response.error(f"reading {path}")
        return response.body

    async def get_live(self, kind: Resource, name: str) -> LiveObject | None:
        """One live object, None when it (or its kind) is not there.

        Asked for as a list of one, which the server looks up by its name, so that reading needs one right and not two.
        """
        listed = await self._list(kind, f"metadata.name={name}")
        return listed[0][0] if listed and listed[0] else None

    async def list_live(self, kind: Resource) -> tuple[tuple[LiveObject, ...], str] | None:
        """Every object of a kind and the resourceVersion to watch from; None when the kind is not served."""
        return await self._list(kind)

    async def _list(self, kind: Resource, selector: str = "") -> tuple[tuple[LiveObject, ...], str] | None:
        def read(page: Response) -> list[LiveObject]:
            return [self._live(kind, item, cut=page.cut) for item in _items(page)]

        if not selector and (unmoved := await self._unmoved(kind)):
            return unmoved
        listed = await self._pages(kind.path(), selector, read)
        if listed and self._cache.went_back(kind, listed[1]):
            listed = await self._pages(kind.path(), selector, read)
        if not selector:
            self._cache.listed(kind, listed[0] if listed else ())
        return listed

    async def _unmoved(self, kind: Resource) -> tuple[tuple[LiveObject, ...], str] | None:
        """A collection of which every object is kept at the very version that it has; else None.

        Watches tell of what moves, so of most lists everything is kept, and what audits find is not read again.
        """
        if not self._cache.holds(kind):
            return None
        listed = await self._known(kind, lambda document: self._cache.unmoved(kind, document))
        if listed is None or self._cache.went_back(kind, listed[1]):
            return None
        self._cache.listed(kind, listed[0])
        return listed

    async def list_known(self, kind: Resource, known: Callable[[Mapping[str, Any]], T | None]) -> tuple[T, ...] | None:
        """What is known of each object of a collection by its metadata, the only part that is asked for.

        None where something is not known, or the kind is not served: then the collection is to be read whole.
        """
        listed = await self._known(kind, known)
        return listed[0] if listed else None

    async def _known(
        self, kind: Resource, known: Callable[[Mapping[str, Any]], T | None]
    ) -> tuple[tuple[T, ...], str] | None:
        def read(page: Response) -> list[T | None]:
            return [known(item) for item in _items(page)]

        listed = await self._pages(kind.path(), "", read, by_metadata=True)
        if listed is None:
            return None
        found = tuple(each for each in listed[0] if each is not None)
        return (found, listed[1]) if len(found) == len(listed[0]) else None

    def _live(self, kind: Resource, document: Mapping[str, Any], *, cut: bool) -> LiveObject:
        """The object, and a word about one that cannot be read whole, once for each version of it."""
        live = self._cache.read(kind, document, cut=cut)
        if live.cut and self._unreadable.get(live.ref) != (version := (live.uid, live.generation)):
            if len(self._unreadable) >= _UNREADABLE_KEPT:
                self._unreadable.clear()
            self._unreadable[live.ref] = version
            log.warning("%s is nested deeper than %d levels: what is deeper is not read", live.ref, DEEPEST)
        return live

    async def list_all(self, path: str, selector: str = "") -> tuple[tuple[Mapping[str, Any], ...], str] | None:
        """Every item of a collection that a field selector selects, and the resourceVersion; None on 404.

        All pages or an error: a half list would look like deletions.
        """
        return await self._pages(path, selector, _items)

    async def _pages(
        self, path: str, selector: str, read: Callable[[Response], Sequence[T]], *, by_metadata: bool = False
    ) -> tuple[tuple[T, ...], str] | None:
        """What is read of every page of a collection, and the resourceVersion of the whole; None on 404.

        No more than one page is held as it came. One that would be too large is asked for again as smaller ones.
        """
        plural = path.rpartition("/")[2]
        fixed = {"fieldSelector": selector} if selector else {}
        for _ in range(TRIES):
            found: list[T] = []
            size, after = PAGE, ""
            while True:
                query = {**fixed, **({"continue": after} if after else {})}
                response, size = await self._page(path, query, size, by_metadata=by_metadata)
                if response.status == HTTPStatus.NOT_FOUND:
                    return None
                if response.status == HTTPStatus.GONE:
                    break
                if not response.ok:
                    raise response.error(f"listing {plural}")
                found += read(response)
                after = text_at(response.body, "metadata", "continue")
                if not after:
                    return tuple(found), _position(response)
        raise ClusterError(f"listing {plural}: the list kept expiring between pages", status=HTTPStatus.GONE)

    async def _page(
        self, path: str, query: Mapping[str, str], size: int, *, by_metadata: bool = False
    ) -> tuple[Response, int]:
        """A page of a collection, and of how many items: one that would be too large is asked for as smaller ones."""
        while True:
            try:
                query = {**query, "limit": str(size)}
                return await self.request("GET", path, query=query, by_metadata=by_metadata), size
            except AnswerTooLarge:
                if size == 1:
                    raise
                size //= 2

    async def items(self, path: str, labels: str = "") -> AsyncGenerator[Mapping[str, Any], None]:
        """The items of a collection that a label selector selects, a page at a time; none where the kind is not served.

        For what need not be of one moment: where the list expires between pages it goes on with what is there by then
        (https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks).
        """
        fixed = {"labelSelector": labels} if labels else {}
        size, after = PAGE, ""
        while True:
            response, size = await self._page(path, {**fixed, **({"continue": after} if after else {})}, size)
            if response.status == HTTPStatus.NOT_FOUND:
                return
            after = text_at(response.body, "metadata", "continue")
            if not response.ok and not (response.status == HTTPStatus.GONE and after):
                raise response.error(f"listing {path.rpartition('/')[2]}")
            if response.ok:
                for item in _items(response):
                    yield item
                if not after:
                    return

    async def create(self, kind: Resource, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Response:
        """POST; the answer is the caller's to judge."""
        return await self.request("POST", kind.path(), query=_write_query(dry_run=dry_run), body=manifest)

    async def replace(self, kind: Resource, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Response:
        """PUT; carries the manifest's resourceVersion, so a change in between answers 409."""
        # Without managedFields the server keeps its own: what was read of them may be less.
        metadata = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
        body = {**manifest, "metadata": metadata}
        return await self.request("PUT", kind.path(metadata["name"]), query=_write_query(dry_run=dry_run), body=body)

    async def delete(self, kind: Resource, live: LiveObject) -> Response:
        """DELETE of the object that was seen; the answer is the caller's to judge."""
        return await self.delete_at(kind.path(live.ref.name), live.uid)

    async def delete_at(self, path: str, uid: str) -> Response:
        """DELETE of the object that was seen, not of a later one of its name: its uid is the precondition.

        Not its resourceVersion: every audit moves that.
        """
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        return await self.request("DELETE", path, body=body)

    async def patch(self, path: str, changes: Mapping[str, Any], *, manager: str) -> Response:
        """A merge patch by a field manager; the answer is the caller's to judge."""
        return await self.request("PATCH", path, query={"fieldManager": manager}, body=changes)

    async def watch(
        self, kind: Resource, resource_version: str, *, seconds: int = 290
    ) -> AsyncGenerator[WatchEvent, None]:
        """Watch events of a kind since a resourceVersion, until the server ends the stream.

        ERROR events and a refused watch are ClusterError with their status (410: list again; 404: the kind is gone).
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        try:
            answer = await self._send("GET", kind.path(), query, None, seconds + 15)
            async with contextlib.aclosing(_lines(answer.response)) as lines:
                if answer.response.status != HTTPStatus.OK:
                    body = b"".join([line async for line in lines])
                    raise Response(answer.response.status, _parsed(body)[0]).error(f"watching {kind.plural}")
                async for line in lines:
                    yield self._event(kind, line)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ClusterError(f"watching {kind.plural}: {_words(error)}") from error

    def _event(self, kind: Resource, line: bytes) -> WatchEvent:
        """One line of a watch; ClusterError where it is an error, ValueError where it is no event."""
        event, cut = read_bounded(line)
        document, told = mapping_at(event, "object"), text_at(event, "type")
        if told == "ERROR":
            code = whole_at(document, "code", default=500)
            raise Response(code, document).error(f"watching {kind.plural}")
        position = text_at(document, "metadata", "resourceVersion")
        if not told or not position:
            raise ValueError("the API server sent something that is no watch event")
        live = self._live(kind, document, cut=cut)
        if told == "DELETED":
            self._cache.gone(kind, live)
        return WatchEvent(told, live, position)


async def _content(response: aiohttp.ClientResponse, doing: str) -> bytes:
    """The whole body; AnswerTooLarge where it would not fit into memory beside everything else."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            response.close()
            raise AnswerTooLarge(f"{doing}: the answer is larger than {LARGEST_ANSWER >> 20} MiB")
    return bytes(body)


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The stream's lines, of up to LARGEST_ANSWER; aiohttp's own readline has a far smaller limit."""
    rest = bytearray()
    try:
        async for chunk in response.content.iter_any():
            rest += chunk
            if len(rest) > LARGEST_ANSWER:
                raise ValueError(f"an event is larger than {LARGEST_ANSWER >> 20} MiB")
            *lines, tail = bytes(rest).split(b"\n") if b"\n" in chunk else (bytes(rest),)
            if lines or b"\n" in chunk:
                rest = bytearray(tail)
                for line in lines:
                    if line.strip():
                        yield line
        if rest.strip():
            yield bytes(rest)
    finally:
        response.close()


def _accepted(query: Mapping[str, str]) -> str:
    """What an answer may be that has the metadata alone; a server that knows none of it answers with everything."""
    return _METADATA if "watch" in query else _METADATA_LIST


def _write_query(*, dry_run: bool) -> dict[str, str]:
    query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Warn"}
    return {**query, "dryRun": "All"} if dry_run else query


def _parsed(raw: bytes) -> tuple[Mapping[str, Any], bool]:
    """The object that an answer holds, and whether part of it is too deep to be read."""
    try:
        body, cut = read_bounded(raw) if raw.strip() else ({}, False)
    except ValueError:
        return {"message": raw[:200].decode(errors="replace")}, False
    return (
        (body, cut)
        if isinstance(body, dict)
        else ({"message": "the answer of the API server is not a JSON object"}, False)
    )


def _items(page: Response) -> list[Mapping[str, Any]]:
    """The objects of a page: all that have a name, as the API server lets none be without."""
    return [item for item in mappings_at(page.body, "items") if name_of(item)]


def _position(page: Response) -> str:
    return text_at(page.body, "metadata", "resourceVersion")


def _backoff(attempt: int, retry_after: float | None) -> float:
    if retry_after is not None:
        return min(retry_after, RETRY_AFTER_CAP) + random.uniform(0, 0.25)  # noqa: S311 - jitter
    return float(min(0.1 * 2**attempt, 5.0) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason}"
    return " ".join(str(error).split()) or type(error).__name__

"""Requests to the Kubernetes API: bounded in number, with backoff when the server asks for it, errors as ClusterError.

Paths are built by hand over `kubernetes.aio`'s `call_api`: its discovery asks three requests per unknown kind, and its
watch blocks the loop for each new one. Nothing here decides anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config.config_exception import ConfigException
from yaml import YAMLError

from controller.cluster.kinds import LiveObject
from controller.cluster.reasons import Reason
from controller.errors import ClusterError, InputError
from controller.gatekeeper.naming import FIELD_MANAGER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from controller.cluster.kinds import Resource

REQUESTS_IN_FLIGHT: Final = 32
REQUEST_TIMEOUT: Final = 60.0
PAGE: Final = 500
TRIES: Final = 6
RETRY_AFTER_CAP: Final = 30.0
_TRANSIENT: Final = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)


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
                config.load_incluster_config(client_configuration=configuration)
            else:
                # The library prints about a missing file by itself, and then complains of something else.
                if not any(path.is_file() for path in self._files()):
                    raise FileNotFoundError("no such file")
                await config.load_kube_config(
                    config_file=str(self.kubeconfig) if self.kubeconfig else None,
                    context=self.context,
                    client_configuration=configuration,
                )
        except (ConfigException, OSError, ValueError, KeyError, TypeError, YAMLError) as error:
            where = f"kubeconfig {os.pathsep.join(map(str, self._files()))}"
            detail = " ".join(str(error).split())
            raise InputError(f"no cluster to connect to: {where}: {detail}; give --kubeconfig or --context") from error
        # The default of 100 is a hard limit that open watches would use up; the semaphore below bounds requests.
        configuration.connection_pool_maxsize = 0
        return configuration

    def _files(self) -> list[Path]:
        """The files that kubectl would look at."""
        if self.kubeconfig is not None:
            return [self.kubeconfig]
        named = os.environ.get("KUBECONFIG", "").split(os.pathsep)
        return [Path(name).expanduser() for name in named if name] or [Path("~/.kube/config").expanduser()]


def _in_cluster() -> bool:
    return Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: HTTP status, the parsed body, the server's warnings."""

    status: int
    body: Mapping[str, Any]
    retry_after: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the request did what it asked."""
        return self.status < HTTPStatus.BAD_REQUEST

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


class KubeClient:
    """An async client for Gatekeeper's kinds; use as an async context manager."""

    def __init__(
        self,
        connection: Connection,
        *,
        in_flight: int = REQUESTS_IN_FLIGHT,
        fence: Callable[[], float] | None = None,
    ) -> None:
        """`fence` says for how many seconds writing is still allowed: after that no write is sent or waited for."""
        self._connection = connection
        self._fence = fence
        self._slots = asyncio.Semaphore(in_flight)
        self._api: ApiClient | None = None

    async def __aenter__(self) -> Self:
        self._api = ApiClient(await self._connection.configuration())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._api is not None:
            await self._api.close()

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
    ) -> Response:
        """One request, repeated on 429 and on answers that promise better ones; ClusterError when none came.

        A write is repeated only where the server says that it did not happen (429, 503 with Retry-After).
        """
        for attempt in range(1, TRIES + 1):
            last = attempt == TRIES
            try:
                async with self._slots, asyncio.timeout(self._seconds(method, path, query or {})):
                    response = await self._once(method, path, query or {}, body)
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

    async def _once(self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> Response:
        answer = await self._send(method, path, query, body, REQUEST_TIMEOUT)
        try:
            raw = await answer.response.read()
        finally:
            answer.response.release()
        retry_after = answer.response.headers.get("Retry-After", "")
        return Response(answer.response.status, _parsed(raw), float(retry_after) if retry_after.isdigit() else None)

    async def _send(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None, timeout_s: float
    ) -> Any:
        if self._api is None:
            raise AssertionError("the client is used outside its context")
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Accept": "application/json", "Content-Type": content}
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
        items, _ = await self.list_all(kind.path(), f"metadata.name={name}") or ((), "")
        return LiveObject.of(kind, items[0]) if items else None

    async def list_live(self, kind: Resource) -> tuple[tuple[LiveObject, ...], str] | None:
        """Every object of a kind and the resourceVersion to watch from; None when the kind is not served."""
        listed = await self.list_all(kind.path())
        if listed is None:
            return None
        items, position = listed
        return tuple(LiveObject.of(kind, item) for item in items), position

    async def list_all(self, path: str, selector: str = "") -> tuple[tuple[Mapping[str, Any], ...], str] | None:
        """Every item of a collection that a field selector selects, and the resourceVersion; None on 404.

        All pages or an error: a half list would look like deletions.
        """
        plural = path.rpartition("/")[2]
        chosen = {"limit": str(PAGE), **({"fieldSelector": selector} if selector else {})}
        for _ in range(TRIES):
            items: list[Mapping[str, Any]] = []
            query = chosen
            while True:
                response = await self.request("GET", path, query=query)
                if response.status == HTTPStatus.NOT_FOUND:
                    return None
                if response.status == HTTPStatus.GONE:
                    break
                if not response.ok:
                    raise response.error(f"listing {plural}")
                metadata = response.body.get("metadata") or {}
                items += response.body.get("items") or ()
                if not metadata.get("continue"):
                    return tuple(items), str(metadata.get("resourceVersion", ""))
                query = {**chosen, "continue": str(metadata["continue"])}
        raise ClusterError(f"listing {plural}: the list kept expiring between pages", status=HTTPStatus.GONE)

    async def create(self, kind: Resource, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Response:
        """POST; the answer is the caller's to judge."""
        return await self.request("POST", kind.path(), query=_write_query(dry_run=dry_run), body=manifest)

    async def replace(self, kind: Resource, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Response:
        """PUT; carries the manifest's resourceVersion, so a change in between answers 409."""
        path = kind.path(manifest["metadata"]["name"])
        return await self.request("PUT", path, query=_write_query(dry_run=dry_run), body=manifest)

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
    ) -> AsyncGenerator[Mapping[str, Any], None]:
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
                    raise Response(answer.response.status, _parsed(body)).error(f"watching {kind.plural}")
                async for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = int(event["object"].get("code", HTTPStatus.INTERNAL_SERVER_ERROR))
                        raise Response(status, event["object"]).error(f"watching {kind.plural}")
                    yield event
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ClusterError(f"watching {kind.plural}: {_words(error)}") from error


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The stream's lines, whatever their length; aiohttp's own readline has a limit."""
    rest = bytearray()
    try:
        async for chunk in response.content.iter_any():
            rest += chunk
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


def _write_query(*, dry_run: bool) -> dict[str, str]:
    query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Warn"}
    return {**query, "dryRun": "All"} if dry_run else query


def _parsed(raw: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(raw) if raw.strip() else {}
    except ValueError:
        return {"message": raw[:200].decode(errors="replace")}
    return body if isinstance(body, dict) else {"message": "the answer of the API server is not a JSON object"}


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

"""An Azure Resource Manager for tests: TLS on 127.0.0.1, the real SDK on the other side, faults on demand.

    with Standin(load(folder)) as arm:
        settings = arm.settings(cluster_id)      # for ArmReader(settings, credential=arm.credential())
        arm.fail(FaultKind.FORBIDDEN, "policyAssignments")

It runs in a thread of its own, so that synchronous tests and whole programs can be driven against it. It issues tokens
too, so that azure-identity itself can be part of a test: `arm.cloud.authority`, client `CLIENT_ID`, secret `SECRET`.
"""

from __future__ import annotations

import json
import re
import time
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from aiohttp import web
from azure.core.credentials import AccessToken
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from controller.azure.access import ArmSettings, Limits
from controller.azure.clouds import Cloud, custom_cloud
from controller.azure.credentials import CredentialKind, credential_settings
from tests.azure.documents import Document, Documents
from tests.azure.faults import (
    REFUSALS,
    TRANSPORT_FAULTS,
    Fault,
    FaultKind,
    absent,
    break_connection,
    error,
    recorded,
)
from tests.azure.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

TENANT_ID: Final = "7e4a0000-0000-0000-0000-000000000001"
CLIENT_ID: Final = "7e4a0000-0000-0000-0000-000000000002"
SECRET: Final = "known-to-the-stand-in"

BUCKETS: Final = {
    "subscription-reads": 250,
    "subscription-global-reads": 3750,
    "tenant-reads": 250,
    "tenant-writes": 200,
    "policy-insights-requests": 500,
}

_VERSIONS: Final = re.compile(r"(?P<head>.+)/versions(?:/(?P<version>[^/]+))?", re.IGNORECASE)
_LIST: Final = re.compile(r"(?P<scope>.*)/providers/Microsoft\.Authorization/(?P<kind>policy\w+)", re.IGNORECASE)
_STATES: Final = re.compile(
    r"(?P<resource>.+)/providers/Microsoft\.PolicyInsights/policyStates/latest/queryResults", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    status: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Hook:
    where: re.Pattern[str]
    act: Callable[[], None] | None


@dataclass(slots=True)
class _Tokens:
    """The tokens that are good now."""

    numbers: count[int] = field(default_factory=count)
    valid: set[str] = field(default_factory=set)

    def issue(self) -> str:
        token = f"token-{next(self.numbers)}"
        self.valid.add(token)
        return token


class StandinCredential:
    """A credential that gets the stand-in's tokens without HTTP, and keeps one as azure-identity would."""

    def __init__(self, tokens: _Tokens) -> None:
        self._tokens = tokens
        self._kept = ""
        self.asked_scopes: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.asked_scopes += scopes
        if self._kept not in self._tokens.valid:
            self._kept = self._tokens.issue()
        return AccessToken(self._kept, int(time.time()) + 3600)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class Standin:
    """ARM over a few documents. `requests` has every request to ARM, `documents` what it knows, `states` compliance.

    `certificates` has the client certificates (PEM) that it gives a token for.
    """

    def __init__(self, documents: Iterable[Document] = (), *, page_size: int = 100) -> None:
        self.documents = Documents(documents)
        self.states: list[Document] = []
        self.certificates: list[bytes] = []
        self.requests: list[Request] = []
        self.page_size = page_size
        self.expands = True
        self.shows_root = True
        self.remaining = {**BUCKETS}
        self._tokens = _Tokens()
        self._faults: list[Fault] = []
        self._hooks: list[_Hook] = []
        self._server = Server(self._answer)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    @property
    def cloud(self) -> Cloud:
        """The cloud that this is: endpoint, authority and CA."""
        url = self._server.url
        return custom_cloud(url, audience="https://arm.test", authority=url, ca_file=str(self._server.authority_file))

    @property
    def environ(self) -> dict[str, str]:
        """What a program needs in its environment to be known here; the kind is client-secret."""
        return {"AZURE_TENANT_ID": TENANT_ID, "AZURE_CLIENT_ID": CLIENT_ID, "AZURE_CLIENT_SECRET": SECRET}

    def settings(self, cluster_id: str, limits: Limits | None = None) -> ArmSettings:
        """Settings that read a cluster here, by client secret unless a credential is handed in."""
        credential = credential_settings(CredentialKind.CLIENT_SECRET, self.environ)
        return ArmSettings(cluster_id, self.cloud, credential, limits=limits or Limits())

    def credential(self) -> StandinCredential:
        """A credential that needs no request."""
        return StandinCredential(self._tokens)

    def expire_tokens(self) -> None:
        """From now on every token issued so far is refused with 401."""
        self._tokens.valid.clear()

    def fail(self, kind: FaultKind, where: str = "", *, times: int = 1, after: int = 0, wait: float = 7) -> None:
        """The next `times` requests that match the regular expression fail, the first `after` of them excepted."""
        self._faults.append(Fault(kind, re.compile(where, re.IGNORECASE), times, after, wait))

    def heal(self) -> None:
        """No fault is left."""
        self._faults.clear()

    def before(self, where: str, act: Callable[[], None]) -> None:
        """Runs `act` once, just before the first request that matches is answered."""
        self._hooks.append(_Hook(re.compile(where, re.IGNORECASE), act))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith(f"/{TENANT_ID}/"):
            return await self._authority(request)
        self._run_hooks(request)
        fault = self._fault(request)
        response = self._refused(request, fault) or self._found(request, fault)
        self._note(request, response)
        if fault is not None and fault.kind in TRANSPORT_FAULTS:
            return await break_connection(request, response, fault.kind, self._server.stopping)
        return response

    def _note(self, request: web.BaseRequest, response: web.Response) -> None:
        headers = {name.casefold(): value for name, value in request.headers.items()}
        self.requests.append(Request(request.method, request.path, dict(request.query), response.status, headers))
        for bucket in _buckets(request):
            self.remaining[bucket] -= 1
            response.headers[f"x-ms-ratelimit-remaining-{bucket}"] = str(self.remaining[bucket])

    def _run_hooks(self, request: web.BaseRequest) -> None:
        for hook in self._hooks:
            if hook.act is not None and hook.where.search(str(request.rel_url)):
                act, hook.act = hook.act, None
                act()

    def _fault(self, request: web.BaseRequest) -> Fault | None:
        for fault in self._faults:
            if not fault.where.search(request.rel_url.raw_path_qs) and not fault.where.search(str(request.rel_url)):
                continue
            if fault.after:
                fault.after -= 1
            elif fault.times:
                fault.times -= 1
                return fault
        return None

    def _refused(self, request: web.BaseRequest, fault: Fault | None) -> web.Response | None:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self._tokens.valid:
            return recorded("InvalidAuthenticationToken")
        if "api-version" not in request.query:
            return error(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if fault is None:
            return None
        if fault.kind is FaultKind.HIDDEN:
            path = request.path.rstrip("/")
            listed = _LIST.fullmatch(path) or path.casefold().endswith("/versions")
            return web.json_response({"value": []}) if listed else recorded("AuthorizationFailed")
        refuse = REFUSALS.get(fault.kind)
        return None if refuse is None else refuse(fault)

    def _found(self, request: web.BaseRequest, fault: Fault | None) -> web.Response:
        path = request.path.rstrip("/")
        expanded = self.expands and "EffectiveDefinitionVersion" in request.query.get("$expand", "")
        if path == "/providers/Microsoft.Management/getEntities":
            return self._paged(request, self._entities(request), "nextLink", fault)
        if found := _STATES.fullmatch(path):
            return self._paged(request, self._policy_states(request, found["resource"]), "@odata.nextLink", fault)
        if found := _LIST.fullmatch(path):
            query_filter = request.query.get("$filter", "")
            entries = self.documents.collection(found["scope"], found["kind"], query_filter, expanded=expanded)
            return self._paged(request, entries, "nextLink", fault)
        if (found := _VERSIONS.fullmatch(path)) and not found["version"]:
            versions = self.documents.versions(found["head"], expanded=expanded)
            return absent(path) if versions is None else self._paged(request, versions, "nextLink", fault)
        if found:
            return _one(path, self.documents.version(found["head"], found["version"], expanded=expanded))
        return _one(path, self.documents.newest(path, expanded=expanded))

    def _entities(self, request: web.BaseRequest) -> list[Document]:
        """The subscription with the groups above it: none where the test does not say which those are."""
        groups, asked = self.documents.management_groups, re.fullmatch("name eq '(.+)'", request.query["$filter"])
        if request.method != "POST" or groups is None or asked is None:
            return []
        chain = [TENANT_ID, *sorted(groups)] if self.shows_root else sorted(groups)
        properties = {"tenantId": TENANT_ID, "parentNameChain": chain}
        return [
            {"id": f"/subscriptions/{asked[1]}", "type": "/subscriptions", "name": asked[1], "properties": properties}
        ]

    def _policy_states(self, request: web.BaseRequest, resource: str) -> list[Document]:
        here = [each for each in self.states if each["resourceId"].casefold() == resource.casefold()]
        if request.query.get("$expand", "").startswith("components"):
            return here
        return [{key: value for key, value in each.items() if key != "components"} for each in here]

    def _paged(self, request: web.BaseRequest, entries: list[Document], link: str, fault: Fault | None) -> web.Response:
        start = int(request.query.get("$skiptoken", "0"))
        end = start + self.page_size
        page: Document = {"value": entries[start:end]}
        kind = None if fault is None else fault.kind
        following = {**request.query, "$skiptoken": str(start if kind is FaultKind.LOOP else end)}
        following.pop("cursor", None)
        if (end < len(entries) and kind is not FaultKind.LAST_PAGE) or kind in (FaultKind.LOOP, FaultKind.ASTRAY):
            # Of a region, as ARM's are; with braces, so that whoever takes a link for a template is found out.
            host = "https://elsewhere.test" if kind is FaultKind.ASTRAY else f"https://WestUS.{self._server.host}"
            page[link] = f"{host}{request.path}?{urlencode(following)}&cursor={{{end}}}"
        if kind is FaultKind.NO_VALUE:
            del page["value"]
        return web.json_response(page)

    async def _authority(self, request: web.BaseRequest) -> web.Response:
        """The little of an identity provider that azure-identity asks for."""
        base = f"{self._server.url}/{TENANT_ID}"
        if request.path.endswith("/.well-known/openid-configuration"):
            return web.json_response(
                {
                    "issuer": f"{base}/v2.0",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                }
            )
        form = await request.post()
        shown = str(form.get("client_secret") or form.get("client_assertion"))
        signed = any(_is_signed(shown, each, f"{base}/oauth2/v2.0/token") for each in self.certificates)
        if form.get("client_id") != CLIENT_ID or not (shown == SECRET or signed):
            return web.json_response({"error": "invalid_client", "error_description": "not known here"}, status=401)
        return web.json_response({"access_token": self._tokens.issue(), "expires_in": 3600, "token_type": "Bearer"})


def _is_signed(assertion: str, certificate: bytes, audience: str) -> bool:
    """Whether a client assertion (a JWT, PS256) is for this audience and by the key of a certificate."""
    signed, _, signature = assertion.rpartition(".")
    key = x509.load_pem_x509_certificate(certificate).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    try:
        key.verify(
            _decoded(signature),
            signed.encode(),
            padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO),
            hashes.SHA256(),
        )
    except InvalidSignature:
        return False
    return bool(json.loads(_decoded(signed.partition(".")[2]))["aud"] == audience)


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _buckets(request: web.BaseRequest) -> Iterator[str]:
    """The buckets that a request is taken from; a POST counts as a write, whatever it does."""
    if _STATES.fullmatch(request.path):
        yield "policy-insights-requests"
    elif not request.path.startswith("/subscriptions/"):
        yield "tenant-writes" if request.method == "POST" else "tenant-reads"
    else:
        yield from ("subscription-reads", "subscription-global-reads")


def _one(path: str, document: Document | None) -> web.Response:
    return absent(path) if document is None else web.json_response(document)

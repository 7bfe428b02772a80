"""Where templates come from: folders, and a template store on loopback that behaves well, badly and worse."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import ssl
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from controller.errors import InputError
from controller.gatekeeper.documents import DocumentError, DocumentKind, Origin, TemplateDocument
from controller.gatekeeper.fetch import TIMEOUT, TOTAL, Cache, Kept, PinnedInCache, Web
from controller.gatekeeper.providers import make_provider
from controller.gatekeeper.sources import (
    Folder,
    TemplateSource,
    TemplateSources,
    Unavailable,
    Wanted,
    bundle_root,
    decode,
    held_path,
    store_path,
)
from controller.policy.model import Base64Content, PublicUrl
from tests.unit.virtual_time import clock, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from controller.gatekeeper.documents import Document
    from controller.gatekeeper.sources import Check

STORE = "https://store.policy.core.windows.net/kubernetes/"
PATH = "thing/v1/template.yaml"
HELD = "raw.example.com/team/main/a_b.yaml"
ELSEWHERE = f"https://{HELD}"


def template_text(rego: str = "package thing") -> str:
    return (
        "apiVersion: templates.gatekeeper.sh/v1\nkind: ConstraintTemplate\nmetadata: {name: k8sthing}\n"
        f"spec: {{crd: {{spec: {{names: {{kind: K8sThing}}}}}}, targets: [{{target: t, rego: {rego}}}]}}\n"
    )


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def template(url: str) -> Wanted:
    return Wanted(PublicUrl(url), DocumentKind.TEMPLATE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    file = tmp_path / "templates" / PATH
    file.parent.mkdir(parents=True)
    file.write_text(template_text("package folder"))
    return tmp_path / "templates"


@dataclass
class TemplateStore:
    """What the store serves, and what it was asked."""

    base: str
    tls: ssl.SSLContext
    text: str = template_text()
    status: int = 200
    location: str = ""
    delay: asyncio.Event | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    endless: bool = False
    moved: dict[str, str] = field(default_factory=dict)
    asked: list[web.Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.base}/kubernetes/{PATH}"

    @property
    def host(self) -> str:
        return self.base.removeprefix("https://")

    def source(self, cache: Cache | None = None, *, timeout: float = 10, allowed: bool = True) -> Web:
        return Web(cache or Cache(), hosts=[self.host] if allowed else [], timeout=timeout, tls=self.tls)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if self.delay:
            await self.delay.wait()
        if location := self.moved.get(request.path, self.location):
            return web.Response(status=302, headers={"Location": location})
        if self.endless:
            return await self.go_on_and_on(request)
        etag = f'"{digest(self.text)}"'
        if self.status == 200 and request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        body = self.body if self.body is not None else self.text.encode()
        return web.Response(status=self.status, body=body, headers={"ETag": etag, **self.headers})

    async def go_on_and_on(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        with suppress(ConnectionError):
            while True:
                await stream.write(b"#" * 64 * 1024)
                await asyncio.sleep(0)  # lets the loop see that the client has left
        return stream


def certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "template store")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "store.pem"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(pem + signed.public_bytes(serialization.Encoding.PEM))
    return file


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[TemplateStore]:
    file = certificate(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    client = ssl.create_default_context(cafile=str(file))
    app = web.Application()
    runner = web.AppRunner(app)
    store = TemplateStore("", client)
    app.router.add_get("/{path:.*}", store.answer)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server)
    await site.start()
    store.base = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield store
    finally:
        if store.delay:
            store.delay.set()
        await runner.cleanup()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[TemplateStore]:
    async with serving(tmp_path) as running:
        yield running


async def answer(
    source: TemplateSource | list[TemplateSource], wanted: Wanted, pins: dict[str, str] | None = None
) -> TemplateDocument:
    found = await outcome(source, wanted, pins)
    assert isinstance(found, TemplateDocument), found
    return found


async def reason(
    source: TemplateSource | list[TemplateSource], wanted: Wanted, pins: dict[str, str] | None = None
) -> str:
    found = await outcome(source, wanted, pins)
    assert isinstance(found, Unavailable), found
    return found.reason


async def outcome(
    source: TemplateSource | list[TemplateSource], wanted: Wanted, pins: dict[str, str] | None = None
) -> object:
    provider = TemplateSources(source if isinstance(source, list) else [source], pins)
    return (await provider.fetch([wanted]))[wanted]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (STORE + PATH, PATH),
        ("https://STORE.policy.azure.us/kubernetes/a/v2/mutation.yaml", "a/v2/mutation.yaml"),
        ("https://store.policy.azure.cn/kubernetes/a/v2/template.yaml?x=1", "a/v2/template.yaml"),
        (
            "https://raw.githubusercontent.com/Azure/azure-policy/master/built-in-references/Kubernetes/a/template.yaml",
            "a/template.yaml",
        ),
        ("https://example.com/kubernetes/a/v1/template.yaml", None),
        ("https://raw.githubusercontent.com/someone/else/kubernetes/a/template.yaml", None),
        (STORE + "../../etc/passwd", None),
        (STORE + "a/../../x", None),
        (STORE + "/a", None),
        (STORE, None),
        (STORE + "%2e%2e/a", None),
        (STORE + ".hidden", None),
        ("nonsense", None),
    ],
)
def test_only_addresses_on_azure_s_stores_have_a_path_in_a_folder(url: str, path: str | None) -> None:
    assert store_path(url) == path


def test_an_address_that_cannot_be_read_is_on_no_store() -> None:
    assert store_path("https://[broken/kubernetes/a") is None


async def test_a_folder_serves_what_lies_at_the_path_of_the_store(folder: Path) -> None:
    document = await answer(Folder(folder, Origin.MIRROR), template(STORE + PATH))

    assert (document.name, document.origin) == ("k8sthing", Origin.MIRROR)
    assert document.digest == digest(template_text("package folder"))


async def test_what_a_folder_does_not_have_is_named_by_address_and_path(folder: Path) -> None:
    assert await reason(Folder(folder, Origin.BUNDLE), template(STORE + "other/v1/template.yaml")) == (
        f"{STORE}other/v1/template.yaml: the bundle has no other/v1/template.yaml"
    )


async def test_a_folder_that_changes_is_read_anew(folder: Path) -> None:
    provider = TemplateSources([Folder(folder, Origin.MIRROR)])
    wanted = template(STORE + PATH)
    first = (await provider.fetch([wanted]))[wanted]
    same = (await provider.fetch([wanted]))[wanted]
    (folder / PATH).write_text(template_text("package changed"))

    changed = (await provider.fetch([wanted]))[wanted]

    assert first is same
    assert isinstance(changed, TemplateDocument)
    assert changed.digest == digest(template_text("package changed"))


async def test_a_broken_file_is_named_and_hurts_no_other(folder: Path) -> None:
    broken = folder / "broken/v1/template.yaml"
    broken.parent.mkdir(parents=True)
    broken.write_text("a: [")
    good, bad = template(STORE + PATH), template(STORE + "broken/v1/template.yaml")

    answers = await TemplateSources([Folder(folder, Origin.MIRROR)]).fetch([good, bad])

    assert isinstance(answers[good], TemplateDocument)
    refused = answers[bad]
    assert isinstance(refused, Unavailable)
    assert str(broken) in refused.reason


async def test_a_folder_in_place_of_a_file_is_unavailable(folder: Path) -> None:
    (folder / "odd/v1/template.yaml").mkdir(parents=True)

    assert "cannot be read" in await reason(Folder(folder, Origin.MIRROR), template(STORE + "odd/v1/template.yaml"))


def test_a_template_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a folder: name one"):
        make_provider(str(tmp_path / "nothing"))


async def test_a_definition_s_own_text_needs_no_place(folder: Path) -> None:
    encoded = base64.encodebytes(template_text().encode()).decode()

    document = await answer(Folder(folder, Origin.BUNDLE), Wanted(Base64Content(encoded), DocumentKind.TEMPLATE))

    assert (document.origin, document.digest) == (Origin.BASE64, digest(template_text()))


@pytest.mark.parametrize("content", ["not base64!", "QUJ", "QUJD!", "é"])
async def test_text_that_is_no_base64_is_unavailable(folder: Path, content: str) -> None:
    refused = await reason(Folder(folder, Origin.BUNDLE), Wanted(Base64Content(content), DocumentKind.TEMPLATE))

    assert refused.startswith("the base64 template in the definition: it is not base64 text")


def test_base64_far_over_the_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(Exception, match="larger than"):
        decode("A" * 3 * 1024 * 1024)


async def test_a_url_is_fetched(store: TemplateStore) -> None:
    document = await answer(store.source(), template(store.url))

    assert (document.digest, document.origin) == (digest(store.text), Origin.URL)
    assert store.asked[0].headers["Accept-Encoding"] == "identity"


async def test_what_has_not_changed_is_not_sent_again_and_a_change_is_seen(store: TemplateStore) -> None:
    provider, wanted = TemplateSources([store.source()]), template(store.url)
    first = (await provider.fetch([wanted]))[wanted]
    second = (await provider.fetch([wanted]))[wanted]
    store.text = template_text("package changed")

    third = (await provider.fetch([wanted]))[wanted]

    assert second is first
    assert [r.headers.get("If-None-Match") for r in store.asked] == [None, *[f'"{digest(template_text())}"'] * 2]
    assert isinstance(third, TemplateDocument)
    assert third.digest == digest(store.text)


async def test_what_the_last_reading_did_not_use_is_forgotten_in_memory_and_in_the_folder(
    store: TemplateStore, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    cache = Cache(folder)
    provider = TemplateSources([store.source(cache)])
    one, other = template(store.url), template(store.url.replace("/v1/", "/v2/"))
    await provider.fetch([one])
    store.text = template_text("package changed")
    await provider.fetch([one])
    store.text = template_text("package other")
    await provider.fetch([other])

    assert cache.get(store.url) is None
    assert files_in(folder) == {"index.json", digest(store.text)}
    store.status = 503
    assert isinstance((await TemplateSources([store.source(Cache(folder))]).fetch([other]))[other], TemplateDocument)


def files_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


async def test_what_others_keep_in_a_shared_folder_and_what_is_pinned_stays(
    store: TemplateStore, tmp_path: Path
) -> None:
    others, pinned = template(store.url), template(store.url.replace("/v1/", "/v2/"))
    await TemplateSources([store.source(Cache(tmp_path))]).fetch([others])
    store.text = template_text("package pinned")
    cache, pins = Cache(tmp_path), {store.url.replace("/v1/", "/v2/"): digest(store.text)}
    provider = TemplateSources([PinnedInCache(cache, pins), store.source(cache)], pins)
    await provider.fetch([pinned])
    store.status = 503

    for _ in range(3):
        assert isinstance((await provider.fetch([pinned]))[pinned], TemplateDocument)

    assert isinstance(
        (await TemplateSources([store.source(Cache(tmp_path))]).fetch([others]))[others], TemplateDocument
    )


@pytest.mark.parametrize("fault", ["status", "nonsense", "gone", "slow"])
async def test_a_failure_keeps_what_was_last_good(store: TemplateStore, fault: str) -> None:
    cache = Cache()
    provider = TemplateSources([store.source(cache, timeout=0.3)])
    wanted = template(store.url)
    good = (await provider.fetch([wanted]))[wanted]
    match fault:
        case "status":
            store.status = 503
        case "nonsense":
            store.text = "a: ["
        case "gone":
            store.location = "https://127.0.0.1:1/"
        case "slow":
            store.delay = asyncio.Event()
            store.text = "changed, so that it is read"

    kept = (await provider.fetch([wanted]))[wanted]

    assert isinstance(kept, TemplateDocument)
    assert kept is good
    assert len(store.asked) == 2


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"status": 404}, "the server answers 404"),
        ({"text": "a: 1"}, "its kind is None"),
        ({"endless": True}, "larger than 1024 KiB"),
        ({"body": gzip.compress(template_text().encode()), "headers": {"Content-Encoding": "gzip"}}, "not UTF-8"),
        ({"location": "https://example.invalid/x"}, "host example.invalid is not allowed"),
        ({"location": "http://127.0.0.1/x"}, "not a plain https address"),
        ({"location": "again"}, "redirected too often"),
    ],
)
async def test_what_a_url_must_not_do_is_refused_and_named(
    store: TemplateStore, change: Mapping[str, object], complaint: str
) -> None:
    for name, value in change.items():
        setattr(store, name, value)

    refused = await reason(store.source(), template(store.url))

    assert refused.startswith(f"{store.url}: ")
    assert complaint in refused
    assert len(store.asked) == (4 if store.location == "again" else 1)


async def test_a_redirect_within_allowed_hosts_is_followed(store: TemplateStore) -> None:
    store.moved["/old"] = store.url

    document = await answer(store.source(), template(f"{store.base}/old"))

    assert document.digest == digest(store.text)
    assert [r.path for r in store.asked] == ["/old", f"/kubernetes/{PATH}"]


@pytest.mark.parametrize(
    "url",
    ["http://store.policy.core.windows.net/kubernetes/a", "https://example.com/a", "file:///etc/passwd",
     "https://store.policy.core.windows.net@example.com/a", "https://user:pw@store.policy.core.windows.net/a",
     "https://store.policy.core.windows.net:8443/a", "https://169.254.169.254/metadata", "https://[broken"],
)  # fmt: skip
async def test_only_https_on_listed_hosts_is_asked(url: str) -> None:
    assert "allowed" in (refused := await reason(Web(Cache()), template(url))) or "https address" in refused


async def test_a_host_that_is_not_listed_is_never_asked(store: TemplateStore) -> None:
    refused = await reason(store.source(allowed=False), template(store.url))

    assert f"host {store.host} is not allowed: --template-host {store.host} allows it" in refused
    assert store.asked == []


async def test_a_server_that_nobody_vouches_for_is_not_believed(store: TemplateStore) -> None:
    source = Web(Cache(), hosts=[store.host])

    assert "cannot be fetched" in await reason(source, template(store.url))
    assert store.asked == []


class OutOfReach:
    """The web, without a way there."""

    origin = Origin.URL

    def opened(self) -> AbstractAsyncContextManager[object]:
        return nullcontext()

    async def read(self, url: str, check: Check) -> Document:  # noqa: ARG002 - a TemplateSource's signature
        raise DocumentError("the server does not answer in time")


async def test_a_url_that_fails_leaves_it_to_the_bundle(folder: Path) -> None:
    document = await answer([OutOfReach(), Folder(folder, Origin.BUNDLE)], template(STORE + PATH))

    assert (document.origin, document.digest) == (Origin.BUNDLE, digest(template_text("package folder")))


async def test_nothing_anywhere_names_every_place_that_was_asked(store: TemplateStore, folder: Path) -> None:
    store.status = 500

    refused = await reason([store.source(), Folder(folder, Origin.BUNDLE)], template(store.url))

    assert refused.startswith(
        f"{store.url}: the server answers 500; the bundle has only the templates of Azure's template stores: "
    )


async def test_a_mirror_serves_azure_s_stores_by_name_and_other_hosts_by_host_and_path(store: TemplateStore) -> None:
    provider = make_provider(f"{store.base}/mirrored/", tls=store.tls)
    azures, others, unheld = template(STORE + PATH), template(ELSEWHERE), template(f"{ELSEWHERE}?token=1")

    answers = await provider.fetch([azures, others, unheld])

    document = answers[azures]
    assert isinstance(document, TemplateDocument)
    assert document.origin is Origin.MIRROR
    assert isinstance(answers[others], TemplateDocument)
    assert sorted(r.path for r in store.asked) == [f"/mirrored/{HELD}", f"/mirrored/{PATH}"]
    assert isinstance(answers[unheld], Unavailable)


async def test_a_folder_holds_templates_of_other_hosts_by_host_and_path_and_pins_count_there(folder: Path) -> None:
    (folder / HELD).parent.mkdir(parents=True)
    (folder / HELD).write_text(template_text("package elsewhere"))
    places, wanted = Folder(folder, Origin.MIRROR), template(ELSEWHERE)
    held = digest(template_text("package elsewhere"))

    assert (await answer(places, wanted)).digest == held
    assert (await answer(places, template("https://RAW.example.com:443/team/main/a_b.yaml"))).digest == held
    assert (await answer(places, wanted, {ELSEWHERE: held})).digest == held
    assert "is not the pinned" in await reason(places, wanted, {ELSEWHERE: "0" * 64})
    assert f"the mirror has no {HELD}2" in await reason(places, template(f"{ELSEWHERE}2"))


async def test_the_bundle_has_azure_s_templates_alone_and_says_how_others_are_had(folder: Path) -> None:
    (folder / HELD).parent.mkdir(parents=True)
    (folder / HELD).write_text(template_text())

    refused = await reason(Folder(folder, Origin.BUNDLE), template(ELSEWHERE))

    assert "--templates url with --template-host raw.example.com fetches it" in refused
    assert f"a folder or a mirror can hold it as {HELD}" in refused


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (STORE + PATH, PATH),
        ("https://raw.githubusercontent.com/Azure/azure-policy/master/built-in-references/Kubernetes/x/template.yaml",
         "x/template.yaml"),
        ("https://raw.githubusercontent.com/Contoso/Policies/Main/T.yaml",
         "raw.githubusercontent.com/Contoso/Policies/Main/T.yaml"),
        ("https://Raw.Example.Com:443/a/~b@1+2_3.yaml", "raw.example.com/a/~b@1+2_3.yaml"),
        ("https://raw.example.com:8443/a", "raw.example.com:8443/a"),
        ("https://localhost:8443/a", "localhost:8443/a"),
        ("https://10.0.0.1/.github/a", "10.0.0.1/.github/a"),
        ("https://raw.example.com/.../a", "raw.example.com/.../a"),
        *[(url, None) for url in (
            "http://raw.example.com/a", "ftp://raw.example.com/a", "raw.example.com/a", "https://raw.example.com",
            "https://raw.example.com/", "https://raw.example.com/a/", "https://raw.example.com//a",
            "https://raw.example.com/../a", "https://raw.example.com/a/..", "https://raw.example.com/./a",
            "https://raw.example.com/%2e%2e/a", "https://raw.example.com/a%2fb", "https://raw.example.com/a\\b",
            "https://raw.example.com/a?b", "https://raw.example.com/a?", "https://raw.example.com/a#b",
            "https://u@raw.example.com/a", "https://u:p@raw.example.com/a", "https://raw.example.com:x/a",
            "https://[::1]/a", "https://../a", "https://.example.com/a", "https://raw..com/a", "https://[broken",
            "https://container-no-privilege/v2/template.yaml", "https:///etc/passwd", "https://räw.example.com/a",
            "https://raw.example.com/a\0b", "https://raw.example.com/a b",
        )],
    ],
)  # fmt: skip
def test_a_folder_s_path_of_an_address_is_one_file_below_its_host(url: str, path: str | None) -> None:
    assert held_path(url) == path


@pytest.mark.parametrize(
    "base", ["http://mirror.example.com", "https://[broken", "https://", "ftp://x", "https://user:pw@x"]
)
def test_a_mirror_that_is_no_https_address_is_refused(base: str) -> None:
    with pytest.raises(InputError, match="not a plain https address"):
        make_provider(base)


async def test_a_pinned_digest_is_the_only_text_that_is_good(store: TemplateStore, folder: Path) -> None:
    wanted = template(STORE + PATH)
    in_folder = digest(template_text("package folder"))

    good = await answer(Folder(folder, Origin.BUNDLE), wanted, {STORE + PATH: in_folder})
    refused = await reason(store.source(), template(store.url), {store.url: in_folder})

    assert good.digest == in_folder
    assert f"digest {digest(store.text)} is not the pinned {in_folder}" in refused


async def test_what_is_pinned_and_was_fetched_once_needs_no_network(store: TemplateStore, tmp_path: Path) -> None:
    wanted = template(store.url)
    pins = {store.url: digest(store.text)}
    await answer(store.source(Cache(tmp_path / "cache")), wanted, pins)
    store.text = template_text("package changed")
    cache = Cache(tmp_path / "cache")

    document = await answer([PinnedInCache(cache, pins), store.source(cache)], wanted, pins)

    assert document.digest == digest(template_text())
    assert len(store.asked) == 1


async def test_the_last_good_text_outlives_a_restart_in_the_cache_folder(store: TemplateStore, tmp_path: Path) -> None:
    first = await answer(store.source(Cache(tmp_path / "cache")), template(store.url))
    store.status = 500

    again = await answer(store.source(Cache(tmp_path / "cache")), template(store.url))

    assert (again.digest, again.origin) == (first.digest, Origin.URL)


@pytest.mark.parametrize("damage", ["changed", "index", "list", "deep"])
async def test_a_damaged_cache_is_fetched_again(store: TemplateStore, tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "cache"
    await answer(store.source(Cache(cache)), template(store.url))
    match damage:
        case "changed":
            (cache / digest(store.text)).write_text(template_text("package evil"))
        case "index":
            (cache / "index.json").write_text("{")
        case "list":
            (cache / "index.json").write_text("[1]")
        case "deep":
            (cache / "index.json").write_text("[" * 100_000)

    document = await answer(store.source(Cache(cache)), template(store.url))

    assert document.digest == digest(store.text)
    assert "If-None-Match" not in store.asked[-1].headers


async def test_a_cache_folder_that_cannot_be_written_only_costs_the_cache(store: TemplateStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    document = await answer(store.source(Cache(tmp_path / "file" / "cache")), template(store.url))

    assert document.digest == digest(store.text)


@pytest.mark.parametrize("pin", ["", "abc", "https://x", f"={'0' * 64}", "https://x=12"])
def test_a_pin_that_is_none_is_refused(pin: str) -> None:
    with pytest.raises(InputError, match="URL=SHA256"):
        make_provider("bundle", pins=[pin])


async def test_the_default_is_the_bundle_of_this_repository() -> None:
    wanted = template(STORE + "container-no-privilege/v2/template.yaml")

    found = (await make_provider("bundle").fetch([wanted]))[wanted]

    assert isinstance(found, TemplateDocument)
    assert (found.name, found.origin) == ("k8sazurev2noprivilege", Origin.BUNDLE)
    assert (bundle_root() / "container-no-privilege/v2/template.yaml").is_file()


class SlowStore(Web):
    """A store that needs so many seconds for each document, in virtual time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(Cache(), hosts=["slow.example.com"])
        self._seconds = seconds

    async def _get(self, _: str) -> Kept:
        await asyncio.sleep(self._seconds)
        return Kept(template_text().encode())


@pytest.mark.parametrize(
    ("seconds", "served"), [(TIMEOUT - 1, 48), (TIMEOUT + 1, 0), (0.1, 400)], ids=["slow", "too slow", "fast"]
)
def test_a_reading_waits_for_a_slow_store_only_so_long_however_many_documents_it_serves(
    seconds: float, served: int
) -> None:
    async def check(content: bytes) -> Any:
        return content

    @in_virtual_time
    async def fetch() -> None:
        store = SlowStore(seconds)
        urls = [f"https://slow.example.com/{number}/template.yaml" for number in range(400)]
        async with store.opened():
            answers = await asyncio.gather(*(store.read(url, check) for url in urls), return_exceptions=True)

        late = [each for each in answers if isinstance(each, DocumentError)]
        assert len(answers) - len(late) == served
        assert {str(each) for each in late} <= {"the server does not answer in time"}
        assert clock() <= TOTAL + 0.1

    fetch()

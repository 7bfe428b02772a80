"""The sources of the documents that definitions name: bundle, folder, mirror, URL, or the definition itself.

Reading them is the one impure step between policies and objects. It is done first and as a whole: `fetch` takes what
all policies want and answers with a mapping, so that translating stays a pure function of values.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import stat
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from controller.errors import InputError
from controller.gatekeeper.documents import (
    Document,
    DocumentError,
    DocumentKind,
    Origin,
    read_document,
)
from controller.gatekeeper.yamltext import MAX_BYTES
from controller.policy.model import (
    Base64Content,
    DocumentSource,
    EffectivePolicy,
    MutationPolicy,
    PublicUrl,
    TemplatePolicy,
    UnresolvedReason,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from controller.policy.model import Resolution

STORE_HOSTS: Final = ("store.policy.core.windows.net", "store.policy.azure.us", "store.policy.azure.cn")
_STORE_FOLDER: Final = "/kubernetes/"
_OLD_HOST: Final = "raw.githubusercontent.com"
_OLD_FOLDER: Final = "/Azure/azure-policy/master/built-in-references/Kubernetes/"
NOT_HELD: Final = "it has to be https://HOST/PATH without a user, a query, a fragment, an escape or dots as a part"
_SEGMENT: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._]*")
_HTTPS_PORT: Final = 443
# A host has a dot or a port, which the name of a template has not: no folder of a host is taken for a template's.
_HOST: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PART: Final = re.compile(r"(?!\.{1,2}$)[-A-Za-z0-9._~@+]+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document that some policy needs."""

    source: DocumentSource
    kind: DocumentKind


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The document is not to be had; the reason names its address, the cause is what becomes of its policies."""

    reason: str
    cause: UnresolvedReason = UnresolvedReason.TEMPLATE


Documents: TypeAlias = "Mapping[Wanted, Document | Unavailable]"
Check: TypeAlias = "Callable[[bytes], Awaitable[Document]]"


class TemplateProvider(Protocol):
    """Answers what policies want, each with its document or the reason why not; never raises for a single one."""

    async def fetch(self, wanted: Iterable[Wanted]) -> Documents:
        """One answer per wanted document."""


class TemplateSource(Protocol):
    """A source of documents by their public URL."""

    origin: Origin

    def opened(self) -> AbstractAsyncContextManager[object]:
        """What has to stay open while documents are read."""

    async def read(self, url: str, check: Check) -> Document:
        """What `check` makes of the content; raises DocumentError where there is none or `check` refuses it."""


def wanted_documents(resolutions: Iterable[Resolution]) -> frozenset[Wanted]:
    """What has to be fetched before these can be translated."""
    wanted: set[Wanted] = set()
    for resolution in resolutions:
        if not isinstance(resolution, EffectivePolicy):
            continue
        match resolution.policy:
            case TemplatePolicy(template=template, constraint=constraint):
                wanted.add(Wanted(template, DocumentKind.TEMPLATE))
                if constraint is not None:
                    wanted.add(Wanted(constraint, DocumentKind.CONSTRAINT))
            case MutationPolicy(mutation=mutation):
                wanted.add(Wanted(mutation, DocumentKind.MUTATION))
    return frozenset(wanted)


def store_path(url: str) -> str | None:
    """Where a document lies below the root of a store, `<name>/<vN>/template.yaml`, or None: not on Azure's stores."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    host = (parts.hostname or "").lower()
    folder = _STORE_FOLDER if host in STORE_HOSTS else _OLD_FOLDER if host == _OLD_HOST else None
    if folder is None or not parts.path.startswith(folder):
        return None
    path = parts.path.removeprefix(folder)
    return path if all(_SEGMENT.fullmatch(segment) for segment in path.split("/")) else None


def held_path(url: str) -> str | None:
    """Where a folder or a mirror holds a document: its `store_path`, or `HOST/PATH` for one of another host.

    The host is in lower case, with its port where that is not 443; the path is that of the URL, letter by letter. None
    for an address that names no one file in such a folder: not https, with a user, a query or a fragment, an escape
    (`%2e`), an empty, `.` or `..` part, or a host without a dot or port.
    """
    if (path := store_path(url)) is not None:
        return path
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = (parts.hostname or "").lower()
    at = host if port in (None, _HTTPS_PORT) else f"{host}:{port}"
    if parts.scheme != "https" or "@" in parts.netloc or "?" in url or "#" in url:
        return None
    if not _HOST.fullmatch(host) or not {".", ":"} & set(at):
        return None
    inner = parts.path.removeprefix("/")
    return f"{at}/{inner}" if all(_PART.fullmatch(part) for part in inner.split("/")) else None


def _ways_to(url: str) -> str:
    """How a document outside Azure's template stores is to be had."""
    if not url.startswith("https://"):
        return "only https addresses can be fetched"
    host = url.removeprefix("https://").partition("/")[0]
    fetched = f"--templates url with --template-host {host} fetches it"
    return f"{fetched}, a folder or a mirror can hold it as {held}" if (held := held_path(url)) else fetched


def bundle_root() -> Path:
    """The folder of the bundled templates: inside the package where installed from a wheel, else the repository's."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "bundle"
    return inside if inside.is_dir() else package.parent / "templates"


class Folder:
    """A folder laid out as Azure's template store below `/kubernetes/`: the bundle, or one of the user's own.

    The user's own holds documents of other hosts, too, as HOST/PATH.
    """

    def __init__(self, root: Path, origin: Origin) -> None:
        if not root.is_dir():
            raise InputError(
                f"template folder {root} is not a folder: name one that contains <name>/<vN>/template.yaml"
            )
        self.origin = origin
        self._root = root

    def opened(self) -> AbstractAsyncContextManager[object]:
        """Nothing."""
        return nullcontext()

    async def read(self, url: str, check: Check) -> Document:
        """The document, read again each time, because a user's folder may change."""
        if self.origin is Origin.BUNDLE and store_path(url) is None:
            raise DocumentError(f"the bundle has only the templates of Azure's template stores: {_ways_to(url)}")
        path = held_path(url)
        if path is None:
            raise DocumentError(f"a folder holds nothing by this address: {NOT_HELD}")
        try:
            content = await asyncio.to_thread(_read_file, self._root / path)
        except FileNotFoundError:
            raise DocumentError(f"the {self.origin} has no {path}") from None
        except OSError as error:
            raise DocumentError(f"{self._root / path} cannot be read: {error.strerror}") from error
        try:
            return await check(content)
        except DocumentError as error:
            raise DocumentError(f"{self._root / path}: {error}") from error


class TemplateSources:
    """Asks sources in their order, and decodes what definitions carry themselves. Known text is not parsed again."""

    def __init__(self, sources: Sequence[TemplateSource], pins: Mapping[str, str] | None = None) -> None:
        """`pins` maps URLs to the only digest (hex) that is good for them."""
        self._sources = sources
        self._pins = pins or {}
        self._parsed: dict[tuple[DocumentKind, Origin, bytes], Document] = {}

    async def fetch(self, wanted: Iterable[Wanted]) -> Documents:
        """One answer per wanted document; what is no longer wanted is forgotten."""
        distinct = sorted(set(wanted), key=str)
        async with AsyncExitStack() as stack:
            for source in self._sources:
                await stack.enter_async_context(source.opened())
            answers = await asyncio.gather(*(self._answer(one) for one in distinct))
        used = {id(answer) for answer in answers}
        self._parsed = {key: document for key, document in self._parsed.items() if id(document) in used}
        return dict(zip(distinct, answers, strict=True))

    async def _answer(self, wanted: Wanted) -> Document | Unavailable:
        match wanted.source:
            case PublicUrl(url):
                return await self._public(url, wanted.kind)
            case Base64Content(content):
                try:
                    return await self._parse(wanted.kind, Origin.BASE64, decode(content))
                except DocumentError as error:
                    reason = f"the base64 {wanted.kind} in the definition: {error}"
                    return Unavailable(reason, UnresolvedReason.TEMPLATE_MALFORMED)

    async def _public(self, url: str, kind: DocumentKind) -> Document | Unavailable:
        reasons = []
        for source in self._sources:
            try:
                return await source.read(url, partial(self._check, url, kind, source.origin))
            except DocumentError as error:
                reasons.append(str(error))
        return Unavailable(f"{url}: {'; '.join(reasons)}")

    async def _check(self, url: str, kind: DocumentKind, origin: Origin, content: bytes) -> Document:
        document = await self._parse(kind, origin, content)
        pin = self._pins.get(url, document.digest)
        if document.digest != pin:
            raise DocumentError(f"digest {document.digest} is not the pinned {pin}")
        return document

    async def _parse(self, kind: DocumentKind, origin: Origin, content: bytes) -> Document:
        # In a thread: a large document takes seconds.
        key = (kind, origin, content)
        if key not in self._parsed:
            self._parsed[key] = await asyncio.to_thread(read_document, kind, content, origin)
        return self._parsed[key]


def decode(content: str) -> bytes:
    """The bytes of a base64 text, which may be wrapped in lines; DocumentError where it is none."""
    if len(content) > 2 * MAX_BYTES:
        raise DocumentError(f"it is larger than {MAX_BYTES // 1024} KiB")
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DocumentError(f"it is not base64 text: {error}") from error


def _read_file(path: Path) -> bytes:
    if not path.is_dir() and not stat.S_ISREG(path.stat().st_mode):
        # Opening a pipe would wait for its other end.
        raise DocumentError(f"{path} is not a file")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)

"""Where the documents come from that definitions point at: bundle, folder, mirror, URL, or the definition itself.

Reading them is the one impure step between policies and objects. It is done first and as a whole: `fetch` takes what
all policies want and answers with a mapping, so that translating stays a pure function of values.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from dataclasses import dataclass
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
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from controller.policy.model import Resolution

STORE_HOSTS: Final = ("store.policy.core.windows.net", "store.policy.azure.us", "store.policy.azure.cn")
_STORE_FOLDER: Final = "/kubernetes/"
_OLD_HOST: Final = "raw.githubusercontent.com"
_OLD_FOLDER: Final = "/Azure/azure-policy/master/built-in-references/Kubernetes/"
_SEGMENT: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._]*")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document that some policy needs."""

    source: DocumentSource
    kind: DocumentKind


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The document is not to be had; the reason names its address."""

    reason: str


Documents: TypeAlias = "Mapping[Wanted, Document | Unavailable]"
Parse: TypeAlias = "Callable[[DocumentKind, bytes, Origin], Document]"


class TemplateProvider(Protocol):
    """Answers what policies want, each with its document or the reason why not; never raises for a single one."""

    async def fetch(self, wanted: Iterable[Wanted]) -> Documents:
        """One answer per wanted document."""


class Store(Protocol):
    """A place that holds documents by their public URL."""

    async def read(self, url: str, kind: DocumentKind, parse: Parse) -> Document | Unavailable:
        """The document, parsed; DocumentError of `parse` becomes Unavailable."""


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
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    folder = _STORE_FOLDER if host in STORE_HOSTS else _OLD_FOLDER if host == _OLD_HOST else None
    if folder is None or not parts.path.startswith(folder):
        return None
    path = parts.path.removeprefix(folder)
    return path if all(_SEGMENT.fullmatch(segment) for segment in path.split("/")) else None


def bundle_root() -> Path:
    """The folder of the bundled templates: inside the package where installed from a wheel, else the repository's."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "bundle"
    return inside if inside.is_dir() else package.parent / "templates"


class FolderStore:
    """A folder laid out as Azure's template store below `/kubernetes/`: the bundle, or one of the user's own."""

    def __init__(self, root: Path, origin: Origin) -> None:
        if not root.is_dir():
            raise InputError(f"template folder {root} is no folder: name one laid out as <name>/<vN>/template.yaml")
        self._root = root
        self._origin = origin

    async def read(self, url: str, kind: DocumentKind, parse: Parse) -> Document | Unavailable:
        """The document of this URL, read anew each time: a folder of the user's may change."""
        path = store_path(url)
        if path is None:
            return Unavailable(f"{url}: not on Azure's template store, so not in the {self._origin}")
        try:
            content = await asyncio.to_thread(_read_file, self._root / path)
            return parse(kind, content, self._origin)
        except FileNotFoundError:
            return Unavailable(f"{url}: the {self._origin} has no {path}")
        except OSError as error:
            return Unavailable(f"{url}: {self._root / path} cannot be read: {error.strerror}")
        except DocumentError as error:
            return Unavailable(f"{url}: {self._root / path}: {error}")


class StoreProvider:
    """Answers from one store, and decodes what definitions carry themselves. Text seen before is not parsed again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parsed: dict[tuple[DocumentKind, Origin, bytes], Document] = {}

    async def fetch(self, wanted: Iterable[Wanted]) -> Documents:
        """One answer per wanted document; what is no longer wanted is forgotten."""
        distinct = sorted(set(wanted), key=str)
        answers = await asyncio.gather(*(self._answer(one) for one in distinct))
        used = {id(answer) for answer in answers}
        self._parsed = {key: document for key, document in self._parsed.items() if id(document) in used}
        return dict(zip(distinct, answers, strict=True))

    async def _answer(self, wanted: Wanted) -> Document | Unavailable:
        match wanted.source:
            case PublicUrl(url):
                return await self._store.read(url, wanted.kind, self._parse)
            case Base64Content(content):
                try:
                    return self._parse(wanted.kind, decode(content), Origin.BASE64)
                except DocumentError as error:
                    return Unavailable(f"the base64 {wanted.kind} in the definition: {error}")

    def _parse(self, kind: DocumentKind, content: bytes, origin: Origin) -> Document:
        key = (kind, origin, content)
        if key not in self._parsed:
            self._parsed[key] = read_document(kind, content, origin)
        return self._parsed[key]


def decode(content: str) -> bytes:
    """The bytes of a base64 text, which may be wrapped in lines; DocumentError where it is none."""
    if len(content) > 2 * MAX_BYTES:
        raise DocumentError(f"it is larger than {MAX_BYTES // 1024} KiB")
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DocumentError(f"it is no base64 text: {error}") from error


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)

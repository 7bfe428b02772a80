"""Documents by URL: from Azure's template stores or a mirror, over https, within limits, remembered while it fails.

What is fetched decides what a cluster admits, so little is trusted: listed hosts only, wherever a redirect points too,
bounded in size and time, and never more than text.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import re
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp

from controller.errors import InputError
from controller.files import replace_file
from controller.gatekeeper.documents import DocumentError, Origin
from controller.gatekeeper.sources import NOT_HELD, STORE_HOSTS, held_path
from controller.gatekeeper.yamltext import MAX_BYTES
from controller.times import loop_time

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from controller.gatekeeper.documents import Document
    from controller.gatekeeper.sources import Check

TIMEOUT: Final = 20.0
TOTAL: Final = 120.0
_AT_ONCE: Final = 8
_REDIRECTS: Final = 3
_HTTPS_PORT: Final = 443
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_REDIRECT_STATUSES: Final = (
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
)
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """The last good content of a URL and the ETag that it came with, empty if none."""

    content: bytes
    etag: str = ""


class Cache:
    """The last good content of the URLs in use: in memory, and in a folder if one is given, there by digest.

    What earlier readings of this process used, and the last one did not, is forgotten; what others keep in the folder
    stays. A folder that cannot be written or holds nonsense costs no more than fetching again.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._kept: dict[str, Kept] = self._load() if folder else {}
        self._used: set[str] = set()
        self._used_before: set[str] = set()
        self._dropped: list[Kept] = []

    def get(self, url: str) -> Kept | None:
        """What was last good for this URL."""
        self._used.add(url)
        return self._kept.get(url)

    def by_digest(self, digest: str) -> bytes | None:
        """Content with this digest, whatever URL it came from."""
        for url, kept in self._kept.items():
            if _digest(kept.content) == digest:
                self._used.add(url)
                return kept.content
        return self._stored(digest)

    def keep(self, url: str, kept: Kept) -> None:
        """Remembers content that was found good."""
        self._used.add(url)
        before = self._kept.get(url)
        if before == kept:
            return
        if before is not None:
            self._dropped.append(before)
        self._kept[url] = kept
        self._write(kept)

    def end_reading(self) -> None:
        """Forgets what readings before this one used, and it did not."""
        unused = self._used_before - self._used
        dropped = self._dropped + [self._kept.pop(url) for url in unused if url in self._kept]
        self._used_before, self._used, self._dropped = self._used, set(), []
        if not dropped or self._folder is None:
            return
        self._write()
        stay = {_digest(kept.content) for kept in self._kept.values()}
        for digest in {_digest(kept.content) for kept in dropped} - stay:
            with contextlib.suppress(OSError):
                (self._folder / digest).unlink(missing_ok=True)

    def _write(self, *added: Kept) -> None:
        if self._folder is None:
            return
        index = {url: {"digest": _digest(k.content), "etag": k.etag} for url, k in sorted(self._kept.items())}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for kept in added:
                replace_file(self._folder / _digest(kept.content), kept.content)
            replace_file(self._folder / "index.json", json.dumps(index, indent=1).encode())
        except OSError as error:
            _LOG.warning("template cache not written: folder=%s reason=%s", self._folder, error.strerror)

    def _load(self) -> dict[str, Kept]:
        assert self._folder is not None
        try:
            index: Any = json.loads((self._folder / "index.json").read_bytes())
            entries = [(str(url), str(entry["digest"]), str(entry["etag"])) for url, entry in index.items()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}
        found = ((url, self._stored(digest), etag) for url, digest, etag in entries)
        return {url: Kept(content, etag) for url, content, etag in found if content is not None}

    def _stored(self, digest: str) -> bytes | None:
        if self._folder is None or not _DIGEST.fullmatch(digest):
            return None
        try:
            content = (self._folder / digest).read_bytes()
        except OSError:
            return None
        return content if _digest(content) == digest else None


class PinnedInCache:
    """The place of pinned documents: fetched once, and then good without the network."""

    origin = Origin.URL

    def __init__(self, cache: Cache, pins: dict[str, str]) -> None:
        self._cache = cache
        self._pins = pins

    def opened(self) -> AbstractAsyncContextManager[object]:
        """Nothing."""
        return nullcontext()

    async def read(self, url: str, check: Check) -> Document:
        """The pinned document, if it was ever fetched."""
        content = self._cache.by_digest(self._pins[url]) if url in self._pins else None
        if content is None:
            raise DocumentError("no pinned content is kept")
        return await check(content)


class Web:
    """Template stores, or a mirror of them at `mirror`; asks each time whether what it has is still good."""

    def __init__(
        self,
        cache: Cache,
        *,
        hosts: Iterable[str] = (),
        mirror: str = "",
        timeout: float = TIMEOUT,
        total: float = TOTAL,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`hosts` (with a port where it is not 443) are allowed besides Azure's stores.

        `timeout` is how many seconds one document may take with all its redirects, `total` all of one reading.
        """
        self.origin = Origin.MIRROR if mirror else Origin.URL
        self._mirror = mirror.rstrip("/")
        at = _split(mirror)
        own = (at.netloc,) if mirror and at else STORE_HOSTS
        self._hosts = frozenset(host.lower().removesuffix(f":{_HTTPS_PORT}") for host in (*own, *hosts))
        if mirror:
            self._refuse_address(mirror, InputError)
        self._cache = cache
        self._timeout = timeout
        self._total = total
        self._until = 0.0
        self._tls: ssl.SSLContext | bool = tls or True
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(_AT_ONCE)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """One session for all reads."""
        # Content that is compressed could be far larger than it looks, so it is not asked for and not unpacked.
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._until = loop_time() + self._total
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
            connector=aiohttp.TCPConnector(ssl=self._tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,
        ) as session:
            self._session = session
            yield
        self._session = None
        self._cache.end_reading()

    async def read(self, url: str, check: Check) -> Document:
        """What the URL serves now; where that is not to be had or no good, what was last good."""
        address = self._address(url)
        try:
            kept = await self._in_time(address)
            document = await check(kept.content)
        except DocumentError as error:
            last_good = self._cache.get(address)
            if last_good is None:
                raise
            _LOG.warning("template not refreshed, the last good one is used: url=%s reason=%s", address, error)
            return await check(last_good.content)
        self._cache.keep(address, kept)
        return document

    async def _in_time(self, address: str) -> Kept:
        """What the address serves; DocumentError where it does not do so in time.

        A store that is slow with each of many documents must not hold up the reading of all the others for ever.
        """
        try:
            async with asyncio.timeout_at(self._until), self._slots, asyncio.timeout(self._timeout):
                return await self._get(address)
        except TimeoutError as error:
            raise DocumentError("the server does not answer in time") from error

    def _address(self, url: str) -> str:
        if not self._mirror:
            return url
        path = held_path(url)
        if path is None:
            raise DocumentError(f"a mirror holds nothing by this address: {NOT_HELD}")
        return f"{self._mirror}/{path}"

    def _refuse_address(self, url: str, error: type[Exception] = DocumentError) -> None:
        parts = _split(url)
        if parts is None or parts.scheme != "https" or not parts.netloc or "@" in parts.netloc:
            raise error(f"{url} is not a plain https address")
        if parts.netloc.lower().removesuffix(f":{_HTTPS_PORT}") not in self._hosts:
            raise error(f"host {parts.netloc} is not allowed: --template-host {parts.netloc} allows it")

    async def _get(self, url: str) -> Kept:
        known = self._cache.get(url)
        headers = {"If-None-Match": known.etag} if known and known.etag else {}
        assert self._session is not None
        address = url
        try:
            for _ in range(_REDIRECTS + 1):
                self._refuse_address(address)
                async with self._session.get(address, headers=headers, allow_redirects=False) as response:
                    if response.status in _REDIRECT_STATUSES:
                        address = urljoin(address, response.headers.get("Location", ""))
                        continue
                    if response.status == HTTPStatus.NOT_MODIFIED and known:
                        return known
                    if response.status != HTTPStatus.OK:
                        raise DocumentError(f"the server answers {response.status}")
                    return Kept(await _body(response), response.headers.get("ETag", ""))
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise DocumentError(
                f"it cannot be fetched: {' '.join(str(error).split()) or type(error).__name__}"
            ) from error
        raise DocumentError("it is redirected too often")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > MAX_BYTES:
            raise DocumentError(f"it is larger than {MAX_BYTES // 1024} KiB")
    return bytes(body)


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

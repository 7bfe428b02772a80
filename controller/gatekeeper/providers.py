"""The setting `--templates` as a provider: which places are asked, and in which order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from controller.errors import InputError
from controller.gatekeeper.documents import Origin
from controller.gatekeeper.sources import Folder, TemplateSource, TemplateSources, bundle_root

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from controller.gatekeeper.sources import TemplateProvider


def make_provider(
    templates: str,
    *,
    hosts: Iterable[str] = (),
    pins: Iterable[str] = (),
    cache: Path | None = None,
    tls: ssl.SSLContext | None = None,
) -> TemplateProvider:
    """What `bundle`, `url`, a folder or a mirror's base URL stands for; `pins` are URL=SHA256. InputError if unusable.

    Only `url` has the bundle as a fallback: a user who names a folder or a mirror wants only what is there.
    """
    pinned = dict(map(_pin, pins))
    if templates == "bundle":
        return TemplateSources([Folder(bundle_root(), Origin.BUNDLE)], pinned)
    if templates != "url" and "://" not in templates:
        return TemplateSources([Folder(Path(templates), Origin.MIRROR)], pinned)
    # The HTTP client takes longer to load than a bundle to read.
    from controller.gatekeeper.fetch import Cache, PinnedInCache, Web  # noqa: PLC0415

    kept = Cache(cache)
    web = Web(kept, hosts=hosts, mirror="" if templates == "url" else templates, tls=tls)
    sources: list[TemplateSource] = [PinnedInCache(kept, pinned)] if pinned else []
    sources += [web, Folder(bundle_root(), Origin.BUNDLE)] if templates == "url" else [web]
    return TemplateSources(sources, pinned)


def _pin(text: str) -> tuple[str, str]:
    url, _, digest = text.rpartition("=")
    if not url or not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise InputError(f"template pin {text!r} is not of the form URL=SHA256, with 64 hex digits")
    return url, digest.lower()

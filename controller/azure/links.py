"""Where a link of ARM's may lead: to the endpoint that the settings name, and so does the token, and nowhere else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_HTTPS: Final = 443
_REGION: Final = re.compile(r"[a-z0-9-]+")


def at_endpoint(link: str, endpoint: str) -> str:
    """The link at the endpoint itself; ValueError where it leads to anything but the endpoint or a region of it.

    ARM hands out links to `https://<region>.management.azure.com`, and with `:443`. The endpoint answers those as well,
    so a region's name, which comes with the answer, never decides where a token is sent.
    """
    found, home = urlsplit(link), urlsplit(endpoint)
    if not _is_home(found, home):
        raise ValueError(f"a link leads to another host, {found.netloc}")
    return urlunsplit((home.scheme, home.netloc, found.path, found.query, ""))


def _is_home(found: SplitResult, home: SplitResult) -> bool:
    if found.scheme != home.scheme or "@" in found.netloc or _port(found) != _port(home):
        return False
    host, name = found.hostname or "", home.hostname or ""
    return host == name or (host.endswith(f".{name}") and _REGION.fullmatch(host.removesuffix(f".{name}")) is not None)


def _port(parts: SplitResult) -> int:
    return parts.port or _HTTPS

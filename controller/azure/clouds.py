"""The addresses and token issuers of each Azure cloud, so that one setting moves the reader to a sovereign cloud.

Plain values: nothing of the SDK is imported here, for a snapshot needs none of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from controller.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping


class CloudName(StrEnum):
    """The clouds that a setting can name; `custom` needs its addresses as well."""

    PUBLIC = "public"
    US_GOVERNMENT = "usgovernment"
    CHINA = "china"
    CUSTOM = "custom"


@dataclass(frozen=True, slots=True)
class Cloud:
    """A cloud's addresses: ARM, the scope of tokens, their issuer, and a CA file if it is not public."""

    endpoint: str
    token_scope: str
    authority: str
    ca_file: str = ""
    microsofts: bool = True


CLOUDS: Final[Mapping[CloudName, Cloud]] = MappingProxyType(
    {
        CloudName.PUBLIC: Cloud(
            "https://management.azure.com",
            "https://management.azure.com/.default",
            "https://login.microsoftonline.com",
        ),
        CloudName.US_GOVERNMENT: Cloud(
            "https://management.usgovcloudapi.net",
            "https://management.core.usgovcloudapi.net/.default",
            "https://login.microsoftonline.us",
        ),
        CloudName.CHINA: Cloud(
            "https://management.chinacloudapi.cn",
            "https://management.chinacloudapi.cn/.default",
            "https://login.chinacloudapi.cn",
        ),
    }
)


def custom_cloud(endpoint: str, *, audience: str = "", authority: str = "", ca_file: str = "") -> Cloud:
    """A cloud that is none of Microsoft's three; `audience` falls back to the endpoint, `authority` to the public one.

    Raises InputError for an address that is not https: a bearer token must not travel in the clear.
    """
    endpoint = _https("the cloud's endpoint", endpoint)
    audience = (audience or endpoint).rstrip("/")
    authority = _https("the cloud's authority", authority or CLOUDS[CloudName.PUBLIC].authority)
    return Cloud(endpoint, f"{audience}/.default", authority, ca_file, microsofts=False)


def _https(what: str, address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.netloc:
        raise InputError(f"{what} is {address!r}: give an address that starts with https://")
    return address.rstrip("/")

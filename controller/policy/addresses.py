"""The functions of ARM template expressions on networks: cidrHost, cidrSubnet, parseCidr, and ipRangeContains."""

from __future__ import annotations

import ipaddress
import re
from typing import TypeAlias

from controller.jsontypes import Json  # noqa: TC001 - functions.py reads the signatures
from controller.policy.grammar import ExpressionError, shown

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_POINT_TO_POINT = 31


def parse_cidr(network: str) -> dict[str, Json]:
    """The parts of a network; an IPv6 network has no broadcast address, and all its addresses are usable."""
    parsed = _network(network)
    first, last = _usable(parsed)
    broadcast: dict[str, Json] = {"broadcast": str(parsed.broadcast_address)} if parsed.version == 4 else {}  # noqa: PLR2004
    return {
        "network": str(parsed.network_address),
        "netmask": str(parsed.netmask),
        **broadcast,
        "firstUsable": str(first),
        "lastUsable": str(last),
        "cidr": parsed.prefixlen,
    }


def cidr_subnet(network: str, prefix: int, index: int) -> str:
    """The subnet number `index`, from 0, of those with the longer prefix."""
    parsed = _network(network)
    if not parsed.prefixlen <= prefix <= parsed.max_prefixlen:
        raise ExpressionError(f"the new prefix is {prefix}, not from {parsed.prefixlen} to {parsed.max_prefixlen}")
    if not 0 <= index < 1 << (prefix - parsed.prefixlen):
        raise ExpressionError(f"{shown(network)} has no subnet number {index} with prefix {prefix}")
    start = parsed.network_address + (index << (parsed.max_prefixlen - prefix))
    return f"{start}/{prefix}"


def cidr_host(network: str, index: int) -> str:
    """The host number `index`, from 0: the first follows the network's own address."""
    parsed = _network(network)
    _, last = _usable(parsed)
    if index < 0 or int(parsed.network_address) + 1 + index > int(last):
        raise ExpressionError(f"{shown(network)} has no host number {index}")
    return str(parsed.network_address + 1 + index)


def ip_range_contains(outer: str, inner: str) -> bool:
    """Whether the range contains the other; each is an address, a network, or two addresses joined by a hyphen."""
    first, last = _range(outer)
    low, high = _range(inner)
    if first.version != low.version:
        raise ExpressionError("IPv4 and IPv6 cannot be mixed")
    return int(first) <= int(low) and int(high) <= int(last)


def _network(text: str) -> _Network:
    try:
        if re.fullmatch(r"[0-9A-Fa-f.:]+/[0-9]{1,3}", text):
            return ipaddress.ip_network(text, strict=False)
    except ValueError:
        pass
    raise ExpressionError(f"'{shown(text)}' is not a network in CIDR notation")


def _address(text: str) -> _Address:
    try:
        if "%" not in text:
            return ipaddress.ip_address(text.strip())
    except ValueError:
        pass
    raise ExpressionError(f"'{shown(text)}' is not an IP address")


def _usable(network: _Network) -> tuple[_Address, _Address]:
    first, last = network.network_address, network.broadcast_address
    if network.version == 6:  # noqa: PLR2004 - the protocol's own number
        return first, last
    return (first, first) if network.prefixlen >= _POINT_TO_POINT else (first + 1, last - 1)


def _range(text: str) -> tuple[_Address, _Address]:
    if "/" in text:
        network = _network(text.strip())
        return network.network_address, network.broadcast_address
    start, hyphen, end = text.partition("-")
    first = _address(start)
    last = _address(end) if hyphen else first
    if first.version != last.version or int(first) > int(last):
        raise ExpressionError(f"'{shown(text)}' is an empty range")
    return first, last

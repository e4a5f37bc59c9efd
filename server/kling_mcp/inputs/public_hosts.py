"""Which hosts and addresses are of the public internet, in any spelling."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

__all__ = ["is_private_host", "is_public_peer"]

_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa")
"""Names, and ends of names, that never mean a host of the internet (RFC 6761, 6762, 8375)."""

_STAND_INS = ip_network("198.18.0.0/15")
"""Meant for benchmarks; VPN clients give every name an address in it and connect elsewhere."""

_TRANSLATED = ip_network("64:ff9b::/96")
"""IPv6 addresses of hosts that have an IPv4 one only, which are the last 32 bits (RFC 6052)."""

_UNICAST = ip_network("2000::/3")
"""All that is given out of IPv6 (RFC 4291). What lies outside is of a site or a link, or an IPv4
address in a form of old (fec0::/10, ::ffff:0:0:0/96, 64:ff9b:1::/48, ::/96)."""

_NEVER = (ip_network("192.88.99.0/24"), ip_network("3fff::/20"))
"""Relays of old and documentation (RFC 7526, 9637), which not every Python knows."""

_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""What stands before an IPv4 address in the last 64 bits of a tunnel's end (RFC 5214)."""

Address = IPv4Address | IPv6Address


def is_private_host(host: str) -> bool:
    """Whether a URL's host is an address, in any spelling, or a name that is not public."""
    name = host.rstrip(".").lower()
    address = _literal(name)
    if address is not None:
        return not _is_public(address)
    return name.endswith(tuple("." + end for end in _LOCAL_NAMES)) or name in _LOCAL_NAMES


def is_public_peer(address: str) -> bool:
    """Whether the other end of a connection, an address as sockets write it, is public."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return _is_public(found) or found in _STAND_INS


def _literal(host: str) -> Address | None:
    """The address that a host is; also 2130706433, 0x7f000001, 0177.0.0.1 and 127.1, which
    system libraries take for IPv4 addresses."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host)) if host[:1].isdigit() else None
    except (OSError, ValueError):
        return None


def _is_public(address: Address) -> bool:
    return all(
        found.is_global
        and not found.is_multicast
        and not any(found in network for network in _NEVER)
        and (found.version == 4 or found in _UNICAST)
        for found in _meant(address)
    )


def _meant(address: Address) -> Iterator[Address]:
    """The address, or what it stands for: an IPv6 one may lead to an IPv4 one."""
    if isinstance(address, IPv4Address):
        yield address
        return
    last = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.ipv4_mapped is not None or address in _TRANSLATED:
        yield last
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        yield last

"""Which addresses a video may be fetched from: those of the public internet.

A provider names the URL of a video, and that URL may send on to another one. Neither may lead this
machine to a service of its own, of its network or of its cloud. So the host of every URL is judged
as it is written, and the other end of every connection before a byte is sent to it, whatever a name
server said. Behind an HTTP proxy the second look is not possible: there the proxy connects.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from kling_tools.errors import UnsafeUrl

__all__ = ["PeerCheck", "checked_url", "is_private_host", "is_public_peer"]

HOST_SHOWN = 80
SCHEME_SHOWN = 20

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


def checked_url(scheme: str, host: str, *, local: bool, own: bool) -> dict[str, Any]:
    """The extensions that a request to a provider's URL needs; raises UnsafeUrl.

    `local` says that the provider itself is on this machine, so that everything of it is and http
    will do; `own` that the URL is below the base URL that the provider's user has chosen.
    """
    if not host or scheme not in ("https", *["http"] * local):
        kind = scheme[:SCHEME_SHOWN] if host else "broken"
        raise UnsafeUrl(
            f"The provider gave a {kind} URL for the video, which is not fetched.",
            advice="Only https URLs are downloaded. The video still exists at the provider.",
        )
    if local or own:
        return {}
    if is_private_host(host):
        raise _private(host)
    return {"trace": PeerCheck(host)}


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


class PeerCheck:
    """A `trace` extension for one httpx request to `host`.

    As soon as a connection to that host stands, and before anything is sent, its other end is
    looked at; raises UnsafeUrl when that is private. A connection to a proxy is let be.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._direct = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpcore with the name of each step and its details."""
        if event == "connection.connect_tcp.started":
            self._direct = info["host"] == self._host
        elif event == "connection.connect_tcp.complete" and self._direct:
            stream = info["return_value"]
            peer = stream.get_extra_info("server_addr")
            if not peer or not is_public_peer(str(peer[0])):
                await stream.aclose()
                raise _private(self._host)


def _private(host: str) -> UnsafeUrl:
    return UnsafeUrl(
        f"The provider sends to {host[:HOST_SHOWN]} for the video, which is an address of this "
        "machine or of a private network and is not fetched.",
        advice="The video still exists at the provider. If it runs its own gateway, whoever runs "
        "this server can fetch the file by hand.",
    )


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

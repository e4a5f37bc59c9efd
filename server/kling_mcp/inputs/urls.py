"""Pictures that Kling fetches itself, and the check whether a host is public in any spelling."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from kling_mcp.inputs.file_type import named_like
from kling_mcp.inputs.refusal import SOURCE, Refusal, short
from kling_tools.faults import Fault

if TYPE_CHECKING:
    from kling_mcp.inputs.policy import PicturePolicy

__all__ = ["PictureUrl", "is_private_host", "is_public_peer", "read_url"]


_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa")
"""Names and ends of names without a host on the internet (RFC 6761, 6762, 8375)."""

_STAND_INS = ip_network("198.18.0.0/15")
"""Reserved for benchmarks. VPN clients give every name an address in it and connect elsewhere."""

_TRANSLATED = ip_network("64:ff9b::/96")
"""IPv6 addresses for hosts with IPv4 only; the last 32 bits are the IPv4 address (RFC 6052)."""

_UNICAST = ip_network("2000::/3")
"""The IPv6 addresses of the internet (RFC 4291). All others belong to a site or a link, or are old
forms of an IPv4 address (fec0::/10, ::ffff:0:0:0/96, 64:ff9b:1::/48, ::/96)."""

_NEVER = (ip_network("192.88.99.0/24"), ip_network("3fff::/20"))
"""Old relays, and documentation (RFC 7526, 9637); some Pythons do not know them."""

_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""The bits before the IPv4 address in the last 64 bits of an ISATAP address (RFC 5214)."""

Address = IPv4Address | IPv6Address


@lru_cache(maxsize=256)
def is_private_host(host: str) -> bool:
    """Whether a URL's host is not public: an address in any spelling, or a name."""
    name = host.rstrip(".").lower()
    address = _literal(name)
    if address is not None:
        return not _is_public(address)
    return name.endswith(tuple("." + end for end in _LOCAL_NAMES)) or name in _LOCAL_NAMES


def is_public_peer(address: str) -> bool:
    """Whether the peer of a connection, an address as sockets write it, is public."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return _is_public(found) or found in _STAND_INS


def _literal(host: str) -> Address | None:
    """The host as an address; None for a name. System libraries also take 2130706433, 0x7f000001,
    0177.0.0.1 and 127.1 for IPv4 addresses."""
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
    """The address, or the IPv4 address to which an IPv6 address leads."""
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


@dataclass(frozen=True, slots=True)
class PictureUrl:
    """A URL as it is sent, with a `label` of its host and path; its query may be a signature."""

    text: str
    label: str
    warnings: tuple[Fault, ...] = ()


def read_url(text: str, policy: PicturePolicy) -> PictureUrl:
    """A checked http or https URL; raises `Refusal` for a URL that Kling cannot fetch.

    An address of this machine or network gives a warning, as only the sandbox can fetch it.
    """
    parts = _split(text)
    if parts is None or any(ch.isspace() or not ch.isprintable() for ch in text):
        raise Refusal(
            "url_unreadable",
            "this is not a readable URL.",
            f"a URL like https://host/{_EXAMPLES[policy.noun]}",
        )
    if parts.username is not None or parts.password is not None:
        raise Refusal(
            "url_credentials",
            "the URL contains a user name or password, which would be sent to Kling.",
            f"a URL that needs no login, or a local copy of the {policy.noun}",
        )
    host = parts.hostname or ""
    label = short(host + parts.path)
    return PictureUrl(text, label, tuple(_doubts(parts.scheme, host, parts.path, policy)))


_EXAMPLES = {"picture": "photo.jpg", "video": "clip.mp4", "sound": "voice.mp3"}


def _doubts(scheme: str, host: str, path: str, policy: PicturePolicy) -> Iterator[Fault]:
    if scheme.lower() == "http" and not is_private_host(host):
        message = "the address is http, which Kling may refuse, and anybody on the way can read."
        yield Fault("", "url_http", message, "the same address with https, if it has one")
    if is_private_host(host):
        message = f"Kling cannot reach {short(host)}: it is not on the internet."
        yield Fault("", "url_private", message, "a public URL or a local copy")
    claimed = named_like(path)
    if _is_page(host, path):
        message = f"{short(host + path)} looks like a web page, not like a {policy.noun}."
        use = f"the address of the {policy.noun} itself, or a local copy"
        yield Fault("", "url_of_page", message, use)
    elif claimed is not None and claimed not in policy.kinds:
        takes = "JPEG and PNG" if policy.noun == "picture" else f"a {policy.noun}"
        message = f"the URL names {claimed.said}; Kling takes {takes} only."
        yield Fault("", "image_suffix", message, source=SOURCE)


_PAGE_ENDS = (".html", ".htm", ".xhtml", ".php", ".asp", ".aspx", ".jsp")

_PAGES = re.compile(
    r"(?:www\.)?(?:instagram\.com/p/|facebook\.com/photo|pinterest\.[a-z.]+/pin/"
    r"|(?:m\.)?youtube\.com/(?:watch|shorts/|embed/)|youtu\.be/|vimeo\.com/\d|tiktok\.com/@[^/]+/video/"
    r"|instagram\.com/reels?/|unsplash\.com/photos/|pexels\.com/photo/|flickr\.com/photos/|reddit\.com/r/"
    r"|(?:x|twitter)\.com/[^/]+/status/|imgur\.com/(?:a/|gallery/)?\w+$)"
    r"|(?:drive|docs)\.google\.com/file/|photos\.(?:app\.goo\.gl|google\.com)/"
    r"|[a-z-]+(?:\.m)?\.wiki(?:pedia|media)\.org/wiki/(?!special:)"
)
"""Hosts and paths at which a browser shows a page about a picture, and no picture is served."""


def _is_page(host: str, path: str) -> bool:
    where = f"{host}{path}".lower()
    return where.endswith(_PAGE_ENDS) or _PAGES.match(where) is not None


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts if has_host else None

"""Which proxy a request goes through, by the environment or the system's settings.

`NO_PROXY` takes names with all below them, addresses, networks such as 10.0.0.0/8 or fd07::/64,
IPv6 addresses with or without brackets, each with or without a port, and `*`; httpx itself knows no
networks and breaks at brackets.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies, getproxies_environment, proxy_bypass

__all__ = ["known_proxies", "proxy_of"]

PORTS = {"http": 80, "https": 443}


def proxy_of(url: str) -> str | None:
    """The proxy's URL for requests to that URL; None for the direct way."""
    parts = urlsplit(url)
    proxies = known_proxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    try:
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        port = None
    return None if _is_excepted((parts.hostname or "").rstrip("."), port) else proxy


def known_proxies() -> dict[str, str]:
    """The proxies' URLs by the scheme of what goes through them: http, https, all."""
    found = getproxies()
    return {
        scheme: proxy if "://" in proxy else f"http://{proxy}"
        for scheme in ("http", "https", "all")
        if (proxy := found.get(scheme, "").strip())
    }


def _is_excepted(host: str, port: int | None) -> bool:
    environment = getproxies_environment()
    if not environment:
        return bool(proxy_bypass(host))
    entries = environment.get("no", "").split(",")
    return any(_matches(entry.strip().lower(), host.lower(), port) for entry in entries)


def _matches(entry: str, host: str, port: int | None) -> bool:
    entry = entry.partition("://")[2] or entry
    if entry in ("", "*"):
        return entry == "*"
    try:
        return ip_address(host.partition("%")[0]) in ip_network(
            _without_brackets(entry), strict=False
        )
    except ValueError:
        pass
    name, colon, only = entry.rpartition(":")
    if colon and only.isdigit() and name:
        return int(only) == port and _matches(name, host, port)
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _without_brackets(entry: str) -> str:
    """`[::1]` and `[fd07::]/64` as addresses and networks are written elsewhere."""
    return entry.replace("[", "", 1).replace("]", "", 1) if "]:" not in entry else entry

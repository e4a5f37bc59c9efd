"""The way to a provider: through which proxy, judged by which certificates."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kling_mcp.certificates import certificate_store

__all__ = ["way_to"]


def way_to(base_url: str) -> dict[str, str | None]:
    """`proxy` (without its user and password; None for none) and `certificates` (None over plain
    http) of requests to that address, by the rules of the standard library."""
    parts = urlsplit(base_url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and parts.hostname and proxy_bypass(parts.hostname):
        proxy = None
    return {
        "proxy": _bare(proxy) if proxy else None,
        "certificates": certificate_store() if parts.scheme == "https" else None,
    }


def _bare(proxy: str) -> str:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{parts.hostname or '?'}{port}"

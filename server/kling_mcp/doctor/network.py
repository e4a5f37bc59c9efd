"""The way to a provider: through which proxy, judged by which certificates."""

from __future__ import annotations

from urllib.parse import urlsplit

from kling_mcp.certificates import certificate_store
from kling_mcp.proxies import proxy_of

__all__ = ["way_to"]


def way_to(base_url: str) -> dict[str, str | None]:
    """`proxy` (without its user and password; None for none) and `certificates` (None over plain
    http) of requests to that address."""
    proxy = proxy_of(base_url)
    return {
        "proxy": _bare(proxy) if proxy else None,
        "certificates": certificate_store() if urlsplit(base_url).scheme == "https" else None,
    }


def _bare(proxy: str) -> str:
    parts = urlsplit(proxy)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{parts.hostname or '?'}{port}"

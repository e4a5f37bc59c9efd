"""The addresses of a hosted server beside the protocol's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kling_mcp.hosting.exchange_routes import exchange_routes
from kling_mcp.hosting.health import health_routes

if TYPE_CHECKING:
    from starlette.routing import Route

    from kling_mcp.hosting.house import Hosting

__all__ = ["routes"]


def routes(hosting: Hosting) -> list[Route]:
    """All of them."""
    return [*health_routes(hosting), *exchange_routes(hosting)]

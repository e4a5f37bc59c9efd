"""The server over HTTP: one endpoint for both eras of the protocol, on this machine only."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import uvicorn

from kling_tools.errors import NotConfigured

if TYPE_CHECKING:
    from mcp.server import MCPServer
    from starlette.applications import Starlette

__all__ = ["MAX_BODY_BYTES", "http_app", "refuse_other_than_loopback", "server_of"]

PATH = "/mcp"

MAX_BODY_BYTES = 56 * 1024 * 1024
"""Four pictures of 10 MB (Kling's limit for each) as base64, and what stands around them."""

GRACE_S = 5
"""Seconds that open streams have to end by themselves when the server is told to stop. A request
that is being sent to a provider is finished in any case."""


def http_app(server: MCPServer[Any], host: str) -> Starlette:
    """The ASGI application. Requests whose Host or Origin names another machine are refused, as
    are bodies above MAX_BODY_BYTES (413)."""
    return server.streamable_http_app(
        streamable_http_path=PATH, host=host, max_request_body_size=MAX_BODY_BYTES
    )


def refuse_other_than_loopback(host: str) -> None:
    """Raises NotConfigured for an address that other machines reach: whoever reaches the server
    can spend its owner's money."""
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise NotConfigured(
            f"kling-mcp serves on this machine only, not on {host}: there is no login yet, and "
            "whoever reaches it can spend your units.",
            advice="Use --host 127.0.0.1, and a tunnel with a login of its own for other machines.",
        )


class _Announcing(uvicorn.Server):
    """Says on standard error where it is, once it is ready."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            for bound in sockets or ():
                print(f"kling-mcp serves MCP at {_url(bound)}", file=sys.stderr, flush=True)


def server_of(app: Starlette) -> uvicorn.Server:
    """What serves the app until it is told to stop: `run(sockets=[...])`."""
    config = uvicorn.Config(
        app,
        ws="none",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return _Announcing(config)


def _url(bound: socket.socket) -> str:
    address: Sequence[Any] = bound.getsockname()
    host, port = str(address[0]), int(address[1])
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"

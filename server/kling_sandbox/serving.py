"""Serving a sandbox over HTTP, with connections that really break when a fault breaks them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import uvicorn
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from kling_sandbox.faults import ConnectionDropped

__all__ = ["BreakableProtocol", "bound_socket", "server_of"]

GRACE_S = 1
"""Seconds that answers have to end when the sandbox is told to stop: a fault may hold one back for
much longer."""


class BreakableProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with three more rules: `ConnectionDropped` closes the socket, as does the
    end of the server, and a client that goes away in the middle of its request is no error.

    uvicorn itself would answer 500, or log a traceback where the answer has begun. What was sent
    before reaches the client; where nothing was, the connection is reset.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wrap the app for this connection."""
        super().connection_made(transport)
        self.app = _breaking(self.app, transport)


def _breaking(app: ASGIApp, transport: asyncio.Transport) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except ClientDisconnect:
            return
        except ConnectionDropped as dropped:
            if dropped.answered:
                transport.close()
            else:
                transport.abort()
            await _end(receive)
        except asyncio.CancelledError:
            transport.abort()
            with suppress(asyncio.CancelledError):
                await _end(receive)

    return wrapped


async def _end(receive: Receive) -> None:
    """Returns when uvicorn knows that the connection is gone, and so expects no answer."""
    while (await receive())["type"] != "http.disconnect":
        pass


def bound_socket(host: str, port: int) -> socket.socket:
    """A listening address; port 0 takes a free one. Raises `OSError` when it is taken.

    The protocol is named because asyncio sends small answers at once only where it is.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except BaseException:
        listener.close()
        raise
    return listener


def server_of(app: ASGIApp) -> uvicorn.Server:
    """A server for the app, quiet unless something breaks that no fault broke.

    `run(sockets=[...])` serves until interrupted, or until its `should_exit` is set.
    """
    config = uvicorn.Config(
        app,
        http=BreakableProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        use_colors=False,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return uvicorn.Server(config)

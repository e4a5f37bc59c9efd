"""The sandbox as one Starlette app, and the server that serves it over HTTP.

A create passes faults, authentication, intake of the body, the gateway's changes to it, Kling's
rules, the store, and the answer. The app keeps nothing in memory, so each call may use a new one.
Only callbacks, if the config allows them, run later in a thread. Over real HTTP, a fault breaks the
connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from kling_sandbox.asset_desk import AssetDesk
from kling_sandbox.config import SandboxConfig
from kling_sandbox.desk import Backend, Desk
from kling_sandbox.faults import ConnectionDropped
from kling_sandbox.gateways import GATEWAYS, OFFICIAL
from kling_sandbox.kling_desk import KlingDesk
from kling_sandbox.lip_sync_desk import LipSyncDesk
from kling_sandbox.new_desk import NewStandardDesk

__all__ = ["BreakableProtocol", "Sandbox", "bound_socket", "create_app", "server_of"]


def create_app(config: SandboxConfig) -> Starlette:
    """The sandbox as an ASGI app. Its folder is made at the first request."""
    backend = Backend(config)
    kling = KlingDesk(backend)
    desks: list[Desk] = [kling, *(Desk(backend, gateway) for gateway in GATEWAYS)]
    by_base = {base: desk for desk in desks for base in desk.dialect.bases}

    def not_served(request: Request, error: Exception) -> Response:
        first, rest = _split(request.url.path)
        if first in by_base:
            return by_base[first].not_served(request.method, rest)
        return kling.not_served(request.method, request.url.path)

    beside = [kind(backend, OFFICIAL) for kind in (NewStandardDesk, AssetDesk, LipSyncDesk)]
    official = dict.fromkeys(OFFICIAL.bases, (*beside, kling))
    return Sandbox({**{base: (desk,) for base, desk in by_base.items()}, **official}, not_served)


def _split(path: str) -> tuple[str, str]:
    """The first segment with its slash, and the rest."""
    _, _, below = path.partition("/")
    first, slash, rest = below.partition("/")
    return "/" + first, slash + rest


class Sandbox(Starlette):
    """A Starlette app that passes `ConnectionDropped` on to its server.

    Starlette's own outermost layer would answer 500 instead. The routes below a base URL are made
    at the first request there.
    """

    def __init__(
        self,
        desks: Mapping[str, Sequence[Desk]],
        not_served: Callable[[Request, Exception], Response],
    ) -> None:
        super().__init__()
        self._desks = desks
        self._routers: dict[str, Router] = {}
        self._not_served = not_served

    @property
    def routes(self) -> list[BaseRoute]:
        """The routes below all base URLs."""
        return [route for base in self._desks for route in self._router(base).routes]

    def build_middleware_stack(self) -> ASGIApp:
        """The routers, with the provider's answer for a path or a method that does not exist."""
        return ExceptionMiddleware(self._route, handlers={HTTPException: self._not_served})

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        first, _ = _split(scope["path"])
        await self._router(first if first in self._desks else "")(scope, receive, send)

    def _router(self, base: str) -> Router:
        if base not in self._routers:
            routes = [route for desk in self._desks[base] for route in desk.routes(base)]
            self._routers[base] = Router(routes, redirect_slashes=False)
        return self._routers[base]


GRACE_S = 1
"""Seconds that open answers have to end when the sandbox stops. A fault may delay one for much
longer."""


class BreakableProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with three more rules: `ConnectionDropped` closes the socket, the end of
    the server closes it too, and a client that leaves during its request is no error.

    uvicorn itself would answer 500, or log a traceback after a begun answer. Bytes already sent
    reach the client; without any, the connection is reset.
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
    """Wait until uvicorn knows that the connection is closed, so that it expects no answer."""
    while (await receive())["type"] != "http.disconnect":
        pass


def bound_socket(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 picks a free port. Raises `OSError` when the port is taken.

    The protocol is named because asyncio sends small answers without delay only then.
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
    """A uvicorn server for the app. It logs only real failures, not those of faults.

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

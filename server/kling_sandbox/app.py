"""Kling's HTTP, and that of the gateways before it, as one Starlette app.

A create goes: faults, authentication, intake of the body, what its provider does with it, Kling's
rules, store, answer. Nothing is kept in memory, so an app may be made anew for every call; only
where its config lets a `callback_url` be called, a thread does so when its time comes.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from kling_sandbox.config import SandboxConfig
from kling_sandbox.desk import Desk, Premises
from kling_sandbox.dialects import GATEWAYS
from kling_sandbox.kling_desk import KlingDesk

__all__ = ["Sandbox", "create_app"]


def create_app(config: SandboxConfig) -> Starlette:
    """The sandbox as an ASGI app. Its folder is made at the first request, not here."""
    premises = Premises(config)
    kling = KlingDesk(premises)
    desks = [kling, *(Desk(premises, gateway) for gateway in GATEWAYS)]
    by_base = {base: desk for desk in desks for base in desk.dialect.bases}

    def not_served(request: Request, error: Exception) -> Response:
        first, rest = _split(request.url.path)
        if first in by_base:
            return by_base[first].not_served(request.method, rest)
        return kling.not_served(request.method, request.url.path)

    return Sandbox([route for desk in desks for route in desk.routes()], not_served)


def _split(path: str) -> tuple[str, str]:
    """The first segment with its slash, and the rest."""
    _, _, below = path.partition("/")
    first, slash, rest = below.partition("/")
    return "/" + first, slash + rest


class Sandbox(Starlette):
    """A Starlette app that lets `ConnectionDropped` through to whoever serves it.

    Starlette's own outermost layer would answer 500 before that.
    """

    def __init__(
        self, routes: list[Route], not_served: Callable[[Request, Exception], Response]
    ) -> None:
        super().__init__(routes=routes)
        self.router.redirect_slashes = False
        self._not_served = not_served

    def build_middleware_stack(self) -> ASGIApp:
        """The router, with the provider's words for a path or a method that does not exist."""
        return ExceptionMiddleware(self.router, handlers={HTTPException: self._not_served})

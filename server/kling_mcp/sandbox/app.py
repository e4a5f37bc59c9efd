"""Kling's official HTTP as a Starlette app.

A create goes: faults, authentication, intake of the body, rules, store, answer. Nothing runs in
the background and nothing is kept in memory, so an app may be made anew for every call.
`callback_url` is taken and stored; nothing is ever called.
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

from kling_mcp.sandbox.config import SandboxConfig
from kling_mcp.sandbox.desk import Desk
from kling_mcp.sandbox.rules import PRODUCTS

__all__ = ["Sandbox", "create_app"]

QUERY_PRODUCTS = (*PRODUCTS, "text2video")
"""A task is found under any of them, whichever made it [live]."""


def create_app(config: SandboxConfig) -> Starlette:
    """The sandbox as an ASGI app. Its folder is made at the first request, not here."""
    desk = Desk(config)
    routes = [
        Route("/account/costs", desk.guarded("queries", "costs", desk.costs)),
        Route("/videos/{name:path}", desk.download),
        Route("/sandbox/stats", desk.stats),
    ]
    for product in QUERY_PRODUCTS:
        path = f"/v1/videos/{product}"
        query = desk.guarded("queries", "queries", desk.query)
        routes.append(Route(path, desk.guarded("queries", "lists", desk.page(product))))
        routes.append(Route(path + "/{any_id}", query))
    for made in PRODUCTS:
        create = desk.guarded("creates", "creates", desk.create(made))
        routes.append(Route(f"/v1/videos/{made}", create, methods=["POST"]))
    return Sandbox(routes, desk.not_served)


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
        """The router, with Kling's words for a path or a method that does not exist."""
        return ExceptionMiddleware(self.router, handlers={HTTPException: self._not_served})

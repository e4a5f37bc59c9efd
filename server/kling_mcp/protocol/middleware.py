"""What every request passes before its handler: the caller's own service."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST

from kling_mcp.principal import LOCAL, Principal

if TYPE_CHECKING:
    from kling_mcp.service import Service

__all__ = ["serving_its_own"]


def serving_its_own(*, login: bool) -> ServerMiddleware[Any]:
    """What gives each request the service of its own principal: no handler sees another one.

    With `login` a request that carries none is refused, whatever let it through before.
    """

    async def serve(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        service: Service = ctx.lifespan_context
        principal = _principal_of(ctx) if login else LOCAL
        return await call_next(replace(ctx, lifespan_context=service.of(principal)))

    return serve


def _principal_of(ctx: ServerRequestContext[Any, Any]) -> Principal:
    """Whoever this very request comes from: a session may be older than its login."""
    from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser

    user = ctx.request.scope.get("user") if ctx.request is not None else None
    if isinstance(user, AuthenticatedUser) and (token := user.access_token).subject:
        ends = math.inf if token.expires_at is None else token.expires_at
        return Principal(token.subject, frozenset(token.scopes), ends)
    raise MCPError(code=INVALID_REQUEST, message="This server wants a login.")

"""Who asks: the person or program that a request's login stands for."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST

if TYPE_CHECKING:
    from kling_mcp.service import Service

__all__ = ["LOCAL", "METRICS", "READ", "SPEND", "Principal", "own_external_id", "serving_its_own"]

READ = "kling:read"
SPEND = "kling:spend"
METRICS = "kling:metrics"
"""The scopes of a login: to look at one's tasks, to make new ones, and to read what is counted."""


OWN_LENGTH = 119
"""Characters of a chosen id that fit beside what stands for its login."""


@dataclass(frozen=True, slots=True)
class Principal:
    """`name` stands for one login, the same on every replica; empty on a machine of one's own,
    where there is none and everything is one's own. `expires_at` is when this login ends, in
    seconds since the epoch."""

    name: str
    scopes: frozenset[str]
    expires_at: float = field(default=math.inf, compare=False)

    @property
    def only(self) -> str | None:
        """The principal whose rows are seen; None where all rows are."""
        return self.name or None

    def external_id(self, chosen: str) -> str:
        """The external_task_id that is sent for one that the caller chose. Kling takes each id once
        for an account: with a part of each login's own, nobody learns which ones others use."""
        return own_external_id(self.name, chosen) if self.name and chosen else chosen


def own_external_id(name: str, chosen: str) -> str:
    """An id that no other login's name makes, of at most 128 characters."""
    whose = hashlib.sha256(name.encode()).hexdigest()[:8]
    if len(chosen) > OWN_LENGTH:
        chosen = hashlib.sha256(chosen.encode()).hexdigest()
    return f"{whose}-{chosen}"


LOCAL = Principal("", frozenset({READ, SPEND}))


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

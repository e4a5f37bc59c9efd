"""What every request passes before its handler: caller, known names, readable errors, cache hints.

Cache hints (`ttlMs`, `cacheScope`) tell a client how long it may keep an answer (protocol
2026-07-28).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, INVALID_REQUEST
from pydantic import BaseModel

from kling_mcp.principal import LOCAL, Principal
from kling_tools.errors import KlingError, TaskNotFound, quote_provider

if TYPE_CHECKING:
    from kling_mcp.providers.redaction import Redactor
    from kling_mcp.service import Service

__all__ = [
    "CACHE_HINTS",
    "current_service",
    "hide_secrets",
    "keeping_tables",
    "readable_errors",
    "refuse_long_addresses",
    "refuse_unknown",
    "serve_each_caller",
]


ADDRESS_LIMIT = 2048
"""Characters of a resource's address; an error repeats it."""

_service: ContextVar[Service] = ContextVar("_service")


def current_service() -> Service:
    """The service of the caller whose request is being answered; it sees that caller's tasks."""
    return _service.get()


def hide_secrets(redactor: Redactor) -> ServerMiddleware[Any]:
    """Takes the secrets that `redactor` knows out of every answer and every error."""

    async def guard(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        try:
            result = await call_next(ctx)
        except MCPError as error:
            told = error.error
            message, data = redactor.text(told.message), redactor.value(told.data)
            if (message, data) == (told.message, told.data):
                raise
            raise MCPError(told.code, message, data) from error
        if not isinstance(result, BaseModel):
            changed: dict[str, Any] | None = redactor.value(result)
            return changed
        before = result.model_dump(by_alias=True, mode="json", exclude_unset=True)
        after = redactor.value(before)
        return result if after is before else type(result).model_validate(after)

    return guard


def serve_each_caller(*, login: bool) -> ServerMiddleware[Any]:
    """Gives each request the service of its own caller (`current_service`).

    With `login` a request that carries none is refused, whatever let it through before.
    """

    async def serve(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        everybody: Service = ctx.lifespan_context
        _service.set(everybody.of(_principal_of(ctx) if login else LOCAL))
        return await call_next(ctx)

    return serve


def _principal_of(ctx: ServerRequestContext[Any, Any]) -> Principal:
    """Whoever this very request comes from: a session may be older than its login."""
    from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser

    user = ctx.request.scope.get("user") if ctx.request is not None else None
    if isinstance(user, AuthenticatedUser) and (token := user.access_token).subject:
        ends = math.inf if token.expires_at is None else token.expires_at
        return Principal(token.subject, frozenset(token.scopes), ends)
    raise MCPError(code=INVALID_REQUEST, message="This server requires a login.")


def refuse_unknown(method: str, what: str, known: Collection[str]) -> ServerMiddleware[Any]:
    """Refuses, with the protocol's error, a call of `method` that names something unknown (`what`);
    the SDK would answer with a result, or with an error of its own."""

    async def refuse(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        name = (ctx.params or {}).get("name")
        if ctx.method == method and isinstance(name, str) and name not in known:
            raise MCPError(
                code=INVALID_PARAMS,
                message=f"Unknown {what}: {quote_provider(name)[:64]}. "
                f"There are {', '.join(sorted(known))}.",
            )
        return await call_next(ctx)

    return refuse


async def refuse_long_addresses(
    ctx: ServerRequestContext[Any, Any], call_next: CallNext
) -> HandlerResult:
    uri = (ctx.params or {}).get("uri")
    if isinstance(uri, str) and len(uri) > ADDRESS_LIMIT:
        raise MCPError(
            code=INVALID_PARAMS,
            message=f"The uri has {len(uri):,} characters, a resource here {ADDRESS_LIMIT:,} at "
            "most. resources/list and resources/templates/list name them.",
        )
    return await call_next(ctx)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turns our errors into the SDK's errors for resources, whose text reaches the client."""
    try:
        yield
    except TaskNotFound as error:
        raise ResourceNotFoundError(str(error)) from error
    except KlingError as error:
        raise ResourceError(str(error)) from error


LASTING = CacheHint(ttl_ms=300_000, scope="public")
"""Nothing in it changes while a server runs, nor between callers; five minutes, as the next server
at the same address may be a newer one."""

CHANGING = CacheHint(ttl_ms=0, scope="private")

CACHE_HINTS: Mapping[CacheableMethod, CacheHint] = {
    "server/discover": LASTING,
    "tools/list": LASTING,
    "prompts/list": LASTING,
    "resources/list": LASTING,
    "resources/templates/list": LASTING,
    "resources/read": CHANGING,
}
"""By method; the tables of models among the resources are the exception."""

TABLES = "kling://models"


async def keeping_tables(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Lets clients keep the tables of models, which the SDK cannot tell from other resources."""
    result = await call_next(ctx)
    uri = (ctx.params or {}).get("uri")
    table = ctx.method == "resources/read" and isinstance(uri, str) and uri.startswith(TABLES)
    if table and isinstance(result, dict) and "ttlMs" in result:
        return {**result, "ttlMs": LASTING.ttl_ms, "cacheScope": LASTING.scope}
    return result

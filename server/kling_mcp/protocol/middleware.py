"""The middleware around every request: secrets, caller, known names, readable errors, cache hints.

Cache hints (`ttlMs`, `cacheScope`) tell a client how long it may keep an answer (protocol
2026-07-28).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Set
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
from kling_tools.tools.tool import SPENDING, text_without_tools, without_tools

if TYPE_CHECKING:
    from kling_mcp.providers.redaction import Redactor
    from kling_mcp.service import Service

__all__ = [
    "CACHE_HINTS",
    "cache_lasting_resources",
    "current_service",
    "hide_secrets",
    "name_tools_that_are_here",
    "readable_errors",
    "refuse_long_addresses",
    "refuse_unknown",
    "serve_each_caller",
]


ADDRESS_LIMIT = 2048
"""The most characters of a resource's address, as errors repeat it."""

_service: ContextVar[Service] = ContextVar("_service")


def current_service() -> Service:
    """The service of the caller of this request, which sees that caller's tasks. The middleware
    `serve_each_caller` sets it; outside of a request it raises LookupError."""
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
    """Sets the service of each request's caller, see `current_service`.

    With `login` it refuses a request without one, whatever middleware let the request pass.
    """

    async def serve(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        everybody: Service = ctx.lifespan_context
        _service.set(everybody.of(_principal_of(ctx) if login else LOCAL))
        return await call_next(ctx)

    return serve


TEXTS = {"prompts/get": "messages", "resources/read": "contents"}
"""The methods whose answers hold texts with advice, and where."""


def name_tools_that_are_here(lacking: Set[str]) -> ServerMiddleware[Any]:
    """Takes advice to use one of the tools that are `lacking`, or that the caller may not use, out
    of prompts, of resources, and of the errors about both. The files of a skill stay as they are,
    as a client compares them with their digests."""

    async def advise(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        of_skill = str((ctx.params or {}).get("uri")).startswith(SKILL_FILES)
        if ctx.method not in TEXTS or of_skill:
            return await call_next(ctx)
        away = lacking | (frozenset() if current_service().may_spend else SPENDING)
        try:
            result = await call_next(ctx)
        except MCPError as error:
            message = without_tools(error.error.message, away)
            if message == error.error.message:
                raise
            raise MCPError(error.error.code, message, error.error.data) from error
        if not away:
            return result
        if isinstance(result, BaseModel):
            told = result.model_dump(by_alias=True, mode="json", exclude_unset=True)
            return type(result).model_validate(_advised(told, ctx.method, away))
        return _advised(result, ctx.method, away) if isinstance(result, dict) else result

    return advise


def _advised(told: dict[str, Any], method: str, lacking: Set[str]) -> dict[str, Any]:
    for part in told.get(TEXTS[method], ()):
        holder = part.get("content", part) if method == "prompts/get" else part
        if isinstance(holder, dict) and isinstance(holder.get("text"), str):
            holder["text"] = text_without_tools(holder["text"], lacking)
    return told


def _principal_of(ctx: ServerRequestContext[Any, Any]) -> Principal:
    """The caller of this very request, as a session may be older than its login."""
    from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser

    user = ctx.request.scope.get("user") if ctx.request is not None else None
    if isinstance(user, AuthenticatedUser) and (token := user.access_token).subject:
        ends = math.inf if token.expires_at is None else token.expires_at
        return Principal(token.subject, frozenset(token.scopes), ends)
    raise MCPError(code=INVALID_REQUEST, message="This server requires a login.")


def refuse_unknown(
    method: str,
    what: str,
    names: Callable[[], Awaitable[Collection[str]]],
    instead: Mapping[str, str] = {},
) -> ServerMiddleware[Any]:
    """Refuses, with the protocol's error, a call of `method` that names something unknown (`what`);
    the SDK would answer with a result, or with an error of its own. `names` gives the known ones,
    those included that a program added to the server, `instead` what to do without some others."""

    async def refuse(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        name = (ctx.params or {}).get("name")
        if ctx.method == method and isinstance(name, str):
            known = await names()
            if name not in known:
                unknown = f"Unknown {what}: {quote_provider(name)[:64]}."
                there = instead.get(name, f"There are {', '.join(sorted(known))}.")
                raise MCPError(code=INVALID_PARAMS, message=f"{unknown} {there}")
        return await call_next(ctx)

    return refuse


async def refuse_long_addresses(
    ctx: ServerRequestContext[Any, Any], call_next: CallNext
) -> HandlerResult:
    """Refuses a resource's address of more than ADDRESS_LIMIT characters."""
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
    """Turns a KlingError into the SDK's errors for resources, whose text reaches the client."""
    try:
        yield
    except TaskNotFound as error:
        raise ResourceNotFoundError(str(error)) from error
    except KlingError as error:
        raise ResourceError(str(error)) from error


LASTING = CacheHint(ttl_ms=300_000, scope="public")
"""For answers that stay the same while a server runs, for all callers. Five minutes, as a newer
server may follow at the same address."""

CHANGING = CacheHint(ttl_ms=0, scope="private")

CACHE_HINTS: Mapping[CacheableMethod, CacheHint] = {
    "server/discover": LASTING,
    "tools/list": LASTING,
    "prompts/list": LASTING,
    "resources/list": LASTING,
    "resources/templates/list": LASTING,
    "resources/read": CHANGING,
}
"""The cache hint of each method; `cache_lasting_resources` makes the one exception."""

SKILL_FILES = "skill://"
LASTING_RESOURCES = ("kling://models", SKILL_FILES)
"""Beginnings of the addresses of resources that stay the same while a server runs."""


async def cache_lasting_resources(
    ctx: ServerRequestContext[Any, Any], call_next: CallNext
) -> HandlerResult:
    """Lets clients keep what lasts, which the SDK treats like all other resources."""
    result = await call_next(ctx)
    uri = (ctx.params or {}).get("uri")
    lasts = ctx.method == "resources/read" and str(uri).startswith(LASTING_RESOURCES)
    if lasts and isinstance(result, dict) and "ttlMs" in result:
        return {**result, "ttlMs": LASTING.ttl_ms, "cacheScope": LASTING.scope}
    return result

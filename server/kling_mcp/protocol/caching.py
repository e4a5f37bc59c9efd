"""How long a client may keep what it was told (`ttlMs`, `cacheScope`; protocol 2026-07-28)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

__all__ = ["CACHE_HINTS", "keeping_tables"]

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

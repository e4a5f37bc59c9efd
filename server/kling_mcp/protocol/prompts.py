"""The prompts on the server, and the protocol's error for one that does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from kling_mcp.providers.configured import Configured
from kling_tools.errors import quote_provider
from kling_tools.prompts.prompts import build_prompts
from kling_tools.rules.capabilities import Capabilities

__all__ = ["add_prompts"]


def add_prompts(
    server: MCPServer[Any], providers: Mapping[str, Configured], capabilities: Capabilities
) -> None:
    """Give the server its prompts, planned for these providers, the default one first."""
    terms = [provider.row.terms for provider in providers.values()]
    for prompt in build_prompts(capabilities, terms):
        server.add_prompt(prompt)

    async def refuse(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method == "prompts/get":
            name = (ctx.params or {}).get("name")
            names = [prompt.name for prompt in await server.list_prompts()]
            if isinstance(name, str) and name not in names:
                raise MCPError(
                    code=INVALID_PARAMS,
                    message=f"Unknown prompt: {quote_provider(name)[:64]}. "
                    f"There are {', '.join(sorted(names))}.",
                )
        return await call_next(ctx)

    server.middleware.append(refuse)

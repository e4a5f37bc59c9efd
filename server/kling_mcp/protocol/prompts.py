"""The prompts on the server, and the protocol's error for one that does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.server import MCPServer

from kling_mcp.protocol.middleware import refuse_unknown
from kling_mcp.providers.configured import Configured
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

    async def names() -> list[str]:
        return [prompt.name for prompt in await server.list_prompts()]

    server.middleware.append(refuse_unknown("prompts/get", "prompt", names))

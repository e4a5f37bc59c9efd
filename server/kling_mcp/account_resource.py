"""`kling://account`: what is left of the accounts, where the providers tell it."""

from __future__ import annotations

import json
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError

from kling_mcp.task_resources import asked
from kling_tools.errors import KlingError

__all__ = ["add_account_resource"]

ACCOUNT_URI = "kling://account"


def add_account_resource(server: MCPServer[Any]) -> None:
    """Give the server `kling://account`; after `add_task_resources`, which keeps the service."""

    @server.resource(
        ACCOUNT_URI,
        name="account",
        title="Kling account",
        description="Units left at each provider that tells them, up to 12 h late. Free.",
        mime_type="application/json",
    )
    async def account() -> str:
        try:
            document = await asked.get().account()
        except KlingError as error:
            raise ResourceError(str(error)) from error
        return json.dumps(document, ensure_ascii=False)

"""A hosted server in this process, without a login: its tools, and its addresses over ASGI."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from mcp import Client
from mcp_types import CallToolResult, TextContent
from starlette.applications import Starlette
from tests.server.serving import no_sleep, sandbox_settings

from kling_mcp.hosting.public_routes import public_routes
from kling_mcp.hosting.team import Hosting
from kling_mcp.hosting.team_settings import load_host_settings
from kling_mcp.ledger import Record
from kling_mcp.protocol.server import build_server
from kling_mcp.runtime import Sleep

__all__ = ["PUBLIC", "Hosted", "facts", "hosted", "said"]

PUBLIC = "http://127.0.0.1:9"
"""Where nobody listens, so that an embedded sandbox which calls back reaches nobody."""


@dataclass
class Hosted:
    client: Client
    http: httpx.AsyncClient
    hosting: Hosting

    async def call(self, tool: str, **given: Any) -> dict[str, Any]:
        """What a tool answers."""
        return facts(await self.client.call_tool(tool, given))

    async def row(self, any_id: str) -> Record:
        """The ledger's row."""
        runtime = self.hosting.state.runtime
        assert runtime is not None
        record = await runtime.ledger.find(any_id)
        assert record is not None
        return record


def facts(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


def said(result: CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if isinstance(part, TextContent))


@asynccontextmanager
async def hosted(
    folder: Path,
    *,
    sleep: Sleep = no_sleep,
    provider: Mapping[str, Any] = {},
    **options: Any,
) -> AsyncIterator[Hosted]:
    """`options` are settings of the host, `provider` those of the server itself."""
    settings = sandbox_settings(folder, **provider)
    host = load_host_settings(**{"public_url": PUBLIC, **options})
    hosting = Hosting.create(settings, host)
    app = Starlette(routes=public_routes(hosting))
    transport = httpx.ASGITransport(app)
    async with (
        Client(build_server(settings, sleep=sleep, team=hosting.team(settings))) as client,
        httpx.AsyncClient(transport=transport, base_url=PUBLIC) as http,
    ):
        yield Hosted(client, http, hosting)

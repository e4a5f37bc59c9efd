"""Films as tests have them made, by a server in this process whose sandbox is at hand."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
from mcp import Client
from mcp.client.session import ElicitationFnT
from mcp_types import CallToolResult
from tests.server.scripted import facts, words
from tests.server.serving import hurried, sandbox_by, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_mcp.providers import transport
from kling_sandbox import SandboxStore

SMALL_PX = 48
"""Of clips of which no frame is given on."""


@asynccontextmanager
async def serving(
    folder: Path, *, answer: ElicitationFnT | None = None, **settings: Any
) -> AsyncIterator[Client]:
    """`answer` is what the person says who is asked."""
    own = sandbox_settings(folder, **{"sandbox_side_px": SMALL_PX, **settings})
    pace = hurried()
    with mock.patch.object(transport, "connect", sandbox_by(pace.get("clock", time.time))):
        async with Client(build_server(own, **pace), elicitation_callback=answer) as client:
            yield client


def accepted(folder: Path) -> int:
    """Creates that the sandbox took, each of which is paid."""
    return SandboxStore(folder / "home" / "sandbox").counts().accepted


def words_shots(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"Scene {n}", **more} for n in range(1, count + 1)]


async def film(client: Client, **arguments: Any) -> CallToolResult:
    return await client.call_tool("kling_film", {"name": "Holiday", **arguments})


async def over(client: Client, film_id: str) -> dict[str, Any]:
    """The film once it has ended, after an hour of virtual time at most."""
    with anyio.fail_after(3600):
        while True:
            asked = {"task_ids": [film_id], "timeout_s": 60}
            waited = facts(await client.call_tool("kling_wait_for_tasks", asked))
            if waited["done"]:
                return facts(await client.call_tool("kling_get_task", {"task_id": film_id}))


async def made(client: Client, **arguments: Any) -> dict[str, Any]:
    """A film from its call to its end."""
    started = await film(client, **arguments)
    assert not started.is_error, words(started)
    return await over(client, facts(started)["task_id"])

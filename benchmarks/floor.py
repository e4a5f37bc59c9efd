"""The floor: an MCP server with one tool that only POSTs, on the same SDK as kling-mcp."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from mcp.server import MCPServer

if TYPE_CHECKING:
    import httpx

BASE_URL_VARIABLE = "FLOOR_BASE_URL"

server = MCPServer(name="floor", log_level="WARNING")


@cache
def _client() -> httpx.AsyncClient:
    import httpx

    return httpx.AsyncClient(base_url=os.environ[BASE_URL_VARIABLE])


@server.tool()
async def submit(prompt: str, image_bytes: int, take: int) -> str:
    """POST a create whose picture is `image_bytes` of text; the answer's task_id."""
    fields = {
        "model_name": "kling-v2-5-turbo",
        "image": "A" * image_bytes,
        "prompt": prompt,
        "mode": "std",
        "duration": "5",
        "external_task_id": f"floor-{take:032}",
    }
    answer = await _client().post("/v1/videos/image2video", json=fields)
    return str(answer.json()["data"]["task_id"])


if __name__ == "__main__":
    server.run("stdio")

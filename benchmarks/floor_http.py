"""The floor over HTTP: the SDK's own server with one tool that knows the answer."""

from __future__ import annotations

import sys

import uvicorn
from mcp.server import MCPServer

from kling_sandbox.app import bound_socket

server = MCPServer(name="floor", log_level="WARNING")


@server.tool()
async def kling_get_task(task_id: str) -> str:
    """What a finished task says."""
    return f"{task_id}: succeed, 5.1 s video https://videos.example/1.mp4"


if __name__ == "__main__":
    listener = bound_socket("127.0.0.1", 0)
    listener.listen()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", file=sys.stderr, flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])

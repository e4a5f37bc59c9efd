"""A life of a server that makes one film until it is killed; a process of its own."""

import json
import os
import signal
import sys
import threading
from functools import partial
from typing import Any

import anyio
from mcp import Client
from tests.server.serving import tasks_of

from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import load_settings


async def live(
    settings: dict[str, Any], film: dict[str, Any], *, asks: bool, dies_after_s: float
) -> None:
    """Have the film made; with `asks` by a call, else because it was left behind. So many seconds
    after that begins the process is killed; 0 lets it live."""
    async with Client(build_server(load_settings(**settings))) as client:
        await client.list_tools()
        if dies_after_s:
            threading.Timer(dies_after_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
        if asks:
            started = await client.call_tool("kling_film", film)
            assert not started.is_error, started.content
        while True:
            listed = await client.call_tool("kling_list_tasks", {"product": "film"})
            assert not listed.is_error, listed.content
            films = tasks_of(listed.structured_content or {})
            if films and films[0]["status"] == "succeed":
                return
            assert not films or films[0]["status"] == "processing", films[0]
            await anyio.sleep(0.05)


if __name__ == "__main__":
    given = json.loads(sys.stdin.read())
    anyio.run(partial(live, **given))
    os._exit(0)  # the one that would kill it still waits

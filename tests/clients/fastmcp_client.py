"""Makes a video with fastmcp's client: fastmcp_client.py ERA PICTURE URL | ERA PICTURE COMMAND...

Prints what it got as one line of JSON.
"""

import asyncio
import json
import os
import sys
from importlib.metadata import version
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import StdioTransport


async def main(era: str, image: str, *target: str) -> None:
    command, *arguments = target
    server: Any = command
    if not command.startswith("http"):
        server = StdioTransport(command, arguments, env=dict(os.environ))

    async with Client(server, mode="2026-07-28" if era == "modern" else "legacy") as client:

        async def facts(tool: str, given: dict[str, Any]) -> dict[str, Any]:
            return (await client.call_tool(tool, given)).structured_content or {}

        tools = await client.list_tools()
        wish = {"image": image, "prompt": "Slow zoom"}
        task_id = (await facts("kling_image_to_video", wish))["task_id"]
        waited = await facts("kling_wait_for_tasks", {"task_ids": [task_id]})
        assert waited["done"], waited
        path = (await facts("kling_save_video", {"task_id": task_id}))["path"]
        refused = await client.call_tool(
            "kling_image_to_video", {**wish, "duration": "7"}, raise_on_error=False
        )
        report = {
            "tools": len(tools),
            "path": path,
            "refusal": refused.content[0].text if refused.is_error else "",
            "era": "modern" if (client.protocol_version or "") >= "2026" else "legacy",
            "version": version("fastmcp"),
        }
    print(json.dumps(report))


asyncio.run(main(*sys.argv[1:]))

"""Makes a video with langchain-mcp-adapters: langchain_agent.py ERA PICTURE URL | ... COMMAND...

Over stdio these tools start the server anew for each call. The package knows only the 2025-11-25
protocol. Prints what it got as one line of JSON.
"""

import asyncio
import json
import os
import re
import sys
from importlib.metadata import version
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_mcp_adapters.client import MultiServerMCPClient


async def main(_era: str, image: str, *target: str) -> None:
    command, *arguments = target
    connection: Any = {"transport": "http", "url": command}
    if not command.startswith("http"):
        started = {"command": command, "args": arguments, "env": dict(os.environ)}
        connection = {"transport": "stdio", **started}
    client = MultiServerMCPClient({"kling": connection})
    tools = {tool.name: tool for tool in await client.get_tools()}

    async def call(name: str, given: dict[str, Any]) -> ToolMessage:
        wanted = {"name": name, "args": given, "id": "call", "type": "tool_call"}
        return await tools[name].ainvoke(wanted)

    wish = {"image": image, "prompt": "Slow zoom"}
    submitted = await call("kling_image_to_video", wish)
    task_id = re.findall(r"Task (\d+)", submitted.text)[0]
    waited = await call("kling_wait_for_tasks", {"task_ids": [task_id]})
    assert f"{task_id}: succeed" in waited.text, waited.text
    saved = await call("kling_save_video", {"task_id": task_id})
    refused = await call("kling_image_to_video", {**wish, "duration": "7"})
    agreed = (await client.get_server_info())["kling"].protocolVersion
    report = {
        "tools": len(tools),
        "path": re.findall(r"Saved (.*?): \d", saved.text)[0],
        "refusal": refused.text if refused.status == "error" else "",
        "era": "modern" if agreed >= "2026" else "legacy",
        "version": version("langchain-mcp-adapters"),
    }
    print(json.dumps(report))


asyncio.run(main(*sys.argv[1:]))

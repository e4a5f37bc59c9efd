"""Makes a video with a pydantic-ai agent: pydantic_ai_agent.py ERA PICTURE URL | ... COMMAND...

The agent's model is a script that sees what a model would see. The toolset chooses the era. Prints
what it got as one line of JSON.
"""

import asyncio
import json
import os
import sys
from importlib.metadata import version
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent, ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.function import AgentInfo, FunctionModel


async def main(_era: str, image: str, *target: str) -> None:
    command, *arguments = target
    server: Any = command
    if not command.startswith("http"):
        server = StdioTransport(command, arguments, env=dict(os.environ))
    client = Client(server)
    wish = {"image": image, "prompt": "Slow zoom"}
    made: dict[str, Any] = {}
    report: dict[str, Any] = {"version": version("pydantic-ai-slim")}

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        shown: Any = messages[-1].parts[-1].content
        match len(messages) // 2:
            case 0:
                report["tools"] = len(info.function_tools)
                call = ToolCallPart("kling_image_to_video", wish)
            case 1:
                assert isinstance(shown, dict), shown
                made.update(shown)
                call = ToolCallPart("kling_wait_for_tasks", {"task_ids": [made["task_id"]]})
            case 2:
                assert shown["done"], shown
                call = ToolCallPart("kling_save_video", {"task_id": made["task_id"]})
            case 3:
                report["path"] = shown["path"]
                call = ToolCallPart("kling_image_to_video", {**wish, "duration": "7"})
            case _:
                report["refusal"] = shown if isinstance(shown, str) else json.dumps(shown)
                return ModelResponse([TextPart("Done.")])
        return ModelResponse([call])

    async with client:
        await Agent(FunctionModel(model), toolsets=[MCPToolset(client)]).run("Animate it.")
        report["era"] = "modern" if (client.protocol_version or "") >= "2026" else "legacy"
    print(json.dumps(report))


asyncio.run(main(*sys.argv[1:]))

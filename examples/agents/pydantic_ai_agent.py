"""A pydantic-ai agent that animates a photograph.

    pip install "pydantic-ai-slim[mcp]" .       (in a clone of kling-mcp, in a virtual environment)
    python examples/agents/pydantic_ai_agent.py [PHOTO]

AGENT_MODEL names a model, such as anthropic:claude-sonnet-4-5. Without it a script plays the model,
so that everything runs without a key.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent, ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.function import AgentInfo, FunctionModel

PHOTO = Path(__file__).parents[1] / "pictures" / "astronaut.png"
TASK = "Animate {photo}: she looks up and smiles. Answer with the path of the saved video only."


def script(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    """What a model would do with the tools' answers: submit, wait, say where the video is."""
    shown: Any = messages[-1].parts[-1].content
    if isinstance(shown, str):
        photo = shown.split(":")[0].removeprefix("Animate ")
        wish = {"image": photo, "prompt": "She looks up and smiles"}
        return ModelResponse([ToolCallPart("kling_image_to_video", wish)])
    if shown.get("done"):
        return ModelResponse([TextPart(shown["tasks"][0]["path"])])
    task = shown["tasks"][0] if "tasks" in shown else shown
    ids = [task["task_id"]]
    return ModelResponse([ToolCallPart("kling_wait_for_tasks", {"task_ids": ids})])


async def animate(photo: Path) -> Path:
    """Where the agent says that the video is."""
    env = {**os.environ, "KLING_MCP_IMAGE_ROOTS": str(photo.parent)}
    kling = MCPToolset(Client(StdioTransport("kling-mcp", [], env=env)))
    agent = Agent(os.environ.get("AGENT_MODEL") or FunctionModel(script), toolsets=[kling])
    async with agent:
        answer = await agent.run(TASK.format(photo=photo))
    return Path(answer.output.strip())


video = asyncio.run(animate(Path(sys.argv[1] if len(sys.argv) > 1 else PHOTO).resolve()))
assert video.read_bytes()[4:8] == b"ftyp", f"{video} is not an MP4"
print(video)

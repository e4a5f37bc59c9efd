"""A LangChain agent that animates a photograph.

    uv tool install .       (in a clone of kling-mcp; or `pipx install .`)
    pip install langchain langchain-mcp-adapters        (in a virtual environment of its own: its
    python examples/agents/langchain_agent.py [PHOTO]    mcp is older than that of kling-mcp)

AGENT_MODEL names a model, such as anthropic:claude-sonnet-4-5. Without it a script plays the model,
so that everything runs without a key.
"""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools

PHOTO = Path(__file__).parents[1] / "pictures" / "astronaut.png"
TASK = "Animate {photo}: she looks up and smiles. Answer with the path of the saved video only."


class Script(BaseChatModel):
    """What a model would do with the tools' answers: submit, wait, say where the video is."""

    @property
    def _llm_type(self) -> str:
        return "script"

    def bind_tools(self, *_: Any, **__: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        shown = messages[-1].text
        if shown.startswith("Animate "):
            photo = shown.split(":")[0].removeprefix("Animate ")
            wish = {"image": photo, "prompt": "She looks up and smiles"}
            answer = self._call("kling_image_to_video", wish)
        elif saved := re.search(r"saved at (.+\.mp4)", shown):
            answer = AIMessage(saved[1])
        else:
            ids = re.findall(r"\d{15,}", shown)[:1]
            answer = self._call("kling_wait_for_tasks", {"task_ids": ids})
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def _call(self, tool: str, given: dict[str, Any]) -> AIMessage:
        call = {"name": tool, "args": given, "id": tool, "type": "tool_call"}
        return AIMessage("", tool_calls=[call])


async def animate(photo: Path) -> Path:
    """Where the agent says that the video is."""
    env = {**os.environ, "KLING_MCP_IMAGE_ROOTS": str(photo.parent)}
    kling: Any = {"transport": "stdio", "command": "kling-mcp", "args": [], "env": env}
    async with MultiServerMCPClient({"kling": kling}).session("kling") as session:
        tools = await load_mcp_tools(session)
        agent = create_agent(os.environ.get("AGENT_MODEL") or Script(), tools)
        task = {"role": "user", "content": TASK.format(photo=photo)}
        result = await agent.ainvoke({"messages": [task]})
    return Path(result["messages"][-1].text.strip())


video = asyncio.run(animate(Path(sys.argv[1] if len(sys.argv) > 1 else PHOTO).resolve()))
assert video.read_bytes()[4:8] == b"ftyp", f"{video} is not an MP4"
print(video)

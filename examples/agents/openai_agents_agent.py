"""An agent of the OpenAI Agents SDK that animates a photograph.

    pip install openai-agents .         (in a clone of kling-mcp, in a virtual environment)
    python examples/agents/openai_agents_agent.py [PHOTO]

AGENT_MODEL names a model of OpenAI's, with OPENAI_API_KEY set. Without it a script plays the model,
so that everything runs without a key.
"""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage
from agents.mcp import MCPServerStdio
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

PHOTO = Path(__file__).parents[1] / "pictures" / "astronaut.png"
TASK = "Animate {photo}: she looks up and smiles. Answer with the path of the saved video only."
LONGEST_CALL_S = 60
"""The SDK gives up after 5 s by itself; kling_wait_for_tasks takes up to 50 s."""


class Script(Model):
    """What a model would do with the tools' answers: submit, wait, say where the video is."""

    async def get_response(self, **asked: Any) -> ModelResponse:
        last = asked["input"][-1]
        if "output" not in last:
            photo = last["content"].split(":")[0].removeprefix("Animate ")
            wish = {"image": photo, "prompt": "She looks up and smiles"}
            return self._call("kling_image_to_video", wish)
        shown = last["output"] if isinstance(last["output"], str) else last["output"][0]["text"]
        if saved := re.search(r"saved at (.+\.mp4)", shown):
            return self._say(saved[1])
        ids = re.findall(r"\d{15,}", shown)[:1]
        return self._call("kling_wait_for_tasks", {"task_ids": ids})

    def _call(self, tool: str, given: dict[str, Any]) -> ModelResponse:
        call = {"name": tool, "arguments": json.dumps(given), "call_id": tool}
        return ModelResponse(
            [ResponseFunctionToolCall(type="function_call", **call)], Usage(), None
        )

    def _say(self, text: str) -> ModelResponse:
        said = ResponseOutputText(type="output_text", text=text, annotations=[])
        message = ResponseOutputMessage(
            id="1", type="message", role="assistant", status="completed", content=[said]
        )
        return ModelResponse([message], Usage(), None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("this agent is not streamed")


async def animate(photo: Path) -> Path:
    """Where the agent says that the video is."""
    env = {**os.environ, "KLING_MCP_IMAGE_ROOTS": str(photo.parent)}
    started = {"command": "kling-mcp", "env": env}
    async with MCPServerStdio(started, client_session_timeout_seconds=LONGEST_CALL_S) as kling:
        model = os.environ.get("AGENT_MODEL") or Script()
        agent = Agent("Animator", model=model, mcp_servers=[kling])
        quiet = RunConfig(tracing_disabled=True)
        result = await Runner.run(agent, TASK.format(photo=photo), run_config=quiet)
    return Path(result.final_output.strip())


video = asyncio.run(animate(Path(sys.argv[1] if len(sys.argv) > 1 else PHOTO).resolve()))
assert video.read_bytes()[4:8] == b"ftyp", f"{video} is not an MP4"
print(video)

"""Makes a video with openai-agents: openai_agents_agent.py ERA PICTURE URL | ... COMMAND...

The agent's model is a script that sees what a model would see, which is text. The SDK chooses the
era. Prints what it got as one line of JSON.
"""

import asyncio
import json
import os
import re
import sys
from importlib.metadata import version
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage
from agents.mcp import MCPServer, MCPServerStdio, MCPServerStreamableHttp
from openai.types.responses import ResponseFunctionToolCall as Call


class Script(Model):
    def __init__(self, image: str, report: dict[str, Any]) -> None:
        self.wish, self.report, self.step = {"image": image, "prompt": "Slow zoom"}, report, 0

    async def get_response(self, **asked: Any) -> ModelResponse:
        output = asked["input"][-1].get("output", "")
        shown = output if isinstance(output, str) else output[0]["text"]
        self.step += 1
        name, given = "kling_image_to_video", {**self.wish, "duration": "7"}
        if self.step == 1:
            self.report["tools"], given = len(asked["tools"]), self.wish
        elif self.step == 2:
            self.task_id = re.findall(r"Task (\d+)", shown)[0]
            name, given = "kling_wait_for_tasks", {"task_ids": [self.task_id]}
        elif self.step == 3:
            assert f"{self.task_id}: succeed" in shown, shown
            name, given = "kling_save_video", {"task_id": self.task_id}
        elif self.step == 4:
            self.report["path"] = re.findall(r"Saved (.*?): \d", shown)[0]
        else:
            self.report["refusal"] = shown
        call = {"name": name, "arguments": json.dumps(given), "call_id": f"call-{self.step}"}
        calls = [Call(type="function_call", **call)] if self.step < 5 else []
        return ModelResponse(calls, Usage(), None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("this agent is not streamed")


async def main(_era: str, image: str, *target: str) -> None:
    command, *arguments = target
    server: MCPServer
    if command.startswith("http"):
        server = MCPServerStreamableHttp({"url": command}, client_session_timeout_seconds=60)
    else:
        started = {"command": command, "args": arguments, "env": dict(os.environ)}
        server = MCPServerStdio(started, client_session_timeout_seconds=60)
    report: dict[str, Any] = {"version": version("openai-agents")}
    async with server:
        agent = Agent("Animator", model=Script(image, report), mcp_servers=[server])
        await Runner.run(agent, "Animate it.", run_config=RunConfig(tracing_disabled=True))
        agreed = server.session.protocol_version
    report["era"] = "modern" if agreed >= "2026" else "legacy"
    print(json.dumps(report))


asyncio.run(main(*sys.argv[1:]))

"""The server as hosts start it: a process on standard input and output."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import Client, StdioServerParameters
from tests.server.serving import ALL_BYTES, ERAS_WITH_CLIPS, picture

from kling_tools import build_toolset


def environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "KLING_MCP_HOME": str(folder / "home"),
        "KLING_MCP_OUTPUT_DIR": str(folder / "videos"),
        "KLING_MCP_SANDBOX_QUEUE_S": "0",
        "KLING_MCP_SANDBOX_SIDE_PX": "48",
        "KLING_MCP_SANDBOX_RENDER_S": "0",
    }


def server(folder: Path) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=["-m", "kling_mcp"], env=environment(folder), cwd=folder
    )


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS_WITH_CLIPS)
async def test_a_picture_in_the_home_folder_becomes_a_video(era: str, tmp_path: Path) -> None:
    async with Client(server(tmp_path), mode=era) as client:
        receipt = await client.call_tool(
            "kling_image_to_video", {"image": picture(tmp_path), "prompt": "Slow zoom"}
        )
        assert receipt.structured_content is not None
        task_id = receipt.structured_content["task_id"]
        waited = await client.call_tool("kling_wait_for_tasks", {"task_ids": [task_id]})
        saved = await client.call_tool("kling_save_video", {"task_id": task_id})

    assert waited.structured_content is not None
    assert waited.structured_content["done"] is True
    assert saved.structured_content is not None
    assert Path(saved.structured_content["path"]).read_bytes()[4:8] == b"ftyp"


@pytest.mark.anyio
@pytest.mark.campaign
async def test_a_process_for_each_call_loses_nothing(tmp_path: Path) -> None:
    async def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        async with Client(server(tmp_path)) as client:
            result = await client.call_tool(tool, arguments)
            assert result.structured_content is not None
            return result.structured_content

    wish = {"image": picture(tmp_path), "prompt": "Slow zoom"}
    first = await call("kling_image_to_video", wish)
    again = await call("kling_image_to_video", wish)
    task = await call("kling_get_task", {"task_id": first["task_id"]})

    assert again["task_id"] == first["task_id"]
    assert task["status"] == "succeed"


@pytest.mark.anyio
async def test_a_server_that_is_only_asked_for_its_tools_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    messages: list[dict[str, Any]] = [
        {
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        },
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
    ]
    lines = "".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages)
    command = [sys.executable, "-m", "kling_mcp"]

    with anyio.fail_after(60):
        async with await anyio.open_process(
            command, env=environment(tmp_path), cwd=tmp_path, stderr=subprocess.PIPE
        ) as server:
            assert server.stdin
            assert server.stdout
            assert server.stderr
            await server.stdin.send(lines.encode())
            answers = BufferedByteReceiveStream(server.stdout)
            await answers.receive_until(b"\n", 100_000)
            listed = await answers.receive_until(b"\n", 100_000)
            await server.stdin.aclose()
            complaints = b"".join([piece async for piece in server.stderr])
            assert await server.wait() == 0

    tools = build_toolset(["sandbox"], models={})
    assert len(json.loads(listed)["result"]["tools"]) == len(tools)
    assert len(listed) <= ALL_BYTES
    assert complaints == b""
    assert list(tmp_path.iterdir()) == []

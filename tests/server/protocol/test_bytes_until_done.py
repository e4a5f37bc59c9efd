"""What a model reads from the submit until the video is there, in bytes of text and of fields."""

import json
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

DRY_RUN_BYTES = 750
ONE_TAKE_BYTES = 2_200
TEN_TAKES_BYTES = 14_000

WISH = {
    "prompt": "The cat blinks, then slowly turns her head towards the window. The camera comes "
    "closer."
}


def size(answer: CallToolResult) -> int:
    """Bytes of an answer without its pictures."""
    assert not answer.is_error, answer.content
    text = "".join(part.text for part in answer.content if isinstance(part, TextContent))
    return len((text + json.dumps(answer.structured_content, ensure_ascii=False)).encode())


async def until_done(folder: Path, takes: int) -> int:
    """Bytes of all answers from the first submit until all takes are done."""
    settings = sandbox_settings(folder)
    total = 0

    async with Client(build_server(settings, sleep=no_sleep)) as client:

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            nonlocal total
            answer = await client.call_tool(tool, arguments)
            total += size(answer)
            assert answer.structured_content is not None
            return answer.structured_content

        made = [await call("kling_image_to_video", image=picture(folder), **WISH)]
        for number in range(2, takes + 1):
            again = {"another_take_of": made[0]["task_id"], "take": number}
            made.append(await call("kling_image_to_video", **again))
        ids = [receipt["task_id"] for receipt in made]
        while not (await call("kling_wait_for_tasks", task_ids=ids))["done"]:
            pass
    return total


async def test_a_dry_run_is_small(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        asked = {"image": picture(tmp_path), **WISH, "dry_run": True}
        answer = await client.call_tool("kling_image_to_video", asked)

    assert size(answer) <= DRY_RUN_BYTES


@pytest.mark.parametrize(("takes", "most_bytes"), [(1, ONE_TAKE_BYTES), (10, TEN_TAKES_BYTES)])
async def test_a_video_is_made_with_few_bytes(takes: int, most_bytes: int, tmp_path: Path) -> None:
    assert await until_done(tmp_path, takes) <= most_bytes

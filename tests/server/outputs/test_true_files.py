"""What an answer says of a file is so: where it is, that it is gone, or until when to fetch it."""

import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from benchmarks.virtual_time import virtual_clock
from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.server.serving import hurried, picture, sandbox_by, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

TOOLS = ("kling_list_tasks", "kling_get_task", "kling_wait_for_tasks")
UNTIL = re.compile(r"[A-Z][a-z]{2} \d{4}-\d\d-\d\d \d\d:\d\d [+-]\d\d:\d\d")


async def made(client: Client, folder: Path) -> str:
    request = {"image": picture(folder), "prompt": "Zoom"}
    receipt = await client.call_tool("kling_image_to_video", request)
    assert receipt.structured_content is not None
    return str(receipt.structured_content["task_id"])


async def seen(client: Client, task_id: str) -> dict[str, tuple[dict[str, Any], str]]:
    """What each tool says of the task, as fields and in words."""
    given = {
        "kling_get_task": {"task_id": task_id},
        "kling_wait_for_tasks": {"task_ids": [task_id]},
    }
    return {tool: view(await client.call_tool(tool, given.get(tool, {}))) for tool in TOOLS}


def view(answer: CallToolResult) -> tuple[dict[str, Any], str]:
    assert isinstance(answer.content[0], TextContent)
    assert answer.structured_content is not None
    facts = answer.structured_content
    return facts.get("tasks", [facts])[0], answer.content[0].text


async def test_a_file_that_was_moved_is_told_once_and_by_every_tool(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=True))) as client:
        task_id = await made(client, tmp_path)
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [task_id]})
        (path,) = {facts["path"] for facts, _ in (await seen(client, task_id)).values()}
        Path(path).rename(tmp_path / "mine.mp4")
        said = await seen(client, task_id)
        await client.call_tool("kling_save_video", {"task_id": task_id})
        again = await seen(client, task_id)

    for facts, words in said.values():
        assert "path" not in facts
        assert facts["file"] == f"not there any more: {path} was moved or deleted"
        assert UNTIL.fullmatch(facts["fetch_until"])
        assert "saved at" not in words
        assert words.count(path) == 1
    assert {facts["path"] for facts, _ in again.values()} == {path}


async def test_a_file_that_was_damaged_in_place_is_told_by_every_tool_and_saved_anew_in_one_step(
    tmp_path: Path,
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=True))) as client:
        task_id = await made(client, tmp_path)
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [task_id]})
        path = Path((await seen(client, task_id))["kling_get_task"][0]["path"])
    path.write_bytes(bytes(path.stat().st_size))

    async with Client(build_server(sandbox_settings(tmp_path, save=True))) as client:
        said = [await seen(client, task_id), await seen(client, task_id)]
        saved = await client.call_tool("kling_save_video", {"task_id": task_id})
        looked = await client.call_tool("kling_look", {"task_id": task_id})
        again = await seen(client, task_id)

    for facts, words in [view for views in said for view in views.values()]:
        assert "path" not in facts
        assert facts["file"] == f"not as it was saved any more: {path} was changed"
        assert "saved at" not in words
    assert not saved.is_error
    assert not looked.is_error, looked.content
    anew = path.with_name(f"{path.stem}-2.mp4")
    assert {facts["path"] for facts, _ in again.values()} == {str(anew)}


async def test_a_look_at_a_damaged_file_gets_the_video_anew(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=True))) as client:
        task_id = await made(client, tmp_path)
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [task_id]})
        path = Path((await seen(client, task_id))["kling_get_task"][0]["path"])
        path.write_bytes(bytes(path.stat().st_size))
        looked = await client.call_tool("kling_look", {"task_id": task_id})

    assert not looked.is_error, looked.content


async def test_a_finished_task_that_nobody_saved_says_until_when_it_can_be_fetched(
    tmp_path: Path,
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=False))) as client:
        said = await seen(client, await made(client, tmp_path))

    for facts, words in said.values():
        assert UNTIL.fullmatch(facts["fetch_until"])
        assert f"can be fetched until {facts['fetch_until']}" in words
        assert "path" not in facts
        assert "file" not in facts


async def test_a_list_that_sees_a_task_done_has_its_video_saved(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=True))) as client:
        await made(client, tmp_path)
        (facts, _), *_ = (await seen(client, "none")).values()

    assert "path" in facts or facts["file"].startswith("being saved: ")
    assert "next" not in facts


@virtual_time
async def test_a_video_is_saved_although_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kling_mcp.providers.transport.connect", sandbox_by(virtual_clock()))
    settings = sandbox_settings(tmp_path, save=True)
    async with Client(build_server(settings, **hurried())) as client:
        await made(client, tmp_path)
        await anyio.sleep(300)
        saved = list((tmp_path / "videos").glob("*.mp4"))

    assert len(saved) == 1

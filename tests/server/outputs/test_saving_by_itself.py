"""A video that is seen done becomes a file by itself, once."""

import os
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_sandbox import SandboxStore


async def made(client: Client, folder: Path) -> dict[str, Any]:
    result = await client.call_tool(
        "kling_image_to_video", {"image": picture(folder), "prompt": "Zoom"}
    )
    assert result.structured_content is not None
    return result.structured_content


@pytest.mark.anyio
async def test_a_video_is_saved_when_a_wait_sees_it_done(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=True))) as client:
        receipt = await made(client, tmp_path)
        waited = await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})
        status = await client.call_tool("kling_get_task", {"task_id": receipt["task_id"]})

    assert waited.structured_content is not None
    path = Path(waited.structured_content["tasks"][0]["path"])
    assert path.parent == tmp_path / "videos"
    assert path.read_bytes()[4:8] == b"ftyp"
    assert status.structured_content is not None
    assert status.structured_content["path"] == str(path)
    counts = SandboxStore(tmp_path / "home" / "sandbox").counts()
    assert counts.requests["downloads"] == 1


@pytest.mark.anyio
async def test_a_video_that_cannot_be_saved_is_still_told(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, save=True, sandbox_faults="download-404")
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        receipt = await made(client, tmp_path)
        waited = await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})

    assert waited.structured_content is not None
    (task,) = waited.structured_content["tasks"]
    assert task["status"] == "succeed"
    assert "path" not in task
    assert "could not be saved" in task["next"]


@pytest.mark.anyio
async def test_nothing_is_saved_by_itself_when_that_is_not_wanted(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=False))) as client:
        receipt = await made(client, tmp_path)
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})

    assert not (tmp_path / "videos").exists()


@pytest.mark.anyio
async def test_a_server_that_ends_finishes_what_it_is_saving(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, save=True)
    async with Client(build_server(settings)) as client:
        await made(client, tmp_path)
        await client.call_tool("kling_list_tasks", {})

    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 1


@pytest.mark.anyio
async def test_a_server_started_anew_says_that_nothing_is_saved_and_what_saves_it(
    tmp_path: Path,
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=False))) as client:
        first = await made(client, tmp_path)
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [first["task_id"]]})
        listed_alone = await client.call_tool("kling_list_tasks", {})
    lagging = sandbox_settings(tmp_path, save=True, sandbox_faults="ok-with-error@queries")
    async with Client(build_server(lagging, sleep=no_sleep)) as client:
        listed = await client.call_tool("kling_list_tasks", {})

    for answer in (listed_alone, listed):
        assert answer.structured_content is not None
        (row,) = answer.structured_content["tasks"]
        assert "being saved" not in row.get("file", "")
        assert "fetch_until" in row
    assert "kling_save_video or kling_wait_for_tasks with this task_id saves it" in row["next"]


@pytest.mark.anyio
async def test_a_wait_also_saves_what_finished_before_and_has_no_file(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=False))) as client:
        first = await made(client, tmp_path)
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [first["task_id"]]})
    async with Client(build_server(sandbox_settings(tmp_path, save=True))) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom", "take": 2}
        second = (await client.call_tool("kling_image_to_video", wish)).structured_content
        assert second is not None
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [second["task_id"]]})

    saved = sorted(path.name for path in (tmp_path / "videos").glob("*.mp4"))
    assert len(saved) == 2
    assert any(first["task_id"] in name for name in saved)


@pytest.mark.anyio
async def test_halves_of_clips_that_killed_servers_left_are_removed(tmp_path: Path) -> None:
    clips = tmp_path / "home" / "sandbox" / "clips"
    clips.mkdir(parents=True)
    left, growing = clips / "1.aaaaaaaa.part", clips / "2.bbbbbbbb.part"
    left.write_bytes(b"half")
    growing.write_bytes(b"half")
    os.utime(left, (0, 0))
    async with Client(build_server(sandbox_settings(tmp_path, save=True))) as client:
        receipt = await made(client, tmp_path)
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})

    assert (left.exists(), growing.exists()) == (False, True)

"""A video that is seen done becomes a file by itself, once."""

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

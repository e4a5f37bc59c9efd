"""Hosts without the player can be given a small picture and a link, never the video itself."""

import base64
import io
from pathlib import Path

import pytest
from mcp import Client
from mcp_types import CallToolResult, ImageContent, ResourceLink, TextContent
from PIL import Image
from tests.server.scripted import CREATE, facts
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.outputs.pictures_of_videos import POSTER_BYTES, POSTERS, _small_jpeg
from kling_mcp.protocol.server import build_server

WAIT = "kling_wait_for_tasks"


async def submitted(client: Client, folder: Path, take: int = 1) -> str:
    wish = {"image": picture(folder), "prompt": "Zoom", "take": take}
    task_id: str = facts(await client.call_tool(CREATE, wish))["task_id"]
    return task_id


def kinds(answer: CallToolResult) -> list[str]:
    return [part.type for part in answer.content]


@pytest.mark.anyio
@pytest.mark.parametrize("tool", ["kling_get_task", "kling_wait_for_tasks", "kling_save_video"])
async def test_an_answer_about_a_saved_video_shows_it_small_and_links_it(
    tmp_path: Path, tool: str
) -> None:
    settings = sandbox_settings(tmp_path, save=True, poster=True, sandbox_side_px=390)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        task_id = await submitted(client, tmp_path)
        which = {"task_ids": [task_id]} if tool == WAIT else {"task_id": task_id}
        text, image, link = (await client.call_tool(tool, which)).content
        assert isinstance(text, TextContent)
        assert isinstance(image, ImageContent)
        assert isinstance(link, ResourceLink)
        assert image.mime_type == "image/jpeg"
        assert len(image.data) <= 60_000
        with Image.open(io.BytesIO(base64.b64decode(image.data))) as poster:
            assert (poster.format, poster.size) == ("JPEG", (512, 384))
        assert link.uri == f"kling://tasks/{task_id}/video"
        (video,) = (tmp_path / "videos").glob("*.mp4")
        (content,) = (await client.read_resource(link.uri)).contents
        assert base64.b64decode(content.blob) == video.read_bytes()  # type: ignore[union-attr]
        assert link.size == video.stat().st_size


@pytest.mark.anyio
async def test_without_the_setting_an_answer_is_one_text(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, save=True)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        task_id = await submitted(client, tmp_path)
        for tool in ("kling_get_task", "kling_save_video"):
            assert kinds(await client.call_tool(tool, {"task_id": task_id})) == ["text"]
        assert kinds(await client.call_tool(WAIT, {"task_ids": [task_id]})) == ["text"]


@pytest.mark.anyio
async def test_nothing_is_saved_for_a_poster(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, save=False, poster=True)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        task_id = await submitted(client, tmp_path)
        assert kinds(await client.call_tool("kling_get_task", {"task_id": task_id})) == ["text"]
        assert not (tmp_path / "videos").exists()


@pytest.mark.anyio
async def test_what_has_not_ended_or_lost_its_file_has_no_poster(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, save=True, poster=True)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        task_id = await submitted(client, tmp_path)
        await client.call_tool(WAIT, {"task_ids": [task_id]})
        (video,) = (tmp_path / "videos").glob("*.mp4")
        video.write_bytes(b"somebody else's")
        assert kinds(await client.call_tool("kling_get_task", {"task_id": task_id})) == ["text"]
        video.unlink()
        assert kinds(await client.call_tool("kling_get_task", {"task_id": task_id})) == ["text"]


@pytest.mark.anyio
async def test_an_answer_about_many_videos_carries_a_few_posters(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, save=True, poster=True)
    async with Client(build_server(settings)) as client:
        task_ids = [await submitted(client, tmp_path, take) for take in range(1, POSTERS + 2)]
        waited = await client.call_tool(WAIT, {"task_ids": task_ids})
        assert facts(waited)["done"]
        assert kinds(waited) == ["text", *["image", "resource_link"] * POSTERS]


@pytest.mark.parametrize("size", [(1920, 1080), (720, 1280), (300, 300)])
def test_the_noisiest_picture_fits(size: tuple[int, int]) -> None:
    noise = Image.effect_noise(size, 250)
    worst = Image.merge("RGB", [noise, noise.rotate(90, expand=False), noise.rotate(180)])
    data = _small_jpeg(worst)
    assert len(data) <= POSTER_BYTES
    with Image.open(io.BytesIO(data)) as poster:
        assert max(poster.size) >= 256

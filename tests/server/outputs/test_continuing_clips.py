"""Frames of tasks as resources and as pictures: the next clip begins where the last one ended."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import av
import pytest
from httpx import ByteStream, Request, Response
from mcp import Client, MCPError
from mcp_types import BlobResourceContents, CallToolResult
from PIL import Image
from tests.made_clips import make_clip
from tests.server.scripted import CREATE, Scripted, ends, ends_with_video, facts, talking_to
from tests.server.serving import SIDE_PX, no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server

COMBINE = "kling_multi_image_to_video"
WAIT = "kling_wait_for_tasks"


async def read(client: Client, uri: str) -> tuple[str | None, bytes]:
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, BlobResourceContents)
    return content.mime_type, base64.b64decode(content.blob)


async def finished(client: Client, folder: Path, **more: Any) -> str:
    """The id of a task that has ended."""
    wish = {"image": picture(folder), "prompt": "Zoom", **more}
    made = facts(await client.call_tool(CREATE, wish))
    waited = facts(await client.call_tool(WAIT, {"task_ids": [made["task_id"]]}))
    assert waited["done"]
    task_id: str = made["task_id"]
    return task_id


def last_decoded(video: Path) -> bytes:
    with av.open(str(video)) as container:
        return [frame.to_image().tobytes() for frame in container.decode(video=0)][-1]


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB"
        return image.tobytes()


def fault(result: CallToolResult) -> str:
    assert result.is_error
    text: str = result.content[0].text  # type: ignore[union-attr]
    assert "nothing was sent or charged" in text
    return text


@pytest.mark.anyio
async def test_the_last_frame_is_a_png_of_exactly_what_the_video_ends_with(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        task_id = await finished(client, tmp_path)
        kind, data = await read(client, f"kling://tasks/{task_id}/frames/last")
        (video,) = (tmp_path / "videos").glob("*.mp4")
        assert kind == "image/png"
        assert pixels(data) == last_decoded(video)
        assert await read(client, f"kling://tasks/{task_id}/frames/last") == (kind, data)
        first = await read(client, f"kling://tasks/{task_id}/frames/first")
        assert await read(client, f"kling://tasks/{task_id}/frames/0.0") == first
        assert first != (kind, data)


@pytest.mark.anyio
async def test_the_contact_sheet_is_a_jpeg_of_the_whole_video(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        task_id = await finished(client, tmp_path)
        kind, data = await read(client, f"kling://tasks/{task_id}/contact-sheet")
        with Image.open(io.BytesIO(data)) as sheet:
            assert (kind, sheet.format) == ("image/jpeg", "JPEG")
            assert sheet.width > 4 * 300


@pytest.mark.anyio
async def test_a_clip_is_continued_with_one_call_that_is_paid_once(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_side_px=SIDE_PX)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        task_id = await finished(client, tmp_path, external_task_id="scene-1")
        wish = {"image": f"kling://tasks/{task_id}/frames/last", "prompt": "She walks on"}
        made = facts(await client.call_tool(CREATE, wish))
        assert made["pictures"] == [f"image: last frame of {task_id} 400x300"]
        again = facts(await client.call_tool(CREATE, wish))
        wish["image"] = "kling://tasks/scene-1/frames/last"
        by_external_id = facts(await client.call_tool(CREATE, wish))
        assert again["repeated"]
        assert again["task_id"] == by_external_id["task_id"] == made["task_id"] != task_id
        wish["image"] = "kling://tasks/scene-1/frames/first"
        assert facts(await client.call_tool(CREATE, wish))["task_id"] != made["task_id"]


@pytest.mark.anyio
async def test_what_is_sent_is_the_frame_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "made.mp4", frames=30, size=(400, 300)).read_bytes()
    sent: list[dict[str, Any]] = []
    answer = ends_with_video("https://files.example/a.mp4")

    def api(request: Request) -> Response:
        if request.method == "POST":
            sent.append(json.loads(request.read()))
        return answer(request)

    provider = Scripted(api, lambda _: Response(200, stream=ByteStream(clip)))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        frame = f"kling://tasks/{task_id}/frames/"
        wish = {"image": frame + "last", "image_tail": frame + "0.5", "mode": "pro", "prompt": "On"}
        made = await client.call_tool(CREATE, {**wish, "model_name": "kling-v2-5-turbo"})
        assert not made.is_error, made.content
        assert len(sent) == 2
        assert len(provider.asked) == 1
        assert pixels(base64.b64decode(sent[1]["image"])) == last_decoded(tmp_path / "made.mp4")
        assert base64.b64decode(sent[1]["image_tail"]) == (await read(client, frame + "0.5"))[1]


@pytest.mark.anyio
async def test_several_pictures_can_be_frames(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_side_px=SIDE_PX)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        task_id = await finished(client, tmp_path)
        pictures = [f"kling://tasks/{task_id}/frames/{at}" for at in ("first", "2.5")]
        made = await client.call_tool(COMBINE, {"image_list": pictures, "prompt": "Both"})
        assert [text.partition(": ")[2] for text in facts(made)["pictures"]] == [
            f"first frame of {task_id} 400x300",
            f"frame at 2.5 s of {task_id} 400x300",
        ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("frames/7", "The video is 5"),
        ("frames/middle", "give first, last or seconds"),
        ("frames/-1", "give first, last or seconds"),
        ("frames", "kling://tasks/{id}/frames/last"),
        ("video", "kling://tasks/{id}/frames/last"),
    ],
)
async def test_a_frame_that_is_not_there_is_told_before_anything_is_sent(
    tmp_path: Path, which: str, says: str
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        task_id = await finished(client, tmp_path)
        wish = {"image": f"kling://tasks/{task_id}/{which}", "prompt": "On"}
        assert says.format(id=task_id) in fault(await client.call_tool(CREATE, wish))
        assert len(facts(await client.call_tool("kling_list_tasks", {}))["tasks"]) == 1


@pytest.mark.anyio
async def test_a_task_that_runs_or_failed_has_no_frame(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_render_s=3600)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        task_id = facts(await client.call_tool(CREATE, wish))["task_id"]
        wish["image"] = f"kling://tasks/{task_id}/frames/last"
        told = fault(await client.call_tool(CREATE, wish))
        assert "there is no video yet" in told
        assert "kling_wait_for_tasks" in told
        with pytest.raises(MCPError, match="no video yet"):
            await client.read_resource(f"kling://tasks/{task_id}/frames/last")


@pytest.mark.anyio
async def test_a_failed_task_and_an_unknown_one_have_no_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(ends(task_status="failed", task_status_msg="risk control"))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        wish = {"image": f"kling://tasks/{task_id}/frames/last", "prompt": "Zoom"}
        assert "failed, there is no video" in fault(await client.call_tool(CREATE, wish))
        with pytest.raises(MCPError, match="failed, there is no video"):
            await client.read_resource(f"kling://tasks/{task_id}/contact-sheet")


@pytest.mark.anyio
async def test_a_task_that_nobody_knows_has_no_frame(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        wish = {"image": "kling://tasks/nothing/frames/last", "prompt": "Zoom"}
        assert "no such task" in fault(await client.call_tool(CREATE, wish))


@pytest.mark.anyio
async def test_a_file_that_was_deleted_is_saved_again_for_its_frame(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, save=True)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        task_id = await finished(client, tmp_path)
        address = f"kling://tasks/{task_id}/frames/last"
        before = await read(client, address)
        (video,) = (tmp_path / "videos").glob("*.mp4")
        video.unlink()
        assert await read(client, address) == before


@pytest.mark.anyio
async def test_a_video_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(ends_with_video("https://files.example/a.mp4"), lambda _: Response(404))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        wish = {"image": f"kling://tasks/{task_id}/frames/last", "prompt": "Zoom"}
        assert "404" in fault(await client.call_tool(CREATE, wish))


@pytest.mark.anyio
async def test_a_video_made_elsewhere_can_be_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "made.mp4", frames=30, size=(400, 300)).read_bytes()
    answer = ends_with_video("https://files.example/a.mp4")
    provider = Scripted(answer, lambda _: Response(200, stream=ByteStream(clip)))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        _, data = await read(client, "kling://tasks/t-1/frames/last")
        assert pixels(data) == last_decoded(tmp_path / "made.mp4")

"""Pictures are made, saved whole, looked at and used like videos, and their units stand apart."""

import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import BlobResourceContents, ImageContent
from PIL import Image
from tests.server.scripted import Scripted, ends, facts, talking_to
from tests.server.serving import hurried, picture, sandbox_settings, tasks_of, virtual_time

from kling_mcp.protocol.server import build_server

pytestmark = [pytest.mark.anyio, virtual_time]

MAKE = "kling_generate_image"
WISH = {"prompt": "A lighthouse in a storm"}
FILES = "https://files.klingai.com"


@asynccontextmanager
async def client(folder: Path, **more: Any) -> AsyncIterator[Client]:
    settings = sandbox_settings(folder, **more)
    async with Client(build_server(settings, **hurried())) as connected:
        yield connected


async def made(connected: Client, **wish: Any) -> str:
    """The id of a task that has ended well."""
    receipt = await connected.call_tool(MAKE, WISH | wish)
    assert not receipt.is_error, receipt.content
    task = str(facts(receipt)["task_id"])
    ended = await connected.call_tool("kling_wait_for_tasks", {"task_ids": [task]})
    assert [view["status"] for view in facts(ended)["tasks"]] == ["succeed"]
    return task


def bytes_of(kind: str, size: tuple[int, int] = (640, 360), colour: str = "teal") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def drawn(*pictures: bytes) -> Scripted:
    """Kling's own API, whose task made these pictures."""
    images = [{"index": n, "url": f"{FILES}/{n}.png"} for n in range(len(pictures))]

    def file(request: httpx.Request) -> httpx.Response:
        number = int(request.url.path[1:].removesuffix(".png"))
        return httpx.Response(200, stream=httpx.ByteStream(pictures[number]))

    return Scripted(ends(task_status="succeed", task_result={"images": images}), file)


async def test_several_pictures_are_saved_numbered_and_whole(tmp_path: Path) -> None:
    async with client(tmp_path) as connected:
        task = await made(connected, n=3, aspect_ratio="9:16")
        saved = facts(await connected.call_tool("kling_save_video", {"task_id": task}))

    paths = [saved["path"], *(each["path"] for each in saved["more"])]
    assert [Path(path).name for path in paths] == [
        f"a-lighthouse-in-a-storm-{task}-{number}.png" for number in (1, 2, 3)
    ]
    for path in paths:
        with Image.open(path) as opened:
            opened.load()
            assert opened.format == "PNG"
            assert opened.width / opened.height == pytest.approx(9 / 16, rel=0.02)
    assert len({each["sha256"] for each in (saved, *saved["more"])}) == 3


async def test_one_picture_has_no_number_and_moves_to_the_name_that_is_asked_for(
    tmp_path: Path,
) -> None:
    async with client(tmp_path) as connected:
        task = await made(connected)
        save = {"task_id": task}
        first = facts(await connected.call_tool("kling_save_video", save))
        moved = facts(await connected.call_tool("kling_save_video", save | {"path": "house"}))
        wrong = await connected.call_tool("kling_save_video", save | {"path": "house.mp4"})

    assert Path(first["path"]).name == f"a-lighthouse-in-a-storm-{task}.png"
    assert Path(moved["path"]).name == "house.png"
    assert not Path(first["path"]).exists()
    assert "pictures are PNG or JPEG files" in facts(wrong)["message"]
    assert "Give house.png" in facts(wrong)["next"]


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp")])
async def test_a_picture_is_named_by_its_real_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
) -> None:
    async with talking_to(drawn(bytes_of(kind)), tmp_path, monkeypatch) as connected:
        await connected.call_tool(MAKE, WISH)
        saved = facts(await connected.call_tool("kling_save_video", {"task_id": "t-1"}))

    assert Path(saved["path"]).suffix == suffix
    assert saved["codec"].upper() == kind


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"<html>not found</html>", "an HTML page"),
        (bytes_of("PNG")[:-40], "cut short or damaged"),
        (b"", "empty"),
    ],
)
async def test_what_is_no_whole_picture_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes, says: str
) -> None:
    async with talking_to(drawn(sent), tmp_path, monkeypatch) as connected:
        await connected.call_tool(MAKE, WISH)
        refused = await connected.call_tool("kling_save_video", {"task_id": "t-1"})

    assert refused.is_error
    assert "is not a whole picture" in facts(refused)["message"]
    assert says in facts(refused)["message"]
    assert [path for path in (tmp_path / "videos").rglob("*") if path.is_file()] == []


async def test_a_missing_picture_of_several_is_fetched_again(tmp_path: Path) -> None:
    async with client(tmp_path) as connected:
        task = await made(connected, n=2)
        saved = facts(await connected.call_tool("kling_save_video", {"task_id": task}))
        second = Path(saved["more"][0]["path"])
        kept = second.read_bytes()
        second.unlink()
        view = facts(await connected.call_tool("kling_get_task", {"task_id": task}))
        again = facts(await connected.call_tool("kling_save_video", {"task_id": task}))

    assert "path" not in view
    assert Path(again["more"][0]["path"]).read_bytes() == kept
    assert again["path"] == saved["path"]


async def test_a_picture_is_taken_wherever_a_picture_is(tmp_path: Path) -> None:
    async with client(tmp_path) as connected:
        task = await made(connected, n=2)
        address = f"kling://tasks/{task}/images/2"
        video = await connected.call_tool(
            "kling_image_to_video", {"image": address, "prompt": "Waves"}
        )
        both = await connected.call_tool(
            "kling_multi_image_to_video", {"image_list": [address, picture(tmp_path)], **WISH}
        )
        edited = await connected.call_tool(MAKE, {"prompt": "At night", "image_list": [address]})
        no_such = await connected.call_tool(
            "kling_image_to_video",
            {"image": f"kling://tasks/{task}/images/3", "prompt": "Waves"},
        )
        no_frames = await connected.call_tool(
            "kling_image_to_video",
            {"image": f"kling://tasks/{task}/frames/last", "prompt": "Waves"},
        )

    assert facts(video)["pictures"] == [f"image: picture 2 of {task} 1368x768"]
    assert not both.is_error
    assert facts(edited)["pictures"] == [f"image_list[0]: picture 2 of {task} 1368x768"]
    assert "has 2 pictures, none with the number 3" in facts(no_such)["faults"][0]["message"]
    assert f"kling://tasks/{task}/images/1" in facts(no_frames)["faults"][0]["message"]


async def test_a_picture_is_a_resource_and_a_video_of_it_is_none(tmp_path: Path) -> None:
    async with client(tmp_path) as connected:
        task = await made(connected)
        (read,) = (await connected.read_resource(f"kling://tasks/{task}/images/1")).contents
        with pytest.raises(MCPError, match="makes pictures"):
            await connected.read_resource(f"kling://tasks/{task}/video")
        with pytest.raises(MCPError, match="none with the number 2"):
            await connected.read_resource(f"kling://tasks/{task}/images/2")

    assert isinstance(read, BlobResourceContents)
    assert read.mime_type == "image/png"
    with Image.open(io.BytesIO(base64.b64decode(read.blob))) as opened:
        assert opened.format == "PNG"


async def test_a_look_shows_all_pictures_and_how_much_they_are_like_the_one_that_was_given(
    tmp_path: Path,
) -> None:
    async with client(tmp_path) as connected:
        photo = picture(tmp_path)
        task = await made(connected, n=2, image_list=[photo], aspect_ratio="4:3")
        alone = await made(connected)
        look = await connected.call_tool("kling_look", {"task_id": task})
        second = await connected.call_tool("kling_look", {"task_id": task, "at": ["2"]})
        other = await connected.call_tool("kling_look", {"task_id": alone, "image": photo})
        third = await connected.call_tool("kling_look", {"task_id": task, "at": ["3"]})

    seen = facts(look)
    assert seen["findings"] == []
    assert [each["format"] for each in seen["seen"]] == ["PNG", "PNG"]
    assert all(each["like"] > 0.8 for each in seen["seen"])
    assert seen["shows"] == "2 pictures; image_list[0] beside them"
    assert facts(other)["seen"][0]["like"] < 0.8
    assert facts(second)["shows"].startswith("1 picture;")
    assert "no other than 1 to 2" in facts(third)["message"]
    (shown,) = (part for part in look.content if isinstance(part, ImageContent))
    with Image.open(io.BytesIO(base64.b64decode(shown.data))) as sheet:
        assert sheet.width > sheet.height


async def test_a_look_says_what_is_not_as_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    black, tall = bytes_of("PNG", colour="black"), bytes_of("PNG", (360, 640))
    async with talking_to(drawn(black, tall), tmp_path, monkeypatch) as connected:
        await connected.call_tool(MAKE, WISH | {"n": 3})
        look = facts(await connected.call_tool("kling_look", {"task_id": "t-1"}))

    found = {finding["kind"]: finding["says"] for finding in look["findings"]}
    assert found == {
        "count": "It has 2 pictures; 3 were asked for.",
        "black": "Picture 1 is black.",
        "shape": "Picture 2 is 360x640; 16:9 was asked for.",
    }
    assert "image units" in look["findings"][0]["next"]


async def test_a_list_and_the_account_keep_image_units_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking_to(drawn(bytes_of("PNG")), tmp_path, monkeypatch) as connected:
        await connected.call_tool(MAKE, WISH)
        await connected.call_tool("kling_get_task", {"task_id": "t-1"})
        listed = facts(await connected.call_tool("kling_list_tasks", {}))
        account = facts(await connected.call_tool("kling_account", {}))

    assert listed["total"] == {"tasks": 1, "image_units": 8.0, "image_usd": 0.03}
    (task,) = tasks_of(listed)
    assert "videos" not in task
    today = next(spent for spent in account["spent"] if spent["span"] == "today")
    assert (today["videos"], today["pictures"], today["image_units"]) == (0, 1, 8.0)
    assert today["units"] == 0


@pytest.mark.parametrize(
    ("settings", "wish", "says"),
    [
        ({}, {"max_units": 10, "n": 2}, "16 image units (0.06 USD list price); max_units is 10"),
        (
            {"max_units_per_task": 0.3},
            {"n": 2},
            "which counts as 0.4 units; the cap for one video (KLING_MCP_MAX_UNITS_PER_TASK) is",
        ),
        ({"max_usd_per_task": 0.05}, {"n": 2}, "0.06 USD (0.0035 USD an image unit"),
        ({"max_units_per_day": 0.3}, {"n": 2}, "would cost 0.4 (16 image units)"),
        ({"max_usd_per_day": 0.05}, {"n": 2}, "about 0.06 USD"),
    ],
)
async def test_each_cap_holds_for_pictures_at_their_own_price(
    tmp_path: Path, settings: dict[str, Any], wish: dict[str, Any], says: str
) -> None:
    async with client(tmp_path, **settings) as connected:
        within = await connected.call_tool(MAKE, WISH)
        over = await connected.call_tool(MAKE, WISH | wish)
        dry = facts(await connected.call_tool(MAKE, WISH | wish | {"dry_run": True}))

    assert not within.is_error, within.content
    assert over.is_error
    assert says in facts(over)["message"]
    assert says in dry["faults"][0]["message"]


async def test_pictures_in_a_row_do_not_use_up_the_units_for_videos(tmp_path: Path) -> None:
    async with client(tmp_path, max_units_per_day=2.0) as connected:
        for take in range(1, 3):
            made_one = await connected.call_tool(MAKE, WISH | {"take": take})
            assert not made_one.is_error, made_one.content
        video = await connected.call_tool(
            "kling_image_to_video", {"image": picture(tmp_path), "prompt": "Waves"}
        )
        second = await connected.call_tool(
            "kling_image_to_video", {"image": picture(tmp_path), "prompt": "Storm"}
        )

    assert not video.is_error, video.content
    assert "The day's cap is 2 units; 1.9 of the sandbox's" in facts(second)["message"]

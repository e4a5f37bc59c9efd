"""Pictures as phones and programs write them just work, and the receipt says what was sent."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from PIL import Image
from tests.server.scripted import CREATE, facts, words
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

SEVERAL = "kling_multi_image_to_video"
UPRIGHT_BY = 6
"""EXIF's orientation of a picture that a phone took while it was held upright."""


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        yield client


def heic(folder: Path, size: tuple[int, int] = (960, 1280)) -> str:
    heif = pytest.importorskip("pillow_heif")
    path = folder / "IMG_0042.HEIC"
    photo = heif.from_pillow(Image.new("RGB", size, "green"))
    photo.save(path, enc_params={"preset": "ultrafast"})
    return str(path)


def turned_jpeg(folder: Path, size: tuple[int, int] = (1280, 720)) -> str:
    """Stored lying, shown standing; its upper half is red then."""
    exif = Image.Exif()
    exif[0x0112] = UPRIGHT_BY
    image = Image.new("RGB", size, "blue")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    image.save(folder / "phone.jpg", exif=exif, quality=95)
    return str(folder / "phone.jpg")


async def ok(client: Client, tool: str = CREATE, **arguments: Any) -> tuple[dict[str, Any], str]:
    result = await client.call_tool(tool, {"prompt": "Zoom", **arguments})
    assert not result.is_error, words(result)
    return facts(result), words(result)


async def refused(client: Client, **arguments: Any) -> list[dict[str, str]]:
    result = await client.call_tool(CREATE, {"prompt": "Zoom", **arguments})
    assert result.is_error, words(result)
    faults: list[dict[str, str]] = facts(result)["faults"]
    return faults


def sent(folder: Path) -> Image.Image:
    """The picture that arrived at the sandbox last."""
    files = [path for path in (folder / "home" / "sandbox").rglob("*") if path.is_file()]
    pictures = [path for path in files if path.read_bytes()[:2] in (b"\xff\xd8", b"\x89P")]
    return Image.open(io.BytesIO(max(pictures, key=lambda p: p.stat().st_mtime_ns).read_bytes()))


async def test_a_heic_of_a_phone_is_sent_as_a_jpeg(client: Client, tmp_path: Path) -> None:
    receipt, text = await ok(client, image=heic(tmp_path))

    assert receipt["pictures"] == ["image: IMG_0042.HEIC, sent as JPEG 960x1280 from HEIC"]
    assert receipt["video"] == "720p, 3:4"
    assert "warnings" not in receipt
    assert "sent as JPEG 960x1280 from HEIC. Video: 720p, 3:4." in text
    assert (sent(tmp_path).format, sent(tmp_path).size) == ("JPEG", (960, 1280))


async def test_a_photo_arrives_as_its_owner_sees_it(client: Client, tmp_path: Path) -> None:
    receipt, _ = await ok(client, image=turned_jpeg(tmp_path), mode="pro")

    assert receipt["pictures"] == ["image: phone.jpg, sent as JPEG 720x1280, turned upright"]
    assert receipt["video"] == "1080x1920"
    arrived = sent(tmp_path).convert("RGB")
    assert arrived.size == (720, 1280)
    assert arrived.getpixel((360, 100))[0] > 200 > arrived.getpixel((360, 1200))[0]


async def test_the_setting_turns_conversion_off(tmp_path: Path) -> None:
    off = sandbox_settings(tmp_path, fix_images=False)
    async with Client(build_server(off, sleep=no_sleep)) as client:
        (fault,) = await refused(client, image=heic(tmp_path))
        receipt, _ = await ok(client, image=turned_jpeg(tmp_path))

    assert "KLING_MCP_FIX_IMAGES=false removed" in fault["use"]
    assert receipt["pictures"] == ["image: phone.jpg 720x1280"]
    assert sent(tmp_path).size == (1280, 720)


async def test_every_picture_of_a_scene_is_converted(client: Client, tmp_path: Path) -> None:
    given = [heic(tmp_path), picture(tmp_path, "cat.webp"), picture(tmp_path, "dog.png")]

    receipt, _ = await ok(client, SEVERAL, image_list=given, aspect_ratio="9:16")

    assert receipt["pictures"] == [
        "image_list[0]: IMG_0042.HEIC, sent as JPEG 960x1280 from HEIC",
        "image_list[1]: cat.webp, sent as JPEG 640x480 from WebP",
        "image_list[2]: dog.png 640x480",
    ]
    assert receipt["video"] == "720x1280"


async def test_frames_are_cropped_to_the_ratio_that_is_asked_for(
    client: Client, tmp_path: Path
) -> None:
    first, last = picture(tmp_path), picture(tmp_path, "end.jpg", (1280, 720))

    receipt, _ = await ok(client, image=first, image_tail=last, mode="pro", fit="9:16")

    assert receipt["pictures"] == [
        "image: photo.png, sent as JPEG 300x533 from PNG, "
        "cropped to 9:16 from 640x480, enlarged from 270x480",
        "image_tail: end.jpg, sent as JPEG 405x720, cropped to 9:16 from 1280x720",
    ]
    assert receipt["video"] == "1080x1920"
    assert "not_sent" not in receipt


async def test_another_fit_is_another_video_and_the_same_fit_the_same(
    client: Client, tmp_path: Path
) -> None:
    wish = {"image": picture(tmp_path, size=(1600, 900))}

    plain, _ = await ok(client, **wish)
    cropped, _ = await ok(client, **wish, fit="1:1")
    padded, _ = await ok(client, **wish, fit="1:1 pad")
    again, _ = await ok(client, **wish, fit="1:1 crop")
    same_as_plain, _ = await ok(client, **wish, fit="16:9")
    take, _ = await ok(client, another_take_of=cropped["task_id"])

    assert len({receipt["task_id"] for receipt in (plain, cropped, padded, take)}) == 4
    assert (again["repeated"], again["task_id"]) == (True, cropped["task_id"])
    assert (same_as_plain["repeated"], same_as_plain["task_id"]) == (True, plain["task_id"])
    assert take["pictures"] == cropped["pictures"]


async def test_a_panorama_is_refused_with_the_fit_that_works(
    client: Client, tmp_path: Path
) -> None:
    wish = {"image": picture(tmp_path, size=(1500, 400))}

    (fault,) = await refused(client, **wish)
    receipt, _ = await ok(client, **wish, fit="16:9")

    assert fault["use"].startswith('fit "16:9" to have it cropped here')
    assert receipt["video"] == "1280x720"


async def test_a_url_is_not_fitted_and_nothing_else_than_a_ratio_is_a_fit(client: Client) -> None:
    url = "https://example.org/a.jpg"

    assert [fault["rule"] for fault in await refused(client, image=url, fit="1:1")] == [
        "fit_of_a_url"
    ]
    (fault,) = await refused(client, image=url, fit="4:3")
    assert (fault["field"], fault["rule"]) == ("fit", "literal_error")


async def test_a_look_holds_the_video_against_the_ratio_of_the_fit(
    client: Client, tmp_path: Path
) -> None:
    photo = picture(tmp_path)
    receipt, _ = await ok(client, image=photo, fit="9:16")
    task = receipt["task_id"]
    await client.call_tool("kling_wait_for_tasks", {"task_ids": [task]})

    looked = await client.call_tool("kling_look", {"task_id": task, "image": photo})

    assert not looked.is_error
    seen = facts(looked)
    assert seen["width"] < seen["height"]
    assert "shape" not in [finding["kind"] for finding in seen["findings"]]

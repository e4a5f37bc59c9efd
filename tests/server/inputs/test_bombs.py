"""Small files that decode into much take little memory and time, and keep nobody else waiting."""

import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp_types import TextContent
from PIL import Image
from tests.made_clips import make_clip
from tests.sampling import sampled
from tests.server import bombs
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.inputs.boxes import NotWholeMp4
from kling_mcp.inputs.decoding import Decoding, DecodingLimits
from kling_mcp.inputs.mp4 import check
from kling_mcp.inputs.opening import open_pictures
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.outputs.frames import moment_of, read_frame
from kling_mcp.protocol.server import build_server
from kling_mcp.providers.retries import TimeLimits
from kling_sandbox.film.canvas import Still
from kling_tools.errors import KlingError

pytestmark = pytest.mark.anyio

CREATE = "kling_image_to_video"
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
CHILD = Path(__file__).parents[1] / "bomb_child.py"


@pytest.mark.campaign
def test_bombs_take_no_more_memory_than_is_lent_for_decoding(tmp_path: Path) -> None:
    """All, or those that are quickly made."""
    clip = make_clip(tmp_path / "clip.mp4", frames=400, size=(16, 16))
    bombs.png(tmp_path / "small.png", 640, 480)
    bombs.png(tmp_path / "vast.png", 6000, 6000)
    bombs.png(tmp_path / "chunks.png", 640, 480, before=bombs.chunk(b"ruSt") * 190_000)
    bombs.jpeg_of_scans(tmp_path / "scans.jpg", 1000, 5000)
    bombs.zeros_behind_a_jpeg_head(tmp_path / "zeros.jpg", 2**30)
    bombs.tiff_of_one_long_tag(tmp_path / "tag.tiff", 20 * 2**30)
    bombs.tiff_of_one_vast_tile(tmp_path / "tile.tiff", 20_000)
    bombs.mp4_of_boxes(tmp_path / "boxes.mp4", 2_000_000)
    bombs.with_samples(tmp_path / "samples.mp4", clip, 60_000_000)
    fragments = make_clip(tmp_path / "fragments.mp4", options=FRAGMENTS)
    bombs.with_a_long_run(tmp_path / "run.mp4", fragments, 60_000_000)
    bombs.with_edits(tmp_path / "edits.mp4", clip, 60_000)
    bombs.flat(tmp_path / "vast.webp", "WEBP", 8000, lossless=True, method=0)
    bombs.flat(tmp_path / "vast.gif", "GIF", 6000)
    bombs.flat(tmp_path / "vast.jpg", "JPEG", 6000, progressive=True)
    bombs.vast_video(tmp_path / "vast.mp4", 6000, frames=1)

    told = subprocess.run(
        [sys.executable, str(CHILD), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    ).stdout

    seconds, megabytes = map(float, told.splitlines()[-1].split())
    assert megabytes < 150, told
    assert seconds < 120, told  # a minute and a half and gigabytes for several of them, before


@pytest.mark.parametrize("samples", [499_000, 501_000])
def test_a_video_may_claim_as_many_samples_as_a_long_one_has(samples: int, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    bombs.with_samples(tmp_path / "samples.mp4", clip, samples)

    if samples < 500_000:
        assert check(tmp_path / "samples.mp4").width == 64
    else:
        with pytest.raises(NotWholeMp4, match="claims more than 500,000 samples"):
            check(tmp_path / "samples.mp4")


def test_a_video_of_vast_frames_is_saved_and_has_no_frames_to_take(tmp_path: Path) -> None:
    vast = bombs.vast_video(tmp_path / "vast.mp4", 1000, frames=2)
    decoding = Decoding(DecodingLimits(decoded_bytes=20 * 2**20))

    assert (check(vast).width, check(vast).height) == (1000, 1000)
    with pytest.raises(KlingError, match="28 MB of memory once it is decoded, more than the 20 MB"):
        read_frame(vast, moment_of("last"), decoding)


def test_a_video_that_is_slow_to_decode_is_given_up(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")

    with pytest.raises(KlingError, match="takes more than 0 s to decode"):
        read_frame(clip, moment_of("last"), Decoding(DecodingLimits(video_s=0)))


def test_a_picture_too_vast_to_decode_becomes_a_card_in_the_sandbox(tmp_path: Path) -> None:
    large = Still(bombs.png(tmp_path / "large.png", 2000, 2000))

    assert large.load(300).size == (1500, 1500)
    assert large.load(300, most_pixels=1_000_000).size == (1280, 720)


def test_memory_is_waited_for_first_come_first_served() -> None:
    decoding = Decoding(DecodingLimits(decoded_bytes=100))
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with decoding.room(80):
            inside.set()
            leave.wait(60)
            order.append("first")

    def large() -> None:
        with decoding.room(100):
            order.append("large")

    first, second = threading.Thread(target=hold), threading.Thread(target=large)
    first.start()
    assert inside.wait(60)
    second.start()
    leave.set()
    first.join(60)
    second.join(60)

    assert order == ["first", "large"]
    with decoding.room(100):  # all of it was given back
        pass


def test_what_is_not_lent_in_time_is_told_and_cost_nothing() -> None:
    decoding = Decoding(DecodingLimits(decoded_bytes=100, wait_s=0))

    with (
        decoding.room(60),
        pytest.raises(KlingError, match="too many pictures") as busy,
        decoding.room(60),
    ):
        pass

    assert busy.value.charged == "no"


async def test_whoever_decodes_nothing_waits_for_no_picture(tmp_path: Path) -> None:
    limits = TimeLimits(decoding=Decoding(DecodingLimits(threads=1, wait_s=0.05)))
    server = build_server(sandbox_settings(tmp_path), sleep=no_sleep, limits=limits)
    leave = threading.Event()
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with Client(server) as client, anyio.create_task_group() as group:
        group.start_soon(limits.decoding.run, partial(leave.wait, 30))
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(60):
            listed = await client.call_tool("kling_list_tasks", {})
            by_url = await client.call_tool(CREATE, {**wish, "image": "https://example.org/a.jpg"})
            refused = await client.call_tool(CREATE, wish)
        leave.set()
        again = await client.call_tool(CREATE, wish)

    assert not listed.is_error
    assert not by_url.is_error
    assert refused.structured_content is not None
    assert refused.structured_content["charged"] == "no"
    (text,) = refused.content
    assert isinstance(text, TextContent)
    assert "Send the very same request again in a moment." in text.text
    assert not again.is_error


async def test_the_limits_hold_for_all_pictures_of_a_process_together(tmp_path: Path) -> None:
    """Eight conversions at once, in the memory of two."""
    decoding = Decoding(DecodingLimits(decoded_bytes=2 * 21 * 400 * 400, threads=4))
    policy = PicturePolicy((tmp_path,), fix=True, decoding=decoding)
    paths = []
    for number in range(8):
        path = tmp_path / f"{number}.webp"
        Image.new("RGB", (400, 400), (number, 0, 0)).save(path, "WEBP")
        paths.append(str(path))

    async def convert(path: str) -> None:
        pictures, verdict = await open_pictures([("image", path)], policy)
        assert verdict.faults == []
        for one in filter(None, pictures):
            one.close()

    async with anyio.create_task_group() as group:
        for path in paths:
            group.start_soon(convert, path)
    with decoding.room(decoding.limits.decoded_bytes):
        pass


@pytest.mark.parametrize(
    ("name", "rule"),
    sampled(
        [
            ("chunks.png", "image_unreadable"),
            ("scans.jpg", "image_damaged"),
            ("tag.tiff", "image_unreadable"),
            ("tile.tiff", "image_pixels"),
            ("zeros.jpg", "image_unreadable"),
            ("vast.webp", "image_pixels"),
        ],
        2,
    ),
)
async def test_a_picture_that_keeps_a_decoder_busy_is_refused(
    name: str, rule: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    {
        "chunks.png": lambda: bombs.png(path, 640, 480, before=bombs.chunk(b"ruSt") * 11_000),
        "scans.jpg": lambda: bombs.jpeg_of_scans(path, 400, 100),
        "tag.tiff": lambda: bombs.tiff_of_one_long_tag(path, 20 * 2**30),
        "tile.tiff": lambda: bombs.tiff_of_one_vast_tile(path, 20_000),
        "zeros.jpg": lambda: bombs.zeros_behind_a_jpeg_head(path, 2**30),
        "vast.webp": lambda: bombs.flat(path, "WEBP", 8000, lossless=True, method=0),
    }[name]()

    policy = PicturePolicy((tmp_path,), fix=True)
    (opened,), verdict = await open_pictures([("image", str(path))], policy)

    assert opened is None
    assert [fault.rule for fault in verdict.faults] == [rule]

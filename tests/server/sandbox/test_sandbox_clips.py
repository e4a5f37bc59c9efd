"""The videos of finished tasks: their addresses, their files, and who makes them when."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import av
import pytest

from kling_sandbox import ConnectionDropped
from kling_sandbox.clips import script_of
from kling_sandbox.film import camera as moves
from kling_sandbox.film import script
from kling_sandbox.orders import SHORT_SIDE_PX, CameraControl, Order, Picture
from kling_sandbox.pictures import PictureFiles

pytestmark = pytest.mark.anyio


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in list(SHORT_SIDE_PX):
        monkeypatch.setitem(SHORT_SIDE_PX, mode, 144)


async def finished(caller: Any, clock: Any, **fields: Any) -> dict[str, Any]:
    created = await caller.created(**({"duration": "3"} | fields))
    clock.now += 10
    task = await caller.task(created["task_id"])
    video: dict[str, Any] = task["task_result"]["videos"][0]
    return video


async def test_a_finished_task_gives_a_real_video_of_the_picture(
    open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox()
    video = await finished(caller, clock, sound="on")
    answer = await caller.http.get(video["url"])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert int(answer.headers["content-length"]) == len(answer.content)
    with av.open(io.BytesIO(answer.content), "r") as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (960, 720)
        assert len(container.streams.audio) == 1
        assert container.duration is not None
        assert str(container.duration // 1000 / 1000) == video["duration"] == "3.041"


@pytest.mark.usefixtures("small")
async def test_a_clip_is_made_when_first_asked_for_and_kept(
    open_sandbox: Any, clock: Any, tmp_path: Path
) -> None:
    caller = await open_sandbox()
    video = await finished(caller, clock, watermark_info={"enabled": True})
    assert not (tmp_path / "home" / "clips").exists()
    first = await caller.http.get(video["url"])
    (made,) = (tmp_path / "home" / "clips").iterdir()
    stamp = made.stat().st_mtime_ns
    second = await (await open_sandbox()).http.get(video["watermark_url"])
    assert first.content == second.content
    assert made.stat().st_mtime_ns == stamp


@pytest.mark.usefixtures("small")
async def test_two_videos_of_the_same_wish_can_be_told_apart(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox()
    takes = [await finished(caller, clock), await finished(caller, clock)]
    files = [(await caller.http.get(take["url"])).content for take in takes]
    assert files[0] != files[1]


@pytest.mark.usefixtures("small")
async def test_many_who_ask_at_once_get_one_film_and_the_loop_goes_on(
    open_sandbox: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await open_sandbox()
    video = await finished(caller, clock)
    films: list[Path] = []
    order: list[str] = []
    really = script.Script.film

    def film(self: script.Script, path: Path) -> None:
        films.append(path)
        really(self, path)

    monkeypatch.setattr(script.Script, "film", film)

    async def download() -> None:
        assert (await caller.http.get(video["url"])).status_code == 200
        order.append("video")

    async def query() -> None:
        await caller.http.get("/v1/videos/image2video")
        order.append("list")

    async with anyio.create_task_group() as group:
        for job in (download, download, download, query):
            group.start_soon(job)
    assert len(films) == 1
    assert order == ["list", "video", "video", "video"]


@pytest.mark.usefixtures("small")
async def test_an_address_holds_until_it_expires(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox(url_ttl_s=3600)
    video = await finished(caller, clock)
    clock.now += 3500
    assert (await caller.http.get(video["url"])).status_code == 200
    clock.now += 100
    answer = await caller.http.get(video["url"])
    assert answer.status_code == 403
    assert "<Code>AccessDenied</Code>" in answer.text


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Expires=1", "Expires=2"),
        ("&sig=", "&sig=0"),
        ("&sig=", "&other="),
        ("-0_raw_", "-0_watermark_"),
        ("/image2video/", "/omni-video/"),
        ("Expires=", "Expires=x"),
        ("?", "?nothing="),
    ],
)
async def test_a_forged_address_is_403(open_sandbox: Any, clock: Any, old: str, new: str) -> None:
    caller = await open_sandbox()
    video = await finished(caller, clock)
    forged = video["url"].replace(old, new, 1)
    assert forged != video["url"]
    assert (await caller.http.get(forged)).status_code == 403


@pytest.mark.usefixtures("small")
async def test_a_download_resumes_where_it_broke_off(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox()
    video = await finished(caller, clock)
    whole = await caller.http.get(video["url"])
    rest = await caller.http.get(
        video["url"], headers={"Range": "bytes=1000-", "If-Range": whole.headers["etag"]}
    )
    assert rest.status_code == 206
    assert rest.content == whole.content[1000:]
    size = len(whole.content)
    assert rest.headers["content-range"] == f"bytes 1000-{size - 1}/{size}"
    beyond = await caller.http.get(video["url"], headers={"Range": f"bytes={size}-"})
    assert beyond.status_code == 416


@pytest.mark.usefixtures("small")
async def test_a_video_needs_no_key_and_a_key_that_is_sent_is_noted(
    open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox()
    video = await finished(caller, clock)
    await caller.http.get(video["url"])
    del caller.http.headers["Authorization"]
    assert (await caller.http.get(video["url"])).status_code == 200
    requests = caller.store.counts().requests
    assert requests["downloads"] == 2
    assert requests["downloads_with_authorization"] == 1


@pytest.mark.usefixtures("small")
async def test_a_video_cut_short_breaks_the_connection(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox("video-cut-short:1")
    video = await finished(caller, clock)
    with pytest.raises(ConnectionDropped) as broken:
        await caller.http.get(video["url"])
    assert broken.value.answered
    assert (await caller.http.get(video["url"])).status_code == 200


async def test_a_video_is_not_there_before_its_task_has_ended(
    open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox()
    video = await finished(caller, clock)
    clock.now -= 10
    assert (await caller.http.get(video["url"])).status_code == 404


ORDER = Order("image2video", "kling-v3", "std", 5, prompt="wind")
HERE = Picture(name="abc.png", width=400, height=300)
AWAY = Picture(url="https://example.com/cat.png")


def test_a_script_follows_the_order(tmp_path: Path) -> None:
    pictures = PictureFiles(tmp_path)
    one = script_of(replace(ORDER, pictures=(HERE,), mode="4k", sound=True, tail=HERE), pictures)
    assert (one.seconds, one.short_side, one.sound, one.ratio) == (5, 2160, True, None)
    assert one.stills[0].path == one.tail.path == tmp_path / "abc.png"  # type: ignore[union-attr]
    shots = script_of(replace(ORDER, pictures=(HERE,), shots=(2, 3)), pictures)
    assert shots.shots == (2, 3)
    away = script_of(replace(ORDER, pictures=(AWAY,)), pictures)
    assert away.stills[0].path is None
    assert away.stills[0].words == AWAY.url
    words = script_of(replace(ORDER, aspect_ratio=1.0), pictures)
    assert (words.stills, words.words) == ((), ("wind",))
    parts = script_of(replace(ORDER, shots=(2, 3), lines=("wind", "rain")), pictures)
    assert parts.words == ("wind", "rain")
    cut = script_of(replace(ORDER, shots=(2, 3)), pictures)
    assert cut.words == ("wind", "wind")
    end = script_of(replace(ORDER, tail=HERE), pictures)
    assert end.stills == ()


@pytest.mark.parametrize(
    ("camera", "move"),
    [
        (None, None),
        (CameraControl("simple", "pan", -3.0), moves.simple_move("pan", -3)),
        (CameraControl("down_back"), moves.named_move("down_back")),
    ],
)
def test_the_camera_of_the_order_moves_the_film(tmp_path: Path, camera: Any, move: Any) -> None:
    order = replace(ORDER, pictures=(HERE,), camera=camera)
    assert script_of(order, PictureFiles(tmp_path)).move == move


async def test_clips_can_be_kept_small_and_are_made_faster(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox(side_px=300)
    answer = await caller.http.get((await finished(caller, clock))["url"])
    with av.open(io.BytesIO(answer.content), "r") as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (400, 300)

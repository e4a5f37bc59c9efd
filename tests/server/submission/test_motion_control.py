"""A figure moves as in a video: priced by its length, sent once, and seen in the sandbox."""

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from mcp import Client
from PIL import Image, ImageDraw
from tests.made_clips import make_film
from tests.server.scripted import Scripted, ends, facts, is_create, talking_to, task, words
from tests.server.serving import hurried, picture, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server

pytestmark = [pytest.mark.anyio, virtual_time]

TOOL = "kling_motion_control"
URL = "https://host.example/dance.mp4"
SIZE = (400, 360)


def dance(folder: Path, seconds: float = 4, name: str = "dance.mp4", sound: float = 0.4) -> str:
    """A clip in which a ball goes from the left to the right and back; its path."""
    count = round(24 * seconds)
    frames = []
    for number in range(count):
        frame = Image.new("RGB", SIZE, (20, 30, 50))
        x = SIZE[0] * (0.5 - 0.4 * math.cos(2 * math.pi * number / count))
        ball = (x - 40, SIZE[1] / 2 - 40, x + 40, SIZE[1] / 2 + 40)
        ImageDraw.Draw(frame).ellipse(ball, fill=(240, 220, 120))
        frames.append(frame)
    return str(make_film(folder / name, frames, loudness=sound))


def figure(folder: Path) -> str:
    """A white picture on which a red figure stands; its path."""
    drawn = Image.new("RGB", (400, 500), "white")
    ImageDraw.Draw(drawn).rectangle((150, 60, 250, 460), fill="red")
    path = folder / "girl.png"
    drawn.save(path)
    return str(path)


@asynccontextmanager
async def served(folder: Path, **more: Any) -> AsyncIterator[Client]:
    async with Client(build_server(sandbox_settings(folder, **more), **hurried())) as client:
        yield client


async def made(client: Client, **wish: Any) -> dict[str, Any]:
    result = await client.call_tool(TOOL, wish)
    assert not result.is_error, words(result)
    return facts(result)


async def saved(client: Client, task_id: str) -> dict[str, Any]:
    result = await client.call_tool("kling_save_video", {"task_id": task_id})
    assert not result.is_error, words(result)
    return facts(result)


def red_places(path: str) -> list[float]:
    """Where the red figure stands in each frame, from 0 (left) to 1."""
    places = []
    with av.open(path) as container:
        for frame in container.decode(video=0):
            small = frame.reformat(width=48, height=60, format="rgb24")
            line, plane = small.planes[0].line_size, bytes(small.planes[0])
            red = [
                x
                for y in range(48)  # without the small picture of the motion and the mark below
                for x in range(48)
                if plane[y * line + 3 * x] > 150 and plane[y * line + 3 * x + 1] < 90
            ]
            places.append(sum(red) / len(red) / 48 if red else 0.5)
    return places


async def test_the_figure_goes_where_the_motion_goes_and_keeps_its_sound(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        receipt = await made(client, image=figure(tmp_path), video=dance(tmp_path))
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})
        file = await saved(client, receipt["task_id"])

    assert (file["duration_s"], file["audio"]) == (4.0, True)
    assert file["width"] / file["height"] == pytest.approx(400 / 500, abs=0.02)
    places = red_places(file["path"])
    assert len(places) == 96
    assert places[48] > places[8] + 0.15
    assert places[48] > places[95] + 0.15


async def test_the_sound_of_the_motion_can_be_left_out(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"image": picture(tmp_path), "video": dance(tmp_path, 3)}
        receipt = await made(client, **wish, keep_original_sound=False)
        file = await saved(client, receipt["task_id"])

    assert file["audio"] is False


async def test_it_costs_what_the_length_of_the_motion_costs(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"image": picture(tmp_path), "video": dance(tmp_path, 4.5), "dry_run": "full"}
        dry = await made(client, **wish)
        pro = await made(client, **wish, model_name="kling-v3", mode="pro")

    assert (dry["duration_s"], dry["estimate_units"]) == (5, 2.5)
    assert pro["estimate_units"] == 6.0
    assert dry["request"]["body"] == {
        "model_name": "kling-v2-6",
        "image_url": dry["request"]["body"]["image_url"],
        "video_url": "<address of dance.mp4>",
        "character_orientation": "video",
        "keep_original_sound": "yes",
        "mode": "std",
        "external_task_id": "<made from the ledger's row>",
    }
    assert dry["pictures"][1] == "video: dance.mp4 400x360, 4.5 s"
    assert not (tmp_path / "home" / "sandbox").exists()


async def test_a_motion_of_unknown_length_is_priced_and_capped_as_the_longest(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, max_units_per_task=6) as client:
        wish = {"image": picture(tmp_path)}
        refused = await client.call_tool(TOOL, wish | {"video": URL})
        short = await made(client, **wish, video=URL, character_orientation="image")
        known = await made(client, **wish, video=dance(tmp_path, 4))

    assert facts(refused)["error"] == "spend_cap_reached"
    assert "15 units" in words(refused)
    assert (short["duration_s"], short["estimate_units"]) == (10, 5.0)
    assert "the price is that of 10 s" in short["warnings"][0]
    assert (known["estimate_units"], known.get("warnings", [])) == (2.0, [])


async def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_sent(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        empty = await client.call_tool(TOOL, {})
        wrong = await client.call_tool(
            TOOL,
            {
                "image": dance(tmp_path, 3, "a.mp4"),
                "video": picture(tmp_path),
                "duration": "5",
                "sound": "on",
                "mode": "4k",
                "character_orientation": "image",
                "element_list": ["1", "2"],
            },
        )
        listed = facts(await client.call_tool("kling_list_tasks", {}))

    assert {f["field"] for f in facts(empty)["faults"]} == {"image", "video"}
    assert {f["field"] for f in facts(wrong)["faults"]} == {
        *("image", "video", "duration", "sound", "mode", "element_list"),
    }
    assert facts(wrong)["charged"] == "no"
    assert listed["tasks"] == []


async def test_a_motion_too_long_for_the_picture_s_facing_is_refused_with_advice(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        wish = {"image": picture(tmp_path), "video": dance(tmp_path, 11)}
        refused = await client.call_tool(TOOL, {**wish, "character_orientation": "image"})
        whole = await made(client, **wish, dry_run=True)

    assert "Kling takes 3 to 10 s" in words(refused)
    assert whole["estimate_units"] == 5.5


async def test_the_same_request_is_one_video_and_another_take_of_it_a_second(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        wish = {"image": picture(tmp_path), "video": dance(tmp_path, 3), "prompt": "A stage"}
        first = await made(client, **wish)
        same = await made(client, **wish)
        other = await made(client, another_take_of=first["task_id"])
        turned = await made(client, **wish, character_orientation="image")

    assert (same["task_id"], same["repeated"]) == (first["task_id"], True)
    assert len({first["task_id"], other["task_id"], turned["task_id"]}) == 3
    assert other["take"] == 2


@pytest.mark.campaign
async def test_a_video_made_here_moves_the_figure_too_and_stays_the_same_request(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, sandbox_side_px=360) as client:
        made_before = await made(client, image=picture(tmp_path), video=dance(tmp_path, 3.5))
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [made_before["task_id"]]})
        video = f"kling://tasks/{made_before['task_id']}/video"
        unsaved = await made(client, image=figure(tmp_path), video=video)
        await saved(client, made_before["task_id"])
        again = await made(client, image=figure(tmp_path), video=video)
        file = await saved(client, unsaved["task_id"])

    assert unsaved["estimate_units"] == 2.0
    assert (again["task_id"], again["repeated"]) == (unsaved["task_id"], True)
    assert file["duration_s"] == 3.5


async def test_kling_fetches_a_motion_so_a_local_one_is_refused_with_every_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Scripted(ends())
    async with talking_to(kling, tmp_path, monkeypatch) as client:
        wish = {"image": picture(tmp_path), "video": dance(tmp_path, 3)}
        refused = await client.call_tool(TOOL, wish)

    said = words(refused)
    assert facts(refused)["charged"] == "no"
    for way in ("https URL", "kling://tasks/ID/video", "KLING_MCP_PUBLIC_URL"):
        assert way in said


async def test_kling_gets_the_body_of_each_standard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []

    def kling(request: httpx.Request) -> httpx.Response:
        if is_create(request):
            sent.append((request.url.path, json.loads(request.content)))
        if request.url.path.startswith("/v1/"):
            return task()
        return httpx.Response(200, json={"code": 0, "data": {"id": "t-2", "status": "submitted"}})

    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        wish = {"image": "https://host.example/girl.png", "video": URL, "mode": "pro"}
        await made(client, **wish)
        await made(client, **wish, model_name="kling-v3", watermark_info=True, prompt="A stage")

    (old_path, old), (new_path, new) = sent
    assert old_path == "/v1/videos/motion-control"
    assert {name: old[name] for name in ("image_url", "video_url", "character_orientation")} == {
        "image_url": "https://host.example/girl.png",
        "video_url": URL,
        "character_orientation": "video",
    }
    assert new_path == "/motion-control/kling-3.0"
    assert new["contents"] == [
        {"type": "prompt", "text": "A stage"},
        {"type": "image", "url": "https://host.example/girl.png"},
        {"type": "video", "url": URL},
    ]
    assert new["settings"] == {
        "resolution": "1080p",
        "audio": "original",
        "character_orientation": "video",
    }


async def test_a_gateway_without_it_names_the_provider_that_has_it(tmp_path: Path) -> None:
    async with served(
        tmp_path, provider="cometapi", cometapi_base_url="sandbox", kling_base_url="sandbox"
    ) as client:
        wish = {"image": picture(tmp_path), "video": URL, "provider": "cometapi"}
        refused = await client.call_tool(TOOL, wish)

    assert "cometapi makes no video of a figure" in words(refused)
    assert 'provider "kling"' in words(refused)


@pytest.mark.campaign
async def test_a_look_at_it_finds_nothing_wrong_with_its_first_frame(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        receipt = await made(client, image=figure(tmp_path), video=dance(tmp_path, 3))
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})
        look = facts(await client.call_tool("kling_look", {"task_id": receipt["task_id"]}))

    assert {finding["kind"] for finding in look.get("findings", [])} <= {"frozen"}


async def nearest(client: Client, **wish: Any) -> dict[str, Any]:
    result = await client.call_tool(TOOL, {**wish, "dry_run": True})
    passes: dict[str, Any] = facts(result)["would_pass"]
    return passes


async def test_without_a_duration_the_nearest_request_lasts_as_its_motion(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"image": picture(tmp_path), "video": dance(tmp_path, 6), "duration": "10"}
        found = await nearest(client, **wish)

    assert found["change"] == {"duration": ""}
    assert found["estimate_units"] == 3.0
    assert "std 6 s" in found["makes"]


async def test_an_element_is_kept_and_the_figure_faces_as_the_video(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"image": picture(tmp_path), "video": dance(tmp_path), "model_name": "kling-v3"}
        turned = await nearest(client, **wish, element_list=["Rosa"], character_orientation="image")
        first = await nearest(client, **wish, element_list=["Fox", "Rosa"])
        refusal = await client.call_tool(TOOL, wish | {"element_list": ["Fox", "Rosa"]})
        passed = await made(client, **wish, **first["change"])

    assert turned["change"] == {"character_orientation": "video"}
    assert first["change"] == {"element_list": ["Fox"]}
    assert "without 'Rosa'" in words(refusal)
    assert passed["estimate_units"] == first["estimate_units"]


async def test_a_model_of_other_videos_has_one_of_motion_control_in_its_place(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        wish = {"image": picture(tmp_path), "video": dance(tmp_path)}
        found = await nearest(client, **wish, model_name="kling-v3-omni")
        passed = await made(client, **wish, **found["change"], dry_run=True)

    assert passed["estimate_units"] == found["estimate_units"]


@pytest.mark.parametrize(
    ("said", "meant"), [("as in the clip", "video"), ("like the photo", "image")]
)
async def test_where_the_figure_faces_in_words_is_its_value(
    tmp_path: Path, said: str, meant: str
) -> None:
    async with served(tmp_path) as client:
        wish = {"image": picture(tmp_path), "video": dance(tmp_path)}
        found = await nearest(client, **wish, character_orientation=said)

    assert found["change"] == {"character_orientation": meant}

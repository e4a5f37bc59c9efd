"""A video changed by words or followed by a new one, and elements beside pictures."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from mcp import Client
from mcp_types import CallToolResult
from PIL import Image, ImageDraw
from tests.made_clips import make_clip, make_film
from tests.server.scripted import Scripted, facts, is_create, talking_to, task, words
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

EDIT = "kling_edit_video"
SEVERAL = "kling_multi_image_to_video"
FOUND = "https://example.com/found.mp4"
SNOW: dict[str, Any] = {"prompt": "Make it snow"}


@asynccontextmanager
async def served(folder: Path, **more: Any) -> AsyncIterator[Client]:
    settings = sandbox_settings(folder, **more)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        yield client


def clip(folder: Path, seconds: float = 3.5, **more: Any) -> str:
    path = folder / "clip.mp4"
    size = more.pop("size", (960, 720))
    return str(make_clip(path, frames=round(seconds * 24), size=size, **more))


async def dry(client: Client, tool: str = EDIT, **wish: Any) -> dict[str, Any]:
    return facts(await client.call_tool(tool, {**wish, "dry_run": "full"}))


async def refused(client: Client, tool: str = EDIT, **wish: Any) -> dict[str, str]:
    """The rules that a request breaks, by field."""
    answer = await client.call_tool(tool, wish)
    assert answer.is_error, words(answer)
    assert facts(answer)["charged"] == "no"
    return {fault["field"]: fault["rule"] for fault in facts(answer)["faults"]}


async def made(client: Client, tool: str = EDIT, **wish: Any) -> dict[str, Any]:
    """The finished task."""
    created: CallToolResult = await client.call_tool(tool, wish)
    assert not created.is_error, words(created)
    asked = {"task_ids": [facts(created)["task_id"]]}
    waited = await client.call_tool("kling_wait_for_tasks", asked)
    assert "succeed" in words(waited), words(waited)
    (shown,) = facts(waited)["tasks"]
    return {**facts(waited).get("unless_stated", {}), **shown}


async def test_an_edit_goes_to_omni_video_and_is_as_long_as_its_video(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        shown = await dry(client, video=clip(tmp_path), **SNOW)

    assert shown["request"]["path"] == "/v1/videos/omni-video"
    assert shown["request"]["body"] == {
        "model_name": "kling-v3-omni",
        "video_list": [
            {
                "video_url": "<address of clip.mp4>",
                "refer_type": "base",
                "keep_original_sound": "yes",
            }
        ],
        "prompt": "With <<<video_1>>>: Make it snow",
        "mode": "std",
        "external_task_id": "<made from the ledger's row>",
    }
    assert shown["estimate_units"] == pytest.approx(0.9 * 4)
    assert shown.get("not_sent", []) == []


async def test_a_video_after_another_one_has_its_own_length_and_shape(tmp_path: Path) -> None:
    wish = {"prompt": "The next shot", "refer_type": "feature", "duration": 7, "mode": "pro"}
    async with served(tmp_path) as client:
        shown = await dry(client, video=clip(tmp_path), aspect_ratio="9:16", **wish)

    body = shown["request"]["body"]
    assert body["duration"] == "7"
    assert body["aspect_ratio"] == "9:16"
    assert body["video_list"][0]["keep_original_sound"] == "no"
    assert shown["estimate_units"] == pytest.approx(1.2 * 7)


@pytest.mark.parametrize(
    ("wish", "kind", "audio", "settings"),
    [
        ({}, "base_video", "original", {"multi_shot": False}),
        ({"keep_original_sound": False}, "base_video", "off", {"multi_shot": False}),
        ({"refer_type": "feature", "duration": 6}, "feature_video", "off", {"duration": 6}),
    ],
)
async def test_the_new_standard_has_a_place_for_each_part(
    tmp_path: Path, wish: dict[str, Any], kind: str, audio: str, settings: dict[str, Any]
) -> None:
    image = picture(tmp_path)
    async with served(tmp_path, standard="new") as client:
        shown = await dry(
            client, video=FOUND, image_list=[image], element_list=[160], **SNOW, **wish
        )

    assert shown["request"]["path"] == "/omni-video/kling-3.0-omni"
    body = shown["request"]["body"]
    assert body["contents"][0]["text"] == "With @video_1, @image_1, @element_1: Make it snow"
    assert {content["type"]: content.get("id") for content in body["contents"][1:]} == {
        "refer_image": "image_1",
        kind: "video_1",
        "element": "element_1",
    }
    assert body["settings"] == {"resolution": "720p", "audio": audio, **settings}


async def test_all_faults_of_an_edit_are_told_at_once(tmp_path: Path) -> None:
    small = clip(tmp_path, 2, size=(640, 480))
    async with served(tmp_path) as client:
        nothing = await refused(client)
        wrong = await client.call_tool(
            EDIT, {"video": small, "prompt": "<<<image_1>>>", "aspect_ratio": "1:1", "sound": "on"}
        )

    assert nothing == {"video": "video_required", "prompt": "wish_required"}
    assert {fault["rule"] for fault in facts(wrong)["faults"]} == {
        *("extra_forbidden", "an_edit_keeps_its_shape", "image_token_unknown"),
        *("video_length", "video_side"),
    }


@pytest.mark.parametrize(
    ("model", "seconds", "passes"),
    [
        ("kling-v3-omni", 12, True),
        ("kling-video-o1", 12, False),
        pytest.param("kling-v3-omni", 17, False, marks=pytest.mark.campaign),
    ],
)
async def test_each_model_takes_videos_of_its_own_length(
    tmp_path: Path, model: str, seconds: int, passes: bool
) -> None:
    async with served(tmp_path) as client:
        shown = await dry(client, video=clip(tmp_path, seconds), model_name=model, **SNOW)

    rules = [fault["rule"] for fault in shown.get("faults", [])]
    assert rules == ([] if passes else ["video_length"])


@pytest.mark.parametrize(
    ("images", "elements", "passes"), [(4, 0, True), (2, 2, True), (3, 2, False), (0, 4, True)]
)
async def test_pictures_and_elements_beside_a_video_are_counted_together(
    tmp_path: Path, images: int, elements: int, passes: bool
) -> None:
    numbers = list(range(160, 160 + elements))
    given = {"image_list": [picture(tmp_path)] * images, "element_list": numbers}
    async with served(tmp_path) as client:
        shown = await dry(client, video=FOUND, **SNOW, **given)

    rules = [fault["rule"] for fault in shown.get("faults", [])]
    assert rules == ([] if passes else ["images_of_model"])


async def test_an_element_of_a_video_stands_alone_beside_a_video(tmp_path: Path) -> None:
    """Kling's page: one such element and nothing else, o1 none; without a video three and four."""
    image, asked = picture(tmp_path), {"video": FOUND, **SNOW}
    sample = "https://example.com/man.mp4"
    async with served(tmp_path) as client:
        for name in ("One", "Two"):
            element = {"name": name, "description": "A man", "video": sample}
            answer = await client.call_tool("kling_create_element", element)
            assert not answer.is_error, words(answer)
        alone = await client.call_tool(EDIT, {**asked, "element_list": ["One"], "dry_run": True})
        beside = await refused(client, **asked, element_list=["One"], image_list=[image])
        two = await refused(client, **asked, element_list=["One", "Two"])
        o1 = await refused(client, **asked, element_list=["One"], model_name="kling-video-o1")
        with_pictures = partial(dry, client, SEVERAL, prompt="They meet", element_list=["One"])
        four = await with_pictures(image_list=[image] * 4)
        five = await with_pictures(image_list=[image] * 5)

    assert facts(alone).get("faults", []) == []
    assert beside == {"image_list": "images_of_model"}
    assert two == o1 == {"element_list": "characters_of_model"}
    assert four.get("faults", []) == []
    assert [fault["rule"] for fault in five["faults"]] == ["images_of_model"]


async def test_a_video_at_a_url_is_priced_as_the_longest(tmp_path: Path) -> None:
    asked = {"video": FOUND, **SNOW, "model_name": "kling-video-o1"}
    async with served(tmp_path) as client:
        shown = await dry(client, **asked)
        capped = await client.call_tool(EDIT, {**asked, "max_units": 8})

    assert shown["estimate_units"] == 9
    assert any("10 s, the longest" in warning for warning in shown["warnings"])
    assert "max_units is 8" in words(capped)


async def test_a_local_video_requires_an_address_where_kling_is_elsewhere(tmp_path: Path) -> None:
    provider = Scripted(lambda request: task())
    with pytest.MonkeyPatch.context() as patch:
        async with talking_to(provider, tmp_path, patch) as client:
            shown = await dry(client, video=clip(tmp_path), **SNOW)

    (fault,) = shown["faults"]
    assert fault["rule"] == "address_missing"
    assert "kling://tasks/ID/video" in fault["use"]


@pytest.mark.usefixtures("no_pauses")
async def test_the_video_of_a_task_is_sent_by_its_own_address(tmp_path: Path) -> None:
    video = "https://v15-kling.klingai.com/made.mp4"
    sent: list[httpx.Request] = []

    def api(request: httpx.Request) -> httpx.Response:
        if is_create(request):
            sent.append(request)
            return task(task_id=f"t-{len(sent)}")
        done = {"videos": [{"url": video, "duration": "5.0"}]}
        return task(task_status="succeed", task_result=done)

    with pytest.MonkeyPatch.context() as patch:
        async with talking_to(Scripted(api), tmp_path, patch) as client:
            await client.call_tool(
                "kling_image_to_video", {"image": picture(tmp_path), "prompt": "Zoom"}
            )
            await client.call_tool("kling_wait_for_tasks", {"task_ids": ["t-1"]})
            asked = {"video": "kling://tasks/t-1/video", **SNOW}
            edited = await client.call_tool(EDIT, asked)
            again = await client.call_tool(EDIT, asked)

    assert not edited.is_error, words(edited)
    assert facts(edited)["estimate_units"] == 4.5
    assert sent[1].url.path == "/v1/videos/omni-video"
    assert video in sent[1].content.decode()
    assert facts(again)["repeated"] is True
    assert len(sent) == 2


async def test_another_take_keeps_the_video_and_can_become_its_next_shot(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        first = facts(await client.call_tool(EDIT, {"video": clip(tmp_path), **SNOW}))
        again = {"another_take_of": first["task_id"], "dry_run": "full"}
        same = facts(await client.call_tool(EDIT, again))
        after = facts(await client.call_tool(EDIT, {**again, "refer_type": "feature"}))

    assert same["take"] == 2
    assert same["request"]["body"]["video_list"][0]["refer_type"] == "base"
    assert after["request"]["body"]["duration"] == "5"
    assert after["request"]["body"]["video_list"][0]["refer_type"] == "feature"


def frames_of(path: str) -> tuple[list[Image.Image], bool]:
    with av.open(path) as container:
        shown = [frame.to_image() for frame in container.decode(video=0)]
        return shown, bool(container.streams.audio)


def moving(folder: Path) -> str:
    """Three seconds of a white disc that moves from left to right, with a tone."""
    pictures = []
    for n in range(72):
        frame = Image.new("RGB", (1280, 720), (20, 20, 20))
        x = 100 + 15 * n
        ImageDraw.Draw(frame).ellipse((x - 60, 240, x + 60, 360), fill="white")
        pictures.append(frame)
    return str(make_film(folder / "disc.mp4", pictures, loudness=0.4))


def brightest_x(frame: Image.Image, box: tuple[float, float, float, float]) -> float:
    """Where the brightest column of a part of the frame is, from 0 to 1."""
    width, height = frame.size
    left, upper, right, lower = box
    part = frame.convert("L").crop(
        (int(left * width), int(upper * height), int(right * width), int(lower * height))
    )
    line = part.resize((32, 1), Image.Resampling.BOX).tobytes()
    return line.index(max(line)) / 31


async def test_an_edit_in_the_sandbox_is_its_video_with_a_mark_of_the_wish(tmp_path: Path) -> None:
    async with served(tmp_path, save=True, sandbox_side_px=180) as client:
        video = moving(tmp_path)
        task = await made(client, video=video, **SNOW)
        silent = await made(client, video=video, keep_original_sound="no", prompt="Make it night")

    shown, has_sound = frames_of(task["path"])
    assert len(shown) == 72
    assert shown[0].size == (320, 180)
    middle = (0, 0.25, 1, 0.6)
    assert brightest_x(shown[4], middle) < 0.3 < 0.7 < brightest_x(shown[68], middle)
    colours = [frame.getpixel((160, 10)) for frame in (shown[0], frames_of(silent["path"])[0][0])]
    assert all(math.dist(colour, (20, 20, 20)) > 20 for colour in colours)
    assert math.dist(*colours) > 20
    assert has_sound
    assert not frames_of(silent["path"])[1]


@pytest.mark.campaign
async def test_a_video_after_another_one_shows_it_beside_the_new_scene(tmp_path: Path) -> None:
    async with served(tmp_path, save=True, sandbox_side_px=360) as client:
        task = await made(
            client,
            video=moving(tmp_path),
            prompt="The next shot",
            refer_type="feature",
            duration=4,
            image_list=[picture(tmp_path)],
        )

    shown, has_sound = frames_of(task["path"])
    assert len(shown) == 97
    assert not has_sound
    corner = (0.02, 0.8, 0.14, 0.92)
    assert brightest_x(shown[4], corner) < brightest_x(shown[60], corner)


async def test_both_tools_of_omni_video_keep_their_tasks_apart(tmp_path: Path) -> None:
    several = {"image_list": [picture(tmp_path)], "element_list": ["Rosa"], "prompt": "They meet"}
    async with served(tmp_path) as client:
        await made(client, SEVERAL, **several)
        await made(client, video=FOUND, **SNOW)
        everything = await client.call_tool("kling_list_tasks", {})
        edits = await client.call_tool("kling_list_tasks", {"product": "omni-edit"})

    assert len(facts(everything)["tasks"]) == 2
    assert len(facts(edits)["tasks"]) == 1


async def test_elements_stand_beside_pictures_and_without_them(tmp_path: Path) -> None:
    image = picture(tmp_path)
    async with served(tmp_path) as client:
        both = await dry(
            client, SEVERAL, image_list=[image], element_list=["Rosa"], prompt="<<<image_1>>> rests"
        )
        alone = await dry(client, SEVERAL, element_list=["Rosa", "163"], prompt="They meet")
        many = await refused(
            client, SEVERAL, image_list=[image] * 6, element_list=[160, 163], prompt="They meet"
        )
        nobody = await refused(client, SEVERAL, element_list=["Rosa"], prompt="<<<element_2>>>")

    assert both["request"]["body"]["element_list"] == [{"element_id": 160}]
    assert both["request"]["body"]["prompt"] == "With <<<element_1>>>: <<<image_1>>> rests"
    assert "image_list" not in alone["request"]["body"]
    assert alone["request"]["body"]["prompt"] == "With <<<element_1>>>, <<<element_2>>>: They meet"
    assert many == {"image_list": "images_of_model"}
    assert nobody == {"prompt": "element_token_unknown"}


async def test_a_task_that_both_products_could_have_made_is_listed_once(tmp_path: Path) -> None:
    def api(request: httpx.Request) -> httpx.Response:
        there = request.url.path == "/v1/videos/omni-video"
        tasks = [{"task_id": "t-9", "task_status": "processing", "created_at": 1_790_000_000_000}]
        return httpx.Response(200, json={"code": 0, "data": tasks if there else []})

    with pytest.MonkeyPatch.context() as patch:
        async with talking_to(Scripted(api), tmp_path, patch, standard="legacy") as client:
            listed = facts(await client.call_tool("kling_list_tasks", {}))

    assert len(listed["tasks"]) == 1


@pytest.mark.parametrize(
    ("said", "change"),
    [
        *((said, {"refer_type": "feature"}) for said in ("extend", "next shot", "Continue")),
        *((said, {"refer_type": "base"}) for said in ("edit", "restyle", "Transform it")),
        ("purple", None),
    ],
)
async def test_what_becomes_of_the_video_in_words_is_never_the_opposite(
    tmp_path: Path, said: str, change: dict[str, str] | None
) -> None:
    async with served(tmp_path) as client:
        answer = await dry(client, video=clip(tmp_path), refer_type=said, **SNOW)

    assert answer["faults"][0]["field"] == "refer_type"
    assert (answer.get("would_pass") or {"change": None})["change"] == change


async def test_the_id_of_a_task_is_its_video_and_in_the_place_of_a_picture_is_told_the_address(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        film = await made(client, "kling_text_to_video", prompt="A storm")
        drawn = await made(client, "kling_generate_image", prompt="A fox", n=2)
        tasks = film["task_id"], drawn["task_id"]
        edit = await dry(client, video=tasks[0], **SNOW)
        told = [
            (await dry(client, "kling_image_to_video", image=given, prompt="It runs"))["faults"]
            for task in tasks
            for given in (task, f"kling://tasks/{task}", f"kling://tasks/{task}/video")
        ]
        works = await dry(
            client, "kling_image_to_video", image=f"kling://tasks/{tasks[1]}/images/1", prompt="It"
        )

    assert "faults" not in edit
    for (fault,) in told[:3]:
        assert fault["use"].startswith(f"kling://tasks/{tasks[0]}/frames/last")
    for (fault,) in told[3:]:
        assert fault["use"] == f"kling://tasks/{tasks[1]}/images/1"
    assert "faults" not in works


async def test_what_an_edit_cannot_have_is_told_before_it_is_paid(tmp_path: Path) -> None:
    says = 'She says: "Good morning, everyone!"'
    async with served(tmp_path) as client:
        spoken = await dry(client, video=clip(tmp_path), prompt=says)
        moved = await dry(
            client, "kling_motion_control", image=picture(tmp_path), video=FOUND, prompt=says
        )
        timed = await dry(client, video=clip(tmp_path), duration="7", **SNOW)
        after = await dry(client, video=clip(tmp_path), duration="7", refer_type="feature", **SNOW)

    assert spoken["warnings"][0].startswith('prompt: nobody will hear "Good morning')
    assert moved["warnings"][0].startswith('prompt: nobody will hear "Good morning')
    assert timed["warnings"] == ["duration: is not sent: this video is as long as its video."]
    assert "warnings" not in after


async def test_a_video_that_cannot_be_read_has_no_length_and_no_price(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        answer = await client.call_tool(EDIT, {"video": "gone.mp4", "dry_run": True, **SNOW})

    assert not {"duration_s", "estimate_units", "would_pass"} & facts(answer).keys()
    assert "kling-v3-omni std." in words(answer)


async def test_a_cap_below_the_price_of_an_unknown_length_is_told_a_way_that_works(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        capped = await client.call_tool(EDIT, {"video": FOUND, "max_units": 5, **SNOW})
        known = await dry(client, video=clip(tmp_path), max_units=5, **SNOW)

    assert "the price of the longest" in words(capped)
    assert "a local copy of the video" in words(capped)
    assert known["estimate_units"] == pytest.approx(0.9 * 4)

"""Prompts as a client of either protocol era gets them; their plans are put to the tools."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import TextContent
from tests.made_clips import make_clip
from tests.made_sounds import tone
from tests.server.scripted import Scripted, facts, talking_to
from tests.server.serving import picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_tools.products import PRODUCTS_BY_TOOL

ERAS = ("legacy", "2026-07-28")
REQUIRED = {
    "animate_picture": ["image"],
    "first_to_last_frame": ["image", "image_tail"],
    "storyboard": ["image", "story"],
    "takes_within_budget": ["image", "budget_units"],
    "direct_camera": ["image", "camera"],
    "picture_then_video": ["wish"],
    "multi_image_to_video": ["image_list", "wish"],
    "text_to_video": ["wish"],
    "generate_image": ["wish"],
    "edit_video": ["video", "wish"],
    "motion_control": ["image", "video"],
    "talking_photo": ["image"],
    "lip_sync": ["video"],
    "film": ["wish"],
}
SPEAKERS = ("talking_photo", "lip_sync")
"""The prompts that take a sound, or words to speak."""


@pytest.fixture(params=ERAS)
async def client(
    request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str
) -> AsyncIterator[Client]:
    """A server whose folder has two pictures, a.png and b.png."""
    picture(tmp_path, "a.png")
    picture(tmp_path, "b.png")
    async with Client(build_server(sandbox_settings(tmp_path)), mode=request.param) as connected:
        yield connected


async def text_of(client: Client, name: str, **arguments: str) -> str:
    got = await client.get_prompt(name, arguments)
    (message,) = got.messages
    assert message.role == "user"
    assert isinstance(message.content, TextContent)
    return message.content.text


def planned_call(text: str) -> dict[str, Any]:
    """The call that the text has the assistant make first."""
    _, call = planned(text)
    return call


def planned(text: str) -> tuple[str, dict[str, Any]]:
    """The tool that the text names first, and the call."""
    match = re.search(r'(kling_\w+) (\{.*"dry_run": true\})', text)
    assert match is not None, text
    call: dict[str, Any] = json.loads(match[2])
    return match[1], call


async def refusal(client: Client, name: str, **arguments: str) -> str:
    with pytest.raises(MCPError) as caught:
        await client.get_prompt(name, arguments)
    assert caught.value.error.code == -32602
    return caught.value.error.message


@pytest.mark.anyio
async def test_every_prompt_and_argument_is_described(client: Client) -> None:
    prompts = (await client.list_prompts()).prompts

    required = {p.name: [a.name for a in p.arguments or [] if a.required] for p in prompts}
    assert required | REQUIRED == required
    assert all(required.values())
    for prompt in prompts:
        assert prompt.title
        assert prompt.description
        assert all(argument.description for argument in prompt.arguments or []), prompt.name


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("animate_picture", {}),
        ("animate_picture", {"wish": 'It says "meow"', "duration": "7 s", "mode": "PRO"}),
        ("first_to_last_frame", {"model_name": "kling-v2-6"}),
        ("storyboard", {"story": "A fox looks for the moon"}),
        ("storyboard", {"story": "A fox looks for the moon", "duration": "11", "shots": "4"}),
        ("storyboard", {"story": "A fox looks for the moon", "element": "Fox"}),
        ("takes_within_budget", {"budget_units": "5"}),
        ("direct_camera", {"camera": "slowly pans left"}),
    ],
)
async def test_the_planned_call_is_taken_by_the_tool_at_the_price_that_was_told(
    client: Client, tmp_path: Path, name: str, more: dict[str, str]
) -> None:
    pictures = {"image": picture(tmp_path)}
    if "image_tail" in REQUIRED[name]:
        pictures["image_tail"] = picture(tmp_path, "end.png")

    text = await text_of(client, name, **pictures, **more)
    result = await client.call_tool("kling_image_to_video", planned_call(text))

    receipt = result.structured_content
    assert receipt is not None
    assert "faults" not in receipt
    assert f"about {receipt['estimate_units']:g} units" in text
    assert f'"max_units": {receipt["estimate_units"]}' in text
    assert planned_call(text)["model_name"] == receipt["model_name"]


@pytest.mark.anyio
async def test_every_prompt_leads_from_the_price_over_the_persons_word_to_the_file(
    client: Client, tmp_path: Path
) -> None:
    make_clip(tmp_path / "a.mp4", frames=96, size=(720, 720))
    tone(tmp_path / "a.wav")
    filled = {"image": "a.png", "image_tail": "b.png", "story": "A fox", "budget_units": "9"}
    filled |= {"wish": "A fox", "image_list": "a.png, b.png", "video": "a.mp4"}
    filled["sound_file"] = "a.wav"
    for name, required in REQUIRED.items():
        asked = {"camera": "zooms in"} | filled
        asked_for = [*required, *(["sound_file"] if name in SPEAKERS else [])]
        text = await text_of(client, name, **{key: asked[key] for key in asked_for})

        steps = ["dry_run", "wait for my yes", "max_units", "kling_wait_for_tasks", "save"]
        places = [text.index(step) for step in steps]
        assert places == sorted(places), name
        assert "is never paid twice" in text


@pytest.mark.anyio
async def test_an_empty_field_of_a_form_counts_as_left_out(client: Client) -> None:
    filled = await text_of(client, "animate_picture", image="a.png", wish="", mode=" ", duration="")

    assert filled == await text_of(client, "animate_picture", image="a.png")
    assert "is required" in await refusal(client, "animate_picture", image=" ")


@pytest.mark.anyio
async def test_what_the_default_cannot_do_goes_to_the_first_mode_or_model_that_can(
    client: Client,
) -> None:
    ends = {"image": "a.png", "image_tail": "b.png"}
    frames = await text_of(client, "first_to_last_frame", **ends)
    cheap = await text_of(client, "first_to_last_frame", **ends, mode="std")
    seven = await text_of(client, "animate_picture", image="a.png", duration="7")
    shots = await text_of(client, "storyboard", image="a.png", story="A fox")

    calls = [planned_call(text) for text in (frames, cheap, seven, shots)]
    assert [(call["model_name"], call["mode"]) for call in calls] == [
        ("kling-v2-5-turbo", "pro"),
        ("kling-v3", "std"),
        ("kling-v3", "std"),
        ("kling-v3", "std"),
    ]


@pytest.mark.anyio
async def test_a_provider_that_can_is_taken_where_the_default_would_lose_the_shots(
    tmp_path: Path,
) -> None:
    settings = sandbox_settings(
        tmp_path,
        provider="newapi",
        newapi_api_key="k",
        newapi_base_url="sandbox",
        kling_api_key="k",
        kling_base_url="sandbox",
    )
    picture(tmp_path, "a.png")
    async with Client(build_server(settings)) as client:
        plain = await text_of(client, "animate_picture", image="a.png")
        shots = await text_of(client, "storyboard", image="a.png", story="A fox")

    assert planned_call(plain)["provider"] == "newapi"
    assert planned_call(shots)["provider"] == "kling"


@pytest.mark.anyio
async def test_a_camera_move_is_an_argument_only_where_the_model_takes_it(tmp_path: Path) -> None:
    gateway = sandbox_settings(tmp_path, provider="cometapi", cometapi_base_url="sandbox")
    asked = {"image": picture(tmp_path), "camera": "slowly pans left"}
    async with Client(build_server(gateway)) as client:
        said = await text_of(client, "direct_camera", **asked)
        given = await text_of(client, "direct_camera", **asked, model_name="kling-v1-5")
        orbit = await text_of(
            client, "direct_camera", **asked | {"camera": "orbits her"}, model_name="kling-v1-5"
        )
        receipt = await client.call_tool("kling_image_to_video", planned_call(given))

    assert "camera_control" not in planned_call(said)
    assert "kling-v1-5 (pro 5 s, type simple, retired)" in said
    assert planned_call(given)["camera_control"] == {"type": "simple", "config": {"pan": -3}}
    assert "has been retired" in given
    assert "camera_control" not in planned_call(orbit)
    assert receipt.structured_content is not None
    assert "faults" not in receipt.structured_content


@pytest.mark.anyio
async def test_a_budget_pays_for_whole_takes_only(client: Client) -> None:
    async def takes(**more: str) -> str:
        return await text_of(client, "takes_within_budget", image="a.png", **more)

    assert "Make 3, together about 4.5 units" in await takes(budget_units="4.5")
    assert "Make 2, together about 3 units" in await takes(budget_units="4.4")
    plenty = await takes(budget_units="300")
    assert "it pays for 200 " in plenty
    assert "Make 4, together about 6 units" in plenty
    assert "Make 7, together about 10.5 units" in await takes(budget_units="300", takes="7")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("storyboard", {"story": "x", "duration": "20"}, 'makes 3-15 s, not 20. Use "15"'),
        ("storyboard", {"story": "x", "duration": "3", "shots": "5"}, "Use 3 shots or fewer"),
        ("storyboard", {"story": "x", "shots": "9"}, "shots: must be at most 6, not '9'"),
        ("storyboard", {"story": "x", "model_name": "kling-v2-6"}, 'Use model_name "kling-v3"'),
        ("storyboard", {"duration": "long"}, "story: is required."),
        ("storyboard", {"duration": "long"}, "'long' is not a whole number of seconds"),
        (
            "takes_within_budget",
            {"budget_units": "1"},
            "costs about 1.5 units, but the budget is 1",
        ),
        ("takes_within_budget", {"budget_units": "4", "takes": "9"}, "or takes 2."),
        ("takes_within_budget", {"budget_units": "much"}, "must be a number, not 'much'"),
        ("takes_within_budget", {"budget_units": "-1"}, "must be more than 0"),
        ("takes_within_budget", {"budget_units": "9", "model_name": "kling-v9"}, "is unknown"),
        ("first_to_last_frame", {"mode": "hd"}, "Use 'std', 'pro' or '4k'"),
        ("animate_picture", {"moode": "pro"}, "is not an argument of this call. Use mode."),
        ("direct_camera", {"camera": "x", "duration": "99"}, "makes 3-15 s, not 99"),
        ("no_such_prompt", {}, "Unknown prompt: no_such_prompt. There are animate_picture"),
    ],
)
async def test_what_cannot_be_is_refused_in_words(
    client: Client, name: str, arguments: dict[str, str], words: str
) -> None:
    assert words in await refusal(client, name, image="a.png", **arguments)


@pytest.mark.anyio
async def test_each_tool_that_makes_something_has_a_prompt_whose_words_name_no_tool(
    client: Client,
) -> None:
    prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}

    of_tools = {tool.removeprefix("kling_") for tool in PRODUCTS_BY_TOOL}
    assert of_tools - {"image_to_video"} <= prompts.keys()
    for prompt in prompts.values():
        told = [prompt.description, *(a.description for a in prompt.arguments or [])]
        assert not re.search("kling_|costs money", str(told)), prompt.name


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "tool", "asked"),
    [
        ("text_to_video", "kling_text_to_video", {"wish": "A fox", "aspect_ratio": "9:16"}),
        ("text_to_video", "kling_text_to_video", {"wish": "A fox", "model_name": "3.0 turbo"}),
        ("generate_image", "kling_generate_image", {"wish": "A fox", "n": "2", "resolution": "2K"}),
        ("picture_then_video", "kling_generate_image", {"wish": "A fox", "motion": "It runs"}),
        ("multi_image_to_video", "kling_multi_image_to_video", {"wish": "A fox", "mode": "PRO"}),
    ],
)
async def test_a_maker_s_plan_is_taken_by_its_tool_at_the_price_that_was_told(
    client: Client, tmp_path: Path, name: str, tool: str, asked: dict[str, str]
) -> None:
    if "image_list" in REQUIRED[name]:
        asked = {**asked, "image_list": f"{picture(tmp_path)}, {picture(tmp_path, 'b.png')}"}
    text = await text_of(client, name, **asked)
    planned_tool, call = planned(text)
    receipt = facts(await client.call_tool(planned_tool, call))

    assert planned_tool == tool
    assert "faults" not in receipt
    unit = receipt.get("unit", "unit")
    assert f"about {receipt['estimate_units']:g} {unit}s (" in text
    assert f'"max_units": {receipt["estimate_units"]}' in text


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["edit_video", "motion_control"])
async def test_what_is_paid_by_the_second_is_priced_by_the_second_until_it_is_measured(
    client: Client, tmp_path: Path, name: str
) -> None:
    moving = make_clip(tmp_path / "video.mp4", frames=96, size=(720, 720))
    asked = {"image": picture(tmp_path), "video": str(moving), "wish": "In winter"}
    text = await text_of(client, name, **{key: asked[key] for key in [*REQUIRED[name], "wish"]})
    tool, call = planned(text)
    receipt = facts(await client.call_tool(tool, call))

    assert tool == f"kling_{name}"
    assert "faults" not in receipt, receipt
    (each,) = re.findall(r"about ([\d.]+) units \(\S+ USD list price\) for each second", text)
    assert receipt["estimate_units"] == round(float(each) * receipt["duration_s"], 4)
    assert '"max_units": <the price that I agreed to>' in text


@pytest.mark.anyio
async def test_a_face_of_a_video_speaks_a_sound_or_words_and_is_chosen_by_the_person(
    client: Client,
) -> None:
    video = {"video": "https://host.example/talk.mp4"}
    sound = {"sound_file": "https://host.example/words.mp3"}
    spoken = {"text": "Hello there, how are you today?", "voice_id": "Melody"}
    by_sound = await text_of(client, "lip_sync", **video, **sound)
    by_words = await text_of(client, "lip_sync", **video, **spoken)
    chosen = await text_of(client, "lip_sync", **video, **spoken, face="2")
    neither = await refusal(client, "lip_sync", **video)
    tool, call = planned(by_words)
    receipt = facts(await client.call_tool(tool, call))

    assert (tool, call) == ("kling_lip_sync", {**video, **spoken, "dry_run": True})
    assert "faults" not in receipt, receipt
    assert "about 0.5 units (0.07 USD list price) for each 5 s that have begun" in by_sound
    assert "and 0.05 units for the face check. If faults" in by_sound
    assert "and 0.05 units for the face check, and 0.05 units for the speech." in by_words
    assert receipt["estimate_units"] == 0.6
    assert "Tell me the price and every warning" in by_words
    assert "If it shows several faces in its place, show me their pictures" in by_words
    assert "several faces" not in chosen
    assert "or text with voice_id instead" in neither


@pytest.mark.anyio
async def test_a_picture_speaks_words_at_the_price_of_their_speech(
    client: Client, tmp_path: Path
) -> None:
    words = {"text": "Hello there, how are you today?", "voice_id": "Melody"}
    text = await text_of(client, "talking_photo", image=picture(tmp_path), **words)
    tool, call = planned(text)
    receipt = facts(await client.call_tool(tool, call))

    assert tool == "kling_talking_photo"
    assert "faults" not in receipt, receipt
    assert "for each second, and 0.05 units for the speech." in text
    assert "or text with voice_id" in await refusal(client, "talking_photo", image="a.png")


@pytest.mark.anyio
async def test_a_prompt_offers_only_modes_that_its_tool_has(client: Client) -> None:
    prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
    modes = {
        name: argument.description
        for name, prompt in prompts.items()
        for argument in prompt.arguments or ()
        if argument.name == "mode"
    }
    asked = {"image": "a.png", "video": "https://a.example/a.mp4", "mode": "4k"}
    told = await refusal(client, "motion_control", **asked)

    cheapest = "; the cheapest that can do this."
    assert modes["motion_control"] == modes["talking_photo"] == f"std or pro{cheapest}"
    assert modes["edit_video"] == f"std, pro or 4k{cheapest}"
    assert "mode: no model has mode 4k here. Use std or pro." in told


@pytest.mark.anyio
async def test_what_is_missing_is_told_with_what_it_can_be(client: Client) -> None:
    told = await refusal(client, "motion_control", image="a.png")

    assert "video: is required. Use the video: an https URL or a path on this computer." in told


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["edit_video", "generate_image", "motion_control"])
async def test_what_was_made_is_looked_at_before_it_is_told(client: Client, name: str) -> None:
    asked = {"image": "a.png", "video": "https://a.example/a.mp4", "wish": "A fox"}
    text = await text_of(client, name, **{key: asked[key] for key in REQUIRED[name]})

    assert text.index("kling_wait_for_tasks") < text.index("kling_look") < text.index("kling_save")


@pytest.mark.anyio
async def test_a_picture_is_liked_before_it_is_animated_at_a_price_that_was_told(
    client: Client,
) -> None:
    text = await text_of(client, "picture_then_video", wish="A fox", model_name="kling-v3")

    order = ["then costs about 3 units", "wait for my yes", "kling_look", "Wait until I like it"]
    order += ['"image": "kling://tasks/<task_id>/images/1"', '"max_units": 3.0', "kling_save_video"]
    places = [text.index(step) for step in order]
    assert places == sorted(places)


@pytest.mark.anyio
async def test_a_prompt_is_offered_where_its_tools_and_a_provider_for_them_are(
    tmp_path: Path,
) -> None:
    async def offered(**settings: Any) -> set[str]:
        async with Client(build_server(sandbox_settings(tmp_path, **settings))) as client:
            return {prompt.name for prompt in (await client.list_prompts()).prompts}

    gateway = {"provider": "powertokens", "powertokens_base_url": "sandbox"}
    assert await offered(tools="kling_text_to_video") == {"text_to_video"}
    assert await offered(tools="kling_generate_image") == {"generate_image"}
    assert "picture_then_video" in await offered(tools="core,images")
    assert "text_to_video" not in await offered(**gateway)
    assert "animate_picture" in await offered(**gateway)
    assert await offered(read_only=True) == set()


@pytest.mark.anyio
async def test_a_prompt_asks_the_provider_that_is_named(tmp_path: Path) -> None:
    keys = {"kling_api_key": "k", "kling_base_url": "sandbox", "cometapi_api_key": "k"}
    settings = sandbox_settings(tmp_path, provider="kling", cometapi_base_url="sandbox", **keys)
    async with Client(build_server(settings)) as client:
        (prompt,) = (p for p in (await client.list_prompts()).prompts if p.name == "text_to_video")
        named = await text_of(client, "text_to_video", wish="A fox", provider="cometapi")
        cheapest = await text_of(client, "text_to_video", wish="A fox", provider="auto")
        unknown = await refusal(client, "text_to_video", wish="A fox", provider="elsewhere")
    chooses = settings.model_copy(update={"provider": "auto"})
    async with Client(build_server(chooses)) as client:
        chosen = await text_of(client, "text_to_video", wish="A fox")

    assert "provider" in {argument.name for argument in prompt.arguments or []}
    assert planned_call(named)["provider"] == "cometapi"
    assert planned_call(cheapest)["provider"] == planned_call(chosen)["provider"] == "auto"
    assert "no configured provider" in unknown


@pytest.mark.anyio
@pytest.mark.parametrize("photos", [3, 0])
async def test_a_film_is_planned_with_the_price_of_the_whole(
    client: Client, tmp_path: Path, photos: int
) -> None:
    images = ", ".join(picture(tmp_path, f"{n}.png") for n in range(photos))
    asked = {"image_list": images} if photos else {"shots": "3"}
    text = await text_of(client, "film", wish="Our trip", aspect_ratio="portrait", **asked)
    tool, call = planned(text)
    for number, shot in enumerate(call["shots"]):
        shot["prompt"] = f"Scene {number}"
    receipt = facts(await client.call_tool(tool, call))

    assert tool == "kling_film"
    assert len(call["shots"]) == 3
    assert "faults" not in receipt
    assert f"about {receipt['estimate_units']:g} units" in text
    assert f'"max_units": {receipt["estimate_units"]}' in text


@pytest.mark.anyio
async def test_a_film_of_files_that_are_not_there_has_no_price(
    client: Client, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    there = picture(photos, "1.png")
    gone = await refusal(client, "film", wish="Our trip", image_list=f"{there}, {photos}/2.png")
    folder = await refusal(client, "film", wish="Our trip", image_list=str(photos))
    music = await refusal(client, "film", wish="Our trip", music="song.mp3")

    assert "image_list: there is no file 2.png at that path" in gone
    assert "image_list: " in folder
    assert "photos is a folder with 1 picture." in folder
    assert "Use the paths of its pictures in their order" in folder
    assert "1.png 640x480" in folder
    assert "music: there is no file song.mp3" in music


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("animate_picture", "image"),
        ("first_to_last_frame", "image_tail"),
        ("storyboard", "image"),
        ("takes_within_budget", "image"),
        ("direct_camera", "image"),
        ("multi_image_to_video", "image_list"),
        ("generate_image", "image_list"),
        ("edit_video", "video"),
        ("motion_control", "video"),
        ("talking_photo", "sound_file"),
        ("lip_sync", "video"),
    ],
)
async def test_what_is_asked_of_a_file_that_is_not_there_has_no_price(
    client: Client, name: str, gone: str
) -> None:
    asked = {"image": "a.png", "image_tail": "b.png", "image_list": "a.png, b.png"}
    asked |= {"wish": "A fox", "story": "A fox", "budget_units": "9", "camera": "zooms in"}
    asked |= {"video": "https://a.example/a.mp4", "sound_file": "https://a.example/a.mp3"}
    required = [*REQUIRED[name], *(["sound_file"] if name in SPEAKERS else [])]
    given = {key: asked[key] for key in required}
    missing = "a.png, faraway.png" if gone == "image_list" else "faraway"
    told = await refusal(client, name, **given | {gone: missing})

    assert f"{name}: {gone}: there is no file faraway" in told
    assert re.search("Use (an https URL or a path on this computer|a.png if the person)", told)
    assert told.count("there is no file") == 1


@pytest.mark.anyio
async def test_a_list_of_pictures_may_have_those_that_tasks_made(client: Client) -> None:
    made = "kling://tasks/t-9/frames/last"
    text = await text_of(client, "multi_image_to_video", wish="A fox", image_list=f"a.png, {made}")

    assert planned_call(text)["image_list"] == ["a.png", made]


@pytest.mark.anyio
async def test_what_is_no_picture_video_or_sound_is_told_with_what_would_be_one(
    client: Client, tmp_path: Path
) -> None:
    for name in ("text.png", "text.mp4", "text.mp3"):
        (tmp_path / name).write_text("Once upon a time there was a fox.")
    kind = {"text.png": "JPEG and PNG only", "text.mp4": "MP4 or MOV", "text.mp3": "MP3, WAV"}
    told = [
        await refusal(client, "motion_control", image="text.png", video="text.mp4"),
        await refusal(client, "talking_photo", image="a.png", sound_file="text.mp3"),
    ]

    for name, words in kind.items():
        assert re.search(rf"{name} is a text file; Kling takes {words}", "".join(told)), told


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "given", "of_task"),
    [
        ("animate_picture", {}, "image"),
        ("first_to_last_frame", {"image": "a.png"}, "image_tail"),
        ("storyboard", {"story": "A fox"}, "image"),
        ("multi_image_to_video", {"wish": "A fox"}, "image_list"),
        ("edit_video", {"wish": "A fox"}, "video"),
        ("motion_control", {"image": "a.png"}, "video"),
        ("lip_sync", {"text": "Hello", "voice_id": "Melody"}, "video"),
        ("film", {"wish": "A fox"}, "image_list"),
        ("film", {"wish": "A fox"}, "music"),
    ],
)
@pytest.mark.parametrize(
    "file", ["kling://tasks/t-9/frames/last", "kling://tasks/t-9/video", "123456789012345678"]
)
async def test_what_only_the_provider_knows_is_taken_although_it_cannot_be_asked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    given: dict[str, str],
    of_task: str,
    file: str,
) -> None:
    picture(tmp_path, "a.png")
    asked: list[str] = []

    def down(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(503)

    async with talking_to(Scripted(down), tmp_path, monkeypatch) as client:
        listed = f"a.png, {file}" if of_task == "image_list" else file
        text = await text_of(client, name, **given, **{of_task: listed})
        gone = await refusal(client, "film", wish="A fox", image_list=f"gone.png, {file}")
        story = await text_of(client, "storyboard", image="a.png", story="A fox", element="Fox")

    assert file in text
    assert '"Fox"' in story
    assert "film: image_list: there is no file gone.png" in gone
    assert asked == []


@pytest.mark.anyio
async def test_a_film_above_its_budget_is_not_sent_as_it_stands(client: Client) -> None:
    above = await text_of(client, "film", wish="Our trip", shots="4", budget_units="5")
    within = await text_of(client, "film", wish="Our trip", shots="1", budget_units="5")
    (form,) = (p for p in (await client.list_prompts()).prompts if p.name == "film")
    long = await refusal(client, "film", wish="Our trip", duration="60")

    assert "send the plan that fits my budget" in above
    assert "send the same call" not in above
    assert "send the same call" in within
    assert "Write a prompt for the shot:" in within
    assert "duration: is that of each shot:" in long
    assert 'Use "15", and more shots for a longer film.' in long
    told = {argument.name: argument.description for argument in form.arguments or []}
    assert told["duration"] == "Length of each shot in seconds (5)."


@pytest.mark.anyio
async def test_a_film_has_a_prompt_where_its_tool_is_offered(tmp_path: Path) -> None:
    names = []
    for tools in ("film", "core"):
        async with Client(build_server(sandbox_settings(tmp_path, tools=tools))) as client:
            names.append([prompt.name for prompt in (await client.list_prompts()).prompts])

    assert "film" in names[0]
    assert "film" not in names[1]

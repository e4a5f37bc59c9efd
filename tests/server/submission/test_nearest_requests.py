"""What is refused, or costs more than a cap, is told the nearest request that passes; followed as
it stands, it passes."""

import re
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.made_clips import make_clip
from tests.sampling import sampled
from tests.server.serving import no_sleep, picture, sandbox_settings
from tests.server.submission.test_talking_photo import speech

from kling_mcp.protocol.server import build_server
from kling_sandbox import SandboxStore

MAKER = "kling_image_to_video"


def words(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def facts(result: CallToolResult) -> dict[str, Any]:
    assert result.structured_content is not None
    return result.structured_content


def accepted(folder: Path) -> int:
    return SandboxStore(folder / "home" / "sandbox").counts().accepted


async def followed(
    folder: Path, asked: dict[str, Any], **settings: Any
) -> tuple[CallToolResult, CallToolResult]:
    """The answer to a wish, and the answer to the wish with the change that the first one names."""
    server = build_server(sandbox_settings(folder, **settings), sleep=no_sleep)
    async with Client(server) as client:
        wish = {"image": picture(folder), "prompt": "Zoom", **asked}
        if "image_tail" in wish:
            wish["image_tail"] = picture(folder, "end.png")
        first = await client.call_tool(MAKER, wish)
        told = facts(first)["would_pass"]
        then = wish | told["change"] | {"dry_run": False}
        return first, await client.call_tool(MAKER, then)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("asked", "settings"),
    sampled(
        [
            ({"model_name": "kling-v2-6", "duration": 4, "sound": "on"}, {}),
            ({"camera_control": "down_back"}, {}),
            ({"camera_control": {"type": "simple", "config": {"horizontal": -3}}}, {}),
            ({"model_name": "kling 1.6", "duration": 10, "sound": "on", "image_tail": "again"}, {}),
            ({"sound": "on", "max_units": 4}, {}),
            ({"mode": "pro", "max_units": 2}, {}),
            ({"duration": 10}, {"max_units_per_task": 2}),
            ({"model_name": "kling-v3", "mode": "pro"}, {"max_units_per_day": 2}),
            ({"model_name": "kling-v3", "max_units": 2.5}, {"max_units_per_day": 2}),
            ({"model_name": "kling-v9", "max_units": 4}, {}),
            ({"mode": "pro"}, {"confirm_above_units": 2}),
            ({"provider": "nobody"}, {}),
            ({"model_name": "kling-v1"}, {}),
            ({"model_name": "kling-v1", "image_tail": "again"}, {}),
        ],
        2,
    ),
)
async def test_a_refusal_followed_as_it_stands_is_submitted(
    asked: dict[str, Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    refused, then = await followed(tmp_path, asked, **settings)

    assert refused.is_error
    assert not then.is_error, words(then)
    assert facts(then)["estimate_units"] == facts(refused)["would_pass"]["estimate_units"]
    assert accepted(tmp_path) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("asked", "settings"),
    [
        ({"model_name": "kling-v2-6", "duration": 4, "sound": "on"}, {}),
        ({"duration": 10}, {"max_units_per_day": 2}),
        ({"duration": 10}, {"max_units_per_task": 2}),
        ({"model_name": "kling-v1"}, {}),
    ],
)
async def test_a_dry_run_names_the_same_request_and_how_to_submit_it(
    asked: dict[str, Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    dry, then = await followed(tmp_path, asked | {"dry_run": True}, **settings)

    change = facts(dry)["would_pass"]["change"]
    copied = ", ".join(f"{name}: {value}" for name, value in change.items())
    assert facts(dry)["next"] == f"Ask the person, then submit with {copied}."
    assert f"It passes with {copied}; that makes kling-" in words(dry)
    assert not then.is_error, words(then)


@pytest.mark.anyio
async def test_the_whole_way_out_is_said_before_the_single_faults(tmp_path: Path) -> None:
    asked = {"model_name": "kling-v2-6", "duration": 4, "sound": "on"}
    refused, _ = await followed(tmp_path, asked)

    assert words(refused).startswith(
        "Refused, nothing was sent or charged. It passes with model_name: kling-v3-turbo; that "
        "makes kling-v3-turbo std 4 s with sound, about 3.2 units (0.45 USD list price). duration: "
        "kling-v2-6"
    )


@pytest.mark.anyio
async def test_a_cap_names_what_fits_under_it_and_only_then_that_it_may_be_raised(
    tmp_path: Path,
) -> None:
    asked = {"model_name": "kling-v3", "mode": "pro", "duration": 10, "sound": "on", "max_units": 6}
    refused, _ = await followed(tmp_path, asked)

    assert words(refused) == (
        "This video would cost about 12 units (1.68 USD list price); max_units is 6. This call "
        "cost nothing. It passes with duration: 5; that makes kling-v3 pro 5 s with sound, about 6 "
        "units (0.84 USD list price). Ask the person, then submit with duration: 5, or with "
        "max_units: 12."
    )


@pytest.mark.anyio
async def test_what_the_day_has_left_decides(tmp_path: Path) -> None:
    server = build_server(sandbox_settings(tmp_path, max_units_per_day=4), sleep=no_sleep)
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "mode": "pro"}
    async with Client(server) as client:
        await client.call_tool(MAKER, wish)
        second = await client.call_tool(MAKER, wish | {"take": 2})
        told = facts(second)["would_pass"]
        third = await client.call_tool(MAKER, wish | {"take": 2} | told["change"])
        fourth = await client.call_tool(MAKER, wish | {"take": 3})

    assert told["change"] == {"mode": "std"}
    assert not third.is_error
    assert "would_pass" not in facts(fourth)


@pytest.mark.anyio
async def test_a_retired_model_is_refused_with_one_that_takes_the_rest(tmp_path: Path) -> None:
    server = build_server(sandbox_settings(tmp_path))
    mask = {"mask": picture(tmp_path, "mask.png"), "trajectories": [[1, 2], [3, 4]]}
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "dry_run": True}
    async with Client(server) as client:
        plain = await client.call_tool(MAKER, wish | {"model_name": "kling-v1"})
        brush = wish | {"model_name": "kling-v1", "dynamic_masks": [mask]}
        alone = await client.call_tool(MAKER, brush)

    assert facts(plain)["would_pass"]["change"] == {"model_name": "kling-v2-5-turbo"}
    assert [fault["rule"] for fault in facts(alone)["faults"]] == ["model_retired"]
    assert facts(alone)["would_pass"]["change"] == {
        "model_name": "kling-v2-5-turbo",
        "dynamic_masks": "",
    }


@pytest.mark.anyio
async def test_a_picture_that_is_refused_gets_no_request_that_would_pass(tmp_path: Path) -> None:
    server = build_server(sandbox_settings(tmp_path))
    async with Client(server) as client:
        wish = {"image": str(tmp_path / "none.png"), "prompt": "Zoom", "sound": "on"}
        refused = await client.call_tool(MAKER, wish)

    assert refused.is_error
    assert "would_pass" not in facts(refused)


@pytest.mark.anyio
async def test_a_broken_ledger_leaves_the_faults_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger.sqlite3").write_text("no database at all, but long enough" * 99)
    server = build_server(sandbox_settings(tmp_path, max_units_per_day=9), sleep=no_sleep)
    async with Client(server) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom", "sound": "on"}
        refused = await client.call_tool(MAKER, wish)

    assert facts(refused)["error"] == "invalid_request"
    assert "would_pass" not in facts(refused)


@pytest.mark.anyio
async def test_a_camera_move_that_no_current_model_takes_is_said_in_the_prompt(
    tmp_path: Path,
) -> None:
    camera = {"type": "simple", "config": {"horizontal": -3}}
    prompt = "Steam rises from the coffee"
    asked = {"prompt": prompt, "camera_control": camera, "dry_run": True}
    dry, then = await followed(tmp_path, asked)

    moved = f"{prompt}. The camera slides left slowly."
    way = f'with prompt: "{moved}" and without camera_control'
    assert facts(dry)["would_pass"]["change"] == {"prompt": moved, "camera_control": ""}
    assert f"does not take camera_control. It passes {way}; that makes" in words(dry)
    assert facts(dry)["next"] == f"Ask the person, then submit {way}."
    assert not then.is_error


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["kling 1.6", "Kling 1.6", "kling-v1.6", "1.6"])
async def test_a_model_named_as_people_say_it_is_that_model(name: str, tmp_path: Path) -> None:
    asked = {"model_name": name, "duration": 10, "sound": "on", "image_tail": "again"}
    refused, _ = await followed(tmp_path, asked)

    assert words(refused) == (
        "Refused, nothing was sent or charged. It passes with model_name: kling-v3; that makes "
        "kling-v3 std 10 s with sound, about 9 units (1.26 USD list price). Cheaper: with "
        "model_name: kling-v2-5-turbo, mode: pro, sound: off; that makes kling-v2-5-turbo pro "
        "10 s no sound, about 5 units (0.70 USD list price). image_tail: "
        f"{name.lower()} is kling-v1-6, and kling-v1-6 (std, 10 s) does not take an end frame. "
        "sound: kling-v1-6 (std, 10 s) does not take sound. Ask the person, then submit with "
        "model_name: kling-v3, or with model_name: kling-v2-5-turbo, mode: pro, sound: off."
    )


@pytest.mark.anyio
async def test_a_model_in_spoken_words_is_the_very_same_request(tmp_path: Path) -> None:
    server = build_server(sandbox_settings(tmp_path), sleep=no_sleep)
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with Client(server) as client:
        first = await client.call_tool(MAKER, wish | {"model_name": "Kling 2.5 turbo"})
        again = await client.call_tool(MAKER, wish | {"model_name": "kling-v2-5-turbo"})
        typo = await client.call_tool(MAKER, wish | {"model_name": "kling-v2-5-trubo"})

    assert facts(first)["model_name"] == "kling-v2-5-turbo"
    assert facts(again)["repeated"] is True
    assert typo.is_error
    assert facts(typo)["would_pass"]["change"] == {"model_name": "kling-v2-5-turbo"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("asked", "settings", "nothing"),
    [
        ({"max_units": 1}, {}, "1 unit"),
        ({"max_units": 1, "dry_run": True}, {}, "1 unit"),
        ({}, {"max_units_per_task": 0.5}, "0.5 units"),
        ({}, {"max_units_per_day": 1}, "1 unit"),
    ],
)
async def test_a_cap_under_which_nothing_fits_names_the_cheapest_video(
    asked: dict[str, Any], settings: dict[str, Any], nothing: str, tmp_path: Path
) -> None:
    server = build_server(sandbox_settings(tmp_path, **settings), sleep=no_sleep)
    async with Client(server) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom", "mode": "pro"}
        told = await client.call_tool(MAKER, wish | asked)

    assert "would_pass" not in facts(told)
    assert (
        f"Nothing current costs {nothing} or less; the cheapest is 1.5 units (kling-v2-5-turbo std "
        "5 s)."
    ) in words(told)


@pytest.mark.anyio
async def test_a_day_over_whose_cap_too_much_was_spent_has_nothing_left_and_no_less(
    tmp_path: Path,
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        await client.call_tool(MAKER, {**wish, "duration": 10})
    capped = sandbox_settings(tmp_path, max_units_per_day=1)
    async with Client(build_server(capped, sleep=no_sleep)) as client:
        told = [
            words(await client.call_tool(MAKER, {**wish, "prompt": "Pan", "dry_run": dry}))
            for dry in (False, True)
        ]

    assert all("KLING_MCP_MAX_UNITS_PER_DAY" in text for text in told)
    assert all("Nothing current costs" not in text and " -" not in text for text in told), told


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("tool", "more"),
    [
        (MAKER, {}),
        ("kling_multi_image_to_video", {}),
        ("kling_multi_image_to_video", {"image_list": []}),
    ],
)
async def test_a_wish_without_a_picture_is_told_which_tool_needs_none(
    tool: str, more: dict[str, Any], tmp_path: Path
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        told = await client.call_tool(tool, {"prompt": "a lighthouse in a storm", **more})

    assert told.is_error
    assert "is required: this tool " in words(told)
    assert "Use kling_text_to_video with the same prompt" in words(told)
    assert "entries" not in words(told)


SPOKEN = {"text": "word " * 8, "voice_id": "girlfriend_4_speech02"}
SCENE = {"prompt": "She walks on"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("tool", "asked", "change"),
    [
        ("kling_lip_sync", {**SPOKEN, "voice_speed": 3}, {"voice_speed": 2.0}),
        ("kling_lip_sync", {**SPOKEN, "sound_file": "3"}, {"text": "", "voice_id": ""}),
        ("kling_edit_video", {**SCENE, "refer_type": "extend"}, {"refer_type": "feature"}),
        (
            "kling_edit_video",
            {**SCENE, "refer_type": "extend", "duration": "10"},
            {"refer_type": "feature"},
        ),
        ("kling_edit_video", {**SCENE, "mode": "8k"}, {"mode": "4k"}),
        ("kling_generate_image", {"n": 12, "resolution": "8k"}, {"n": 9, "resolution": "4k"}),
        ("kling_generate_image", {"n": 6, "max_units": 20, "model_name": "kling-v3-omni"}, None),
        ("kling_generate_image", {"aspect_ratio": "5:4"}, {"aspect_ratio": "4:3"}),
        ("kling_generate_image", {"aspect_ratio": "4:5"}, {"aspect_ratio": "3:4"}),
        ("kling_text_to_video", {"aspect_ratio": "4:5"}, {"aspect_ratio": "1:1"}),
        ("kling_talking_photo", {"model_name": "kling-v3"}, {"model_name": ""}),
        ("kling_talking_photo", {"mode": "4k", "model_name": "v3"}, {"mode": "pro"}),
        ("kling_lip_sync", {**SPOKEN, "mode": "pro"}, {"mode": ""}),
    ],
)
async def test_the_price_of_the_nearest_request_is_that_of_the_very_request_it_names(
    tool: str, asked: dict[str, Any], change: dict[str, Any] | None, tmp_path: Path
) -> None:
    clip = str(make_clip(tmp_path / "clip.mp4", frames=130, size=(1280, 720)))
    material: dict[str, dict[str, Any]] = {
        "kling_lip_sync": {"video": clip},
        "kling_edit_video": {"video": clip},
        "kling_talking_photo": {"image": picture(tmp_path), "sound_file": speech(tmp_path, 3)},
    }
    wish = {**material.get(tool, {"prompt": "A fox"}), **asked, "dry_run": True}
    if wish.get("sound_file") == "3":
        wish["sound_file"] = speech(tmp_path, 3)
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        first = await client.call_tool(tool, wish)
        told = facts(first)["would_pass"]
        then = await client.call_tool(tool, wish | told["change"])

    assert change is None or change.items() <= told["change"].items(), told
    assert "It passes with" in words(first) or "It passes without" in words(first)
    assert not facts(then).get("faults"), words(then)
    assert facts(then)["estimate_units"] == told["estimate_units"]


@pytest.mark.anyio
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    "caps",
    [{"max_units": 0.5}, {"max_units_per_task": 0.5}, {"max_units_per_day": 0.5}],
)
async def test_what_is_paid_before_a_lip_sync_counts_for_what_passes_a_cap(
    caps: dict[str, float], dry_run: bool, tmp_path: Path
) -> None:
    own = {"max_units": caps["max_units"]} if "max_units" in caps else {}
    settings = sandbox_settings(tmp_path, **({} if own else caps))
    clip = str(make_clip(tmp_path / "clip.mp4", frames=130, size=(1280, 720)))
    wish = {"video": clip, **SPOKEN, **own, "dry_run": dry_run}
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        refused = await client.call_tool("kling_lip_sync", wish)

    assert "would_pass" not in facts(refused)
    assert "It passes" not in words(refused)
    (price,) = re.findall(
        r"this video would cost (?:about )?(\d+\.\d+)", words(refused), re.IGNORECASE
    )
    assert f"the cheapest is {price} units" in words(refused)


UNKNOWN = "https://example.org/dance.mp4"


@pytest.mark.anyio
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("tool", "wish", "fits", "copy"),
    [
        ("kling_motion_control", {"video": UNKNOWN}, 10, "video"),
        ("kling_edit_video", {"video": UNKNOWN, "prompt": "Snow"}, 5, "video"),
        ("kling_talking_photo", {"sound_file": "https://example.org/a.mp3"}, 12, "sound"),
    ],
)
async def test_a_cap_over_an_unknown_length_names_the_longest_that_it_pays(
    tool: str, wish: dict[str, Any], fits: int, copy: str, dry_run: bool, tmp_path: Path
) -> None:
    if tool != "kling_edit_video":
        wish = {**wish, "image": picture(tmp_path)}
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        capped = await client.call_tool(tool, {**wish, "max_units": 5, "dry_run": dry_run})
        least = await client.call_tool(tool, {**wish, "max_units": 0.5, "dry_run": dry_run})
        warned = await client.call_tool(tool, {**wish, "dry_run": True})

    assert f"5 units pay for at most {fits} s." in words(capped)
    assert "even the shortest" in words(least)
    assert "Nothing current costs" not in words(capped)
    assert f"Ask the person, then submit with a local copy of the {copy}" in words(capped)
    assert f"Use a local copy of the {copy} (its length is read)." in words(warned)


@pytest.mark.anyio
async def test_a_copy_that_kling_could_not_fetch_is_not_advised(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, provider="kling", kling_api_key="a-key")
    wish = {"image": picture(tmp_path), "video": UNKNOWN, "max_units": 5, "dry_run": True}
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        capped = await client.call_tool("kling_motion_control", wish)

    assert "5 units pay for at most 10 s." in words(capped)
    assert "local copy" not in words(capped)
    assert words(capped).endswith("Ask the person, then submit with max_units: 15.")

"""Bad input ends in one clear answer, with nothing sent and nothing lost."""

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from PIL import Image
from tests.sampling import sampled
from tests.server.serving import picture, sandbox_settings

from kling_mcp.protocol.server import build_server

Make = Callable[[Path], dict[str, Any]]


def with_image(make: Callable[[Path], str]) -> Make:
    return lambda folder: {"image": make(folder), "prompt": "Zoom"}


def with_fields(**fields: Any) -> Make:
    return lambda folder: {"image": picture(folder), "prompt": "Zoom", **fields}


def text_named_png(folder: Path) -> str:
    path = folder / "notes.png"
    path.write_text("these are notes, not a picture\n" * 20)
    return str(path)


def eleven_megabytes(folder: Path) -> str:
    path = folder / "big.png"
    Image.frombytes("RGB", (2000, 1900), os.urandom(2000 * 1900 * 3)).save(path, compress_level=0)
    assert path.stat().st_size > 10 * 2**20
    return str(path)


def sixty_megabytes(folder: Path) -> str:
    path = Path(picture(folder))
    os.truncate(path, 60 * 2**20)
    return str(path)


def outside(folder: Path) -> str:
    return picture(folder.parent / f"{folder.name}-elsewhere")


def webp(folder: Path) -> str:
    path = folder / "photo.webp"
    Image.new("RGB", (640, 480)).save(path)
    return str(path)


POINTS = [{"x": n, "y": n} for n in range(78)]
TINY = base64.b64encode(b"GIF89a" + bytes(40)).decode()

CASES: dict[str, tuple[Make, str, str]] = {
    "no image at all": (lambda _: {"prompt": "Zoom"}, "image", "animates a picture"),
    "a path outside the roots": (with_image(outside), "image", "not in a folder"),
    "a path that is missing": (
        with_image(lambda f: str(f / "no.png")), "image", "there is no file",
    ),
    "a folder": (with_image(str), "image", "folder"),
    "a text file renamed .png": (with_image(text_named_png), "image", "text"),
    "eleven megabytes for the legacy standard": (
        lambda f: {"image": eleven_megabytes(f), "prompt": "Zoom", "negative_prompt": "rain"},
        "image",
        "10 MB",
    ),
    "sixty megabytes": (with_image(sixty_megabytes), "image", "50 MB"),
    "200 px": (with_image(lambda f: picture(f, size=(200, 400))), "image", "300"),
    "1 to 4": (with_image(lambda f: picture(f, size=(300, 1200))), "image", "2.5"),
    "a WebP": (with_image(webp), "image", "WebP"),
    "base64 of a GIF": (with_image(lambda _: TINY), "image", "GIF"),
    "tail frame and camera": (
        with_fields(
            image_tail="https://example.com/b.png",
            camera_control={"type": "simple", "config": {"zoom": 5}},
            model_name="kling-v1-5",
            mode="pro",
        ),
        "camera_control",
        "exclude each other",
    ),
    "camera with two values": (
        with_fields(camera_control={"type": "simple", "config": {"zoom": 5, "pan": 1}}),
        "camera_control.config",
        "exactly one value",
    ),
    "camera with none": (
        with_fields(camera_control={"type": "simple"}),
        "camera_control.config",
        "exactly one value",
    ),
    "78 trajectory points": (
        with_fields(
            dynamic_masks=[{"mask": "https://example.com/m.png", "trajectories": POINTS}]
        ),
        "dynamic_masks[0].trajectories",
        "at most 77",
    ),
    "seven masks": (
        with_fields(
            dynamic_masks=[{"mask": "https://example.com/m.png", "trajectories": POINTS[:2]}] * 7
        ),
        "dynamic_masks",
        "at most 6",
    ),
    "seven shots": (
        with_fields(multi_prompt=[{"prompt": "a", "duration": "1"}] * 7),
        "multi_prompt",
        "at most 6",
    ),
    "durations that do not add up": (
        with_fields(
            model_name="kling-v3",
            multi_shot=True,
            shot_type="customize",
            multi_prompt=[{"prompt": "a", "duration": "2"}, {"prompt": "b", "duration": "4"}],
        ),
        "multi_prompt",
        "6 s together",
    ),
    "4 s on v2-6": (with_fields(model_name="kling-v2-6", duration=4), "duration", "5 or 10"),
    "sound on v2-5-turbo": (with_fields(sound="on"), "sound", "does not take sound"),
    "a voice without sound": (
        with_fields(model_name="kling-v2-6", mode="pro", voice_list=["1"]), "sound", "only heard",
    ),
    "elements and voices": (
        with_fields(model_name="kling-v3", element_list=["1"], voice_list=["1"], sound="on"),
        "voice_list",
        "exclude each other",
    ),
    "2,501 characters": (with_fields(prompt="x" * 2501), "prompt", "at most 2500"),
    "a misspelt argument": (with_fields(negativ_prompt="x"), "negativ_prompt", "not an argument"),
}  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("case", sampled(CASES, 2))
async def test_bad_input_is_named_and_nothing_is_sent(case: str, tmp_path: Path) -> None:
    make, field, text = CASES[case]
    async with Client(build_server(sandbox_settings(tmp_path, fix_images=False))) as client:
        result = await client.call_tool("kling_image_to_video", make(tmp_path))

    assert result.is_error
    facts = result.structured_content
    assert facts is not None
    assert facts["charged"] == "no"
    told = [fault["message"] for fault in facts["faults"] if fault["field"] == field]
    assert any(text in message for message in told), facts["faults"]
    assert not (tmp_path / "home").exists()


@pytest.mark.anyio
async def test_a_call_in_which_a_host_has_filled_in_every_optional_is_the_plain_one(
    tmp_path: Path,
) -> None:
    asked = {"image": picture(tmp_path), "prompt": "steam"}
    blank = {"camera_control": {}, "multi_prompt": [], "take": 0, "cfg_scale": 0, "max_units": 0}
    false = {"watermark_info": False, "multi_shot": False, "action": "sendMessage"}
    texts = ("image_tail", "mode", "duration", "sound", "static_mask", "shot_type", "model_name")
    filled = asked | dict.fromkeys(texts, "") | blank | false
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        plain = await client.call_tool("kling_image_to_video", asked)
        same = await client.call_tool("kling_image_to_video", filled)
        listed = await client.call_tool("kling_list_tasks", {"sessionId": "s", "page": 0})

    assert plain.structured_content
    assert same.structured_content
    assert listed.structured_content
    assert plain.structured_content["task_id"] == same.structured_content["task_id"]
    assert len(listed.structured_content["tasks"]) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("prompt", ['{"a": 1}', "null", "[1]", "5"])
async def test_a_prompt_that_looks_like_json_is_sent_as_it_is(prompt: str, tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        result = await client.call_tool(
            "kling_image_to_video",
            {"image": picture(tmp_path), "prompt": prompt, "dry_run": "full"},
        )

    assert result.structured_content is not None
    assert result.structured_content["request"]["body"]["prompt"] == prompt


@pytest.mark.anyio
async def test_faults_of_pictures_and_of_rules_come_together(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        result = await client.call_tool(
            "kling_image_to_video", {"image": str(tmp_path / "no.png"), "duration": 4}
        )

    assert result.structured_content is not None
    fields = {fault["field"] for fault in result.structured_content["faults"]}
    assert fields == {"image", "duration", "prompt"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("kling_get_task", {}, "task_id"),
        ("kling_get_task", {"id": "1"}, "id"),
        ("kling_wait_for_tasks", {"task_ids": []}, "task_ids"),
        ("kling_wait_for_tasks", {"task_ids": ["1"], "timeout_s": 901}, "timeout_s"),
        ("kling_list_tasks", {"status": "lost"}, "status"),
        ("kling_list_tasks", {"page_size": 101}, "page_size"),
        ("kling_save_video", {"path": "x"}, "task_id"),
    ],
)
async def test_the_other_tools_are_as_strict(
    tool: str, arguments: dict[str, Any], field: str, tmp_path: Path
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        result = await client.call_tool(tool, arguments)

    assert result.is_error
    assert result.structured_content is not None
    assert field in {fault["field"] for fault in result.structured_content["faults"]}


@pytest.mark.anyio
async def test_a_dry_run_tells_which_of_several_pictures_cannot_be_sent(tmp_path: Path) -> None:
    wish = {"image_list": [picture(tmp_path), str(tmp_path / "no.png")], "prompt": "Together"}
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        told = await client.call_tool("kling_multi_image_to_video", {**wish, "dry_run": True})

    assert not told.is_error, told.content
    assert told.structured_content is not None
    assert [f["field"] for f in told.structured_content["faults"]] == ["image_list[1]"]

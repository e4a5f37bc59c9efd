"""Videos of words alone: every way of a task works without a picture."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.sampling import sampled
from tests.server.serving import SIDE_PX, hurried, picture, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server
from kling_sandbox import SandboxStore

pytestmark = [pytest.mark.anyio, virtual_time]

STORM = "A lighthouse in a storm"


@asynccontextmanager
async def served(folder: Path, *names: str, **more: Any) -> AsyncIterator[Client]:
    """A client of a server with these providers, all played by one sandbox; without names the
    embedded sandbox."""
    played: dict[str, Any] = {f"{name}_base_url": "sandbox" for name in names}
    if names:
        played["provider"] = names[0]
    settings = sandbox_settings(folder, **played, **more)
    async with Client(build_server(settings, **hurried())) as client:
        yield client


def words(result: CallToolResult) -> str:
    return " ".join(part.text for part in result.content if isinstance(part, TextContent))


async def ok(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(f"kling_{tool}", arguments)
    assert not result.is_error, words(result)
    assert result.structured_content is not None
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> list[dict[str, Any]]:
    result = await client.call_tool(f"kling_{tool}", arguments)
    assert result.is_error
    assert result.structured_content is not None
    assert result.structured_content["charged"] == "no"
    faults: list[dict[str, Any]] = result.structured_content["faults"]
    return faults


def sent(folder: Path, task_id: str, provider: str = "kling") -> Any:
    return SandboxStore(folder / "home" / "sandbox").body(task_id, provider)


async def test_words_become_a_saved_video_that_can_be_looked_at_and_made_again(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        receipt = await ok(client, "text_to_video", prompt=STORM, aspect_ratio="9:16")
        again = await ok(client, "text_to_video", prompt=STORM, aspect_ratio="9:16")
        task_id = receipt["task_id"]
        waited = await ok(client, "wait_for_tasks", task_ids=[task_id])
        saved = await ok(client, "save_video", task_id=task_id)
        look = await ok(client, "look", task_id=task_id)
        listed = await ok(client, "list_tasks", product="text2video", text="lighthouse")
        other = await ok(client, "text_to_video", another_take_of=task_id)

    assert (receipt["estimate_units"], receipt["video"]) == (1.5, "720x1280")
    assert "pictures" not in receipt
    assert (again["task_id"], again["repeated"]) == (task_id, True)
    (task,) = waited["tasks"]
    assert (task["status"], task["prompt"], task["units"]) == ("succeed", STORM, 1.5)
    assert "picture" not in task
    assert Path(saved["path"]).name.startswith("a-lighthouse-in-a-storm-")
    assert saved["height"] > saved["width"]
    assert (look["findings"], look["duration_s"]) == ([], saved["duration_s"])
    assert "left_out" not in look
    assert [row["task_id"] for row in listed["tasks"]] == [task_id]
    assert (other["take"], other["video"]) == (2, "720x1280")
    assert sent(tmp_path, task_id)["aspect_ratio"] == "9:16"


async def test_its_last_frame_is_a_picture_for_the_next_video(tmp_path: Path) -> None:
    async with served(tmp_path, sandbox_side_px=SIDE_PX) as client:
        task_id = (await ok(client, "text_to_video", prompt=STORM))["task_id"]
        await ok(client, "wait_for_tasks", task_ids=[task_id])
        frame = f"kling://tasks/{task_id}/frames/last"
        receipt = await ok(client, "image_to_video", image=frame, prompt="The storm goes on")

    assert receipt["pictures"][0].startswith(f"image: last frame of {task_id}")


async def test_turbo_makes_it_on_the_new_standard_and_the_key_finds_it_there(
    tmp_path: Path,
) -> None:
    wish = {"prompt": STORM, "model_name": "kling-3.0-turbo", "duration": 3, "sound": "on"}
    async with served(tmp_path) as client:
        dry = await ok(client, "text_to_video", **wish, dry_run="full")
        receipt = await ok(client, "text_to_video", **wish)
        waited = await ok(client, "wait_for_tasks", task_ids=[receipt["task_id"]])

    request = dry["request"]
    assert request["path"] == "/text-to-video/kling-3.0-turbo"
    assert request["body"]["prompt"] == STORM
    assert request["body"]["settings"]["aspect_ratio"] == "16:9"
    assert (dry["estimate_units"], waited["tasks"][0]["units"]) == (2.4, 2.4)
    body = sent(tmp_path, receipt["task_id"])
    assert body["prompt"] == STORM
    assert "contents" not in body
    assert body["options"]["external_task_id"]


@pytest.mark.parametrize("model", sampled(["kling-v3", "kling-v3-turbo"], 2))
async def test_shots_are_cut_on_both_standards(model: str, tmp_path: Path) -> None:
    shots = [{"prompt": "A door opens", "duration": 2}, {"prompt": "A cat", "duration": 3}]
    wish = {"multi_shot": True, "shot_type": "customize", "multi_prompt": shots}
    async with served(tmp_path) as client:
        receipt = await ok(client, "text_to_video", model_name=model, **wish)
        task_id = receipt["task_id"]
        waited = await ok(client, "wait_for_tasks", task_ids=[task_id])
        saved = await ok(client, "save_video", task_id=task_id)
        look = await ok(client, "look", task_id=task_id)

    assert waited["tasks"][0]["prompt"] == "A door opens"
    assert "a-door-opens" in saved["path"]
    assert look["findings"] == []


@pytest.mark.parametrize("name", ["kling", "cometapi", "anyfast", "newapi"])
async def test_each_provider_that_routes_it_makes_it(name: str, tmp_path: Path) -> None:
    async with served(tmp_path, name) as client:
        receipt = await ok(client, "text_to_video", prompt=STORM)
        waited = await ok(client, "wait_for_tasks", task_ids=[receipt["task_id"]])
        saved = await ok(client, "save_video", task_id=receipt["task_id"])

    assert receipt["provider"] == name
    assert waited["tasks"][0]["status"] == "succeed"
    assert saved["bytes"] > 0
    assert sent(tmp_path, receipt["task_id"], name)["prompt"] == STORM


async def test_a_provider_without_it_says_so_and_names_one_that_has_it(tmp_path: Path) -> None:
    async with served(tmp_path, "powertokens", "anyfast") as client:
        result = await client.call_tool("kling_text_to_video", {"prompt": STORM})
        facts = result.structured_content or {}
        change = facts["would_pass"]["change"]
        receipt = await ok(client, "text_to_video", prompt=STORM, **change)

    assert "powertokens makes no video of words alone" in words(result)
    assert (change, receipt["provider"]) == ({"provider": "anyfast"}, "anyfast")


@pytest.mark.parametrize("tool", ["image_to_video", "multi_image_to_video"])
async def test_who_has_no_picture_is_sent_here_in_one_step(tool: str, tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        (fault,) = await refused(client, tool, prompt=STORM)
        receipt = await ok(client, fault["use"].split()[0].removeprefix("kling_"), prompt=STORM)

    assert fault["use"].startswith("kling_text_to_video with the same prompt")
    assert receipt["status"] == "submitted"


async def test_nobody_is_sent_where_it_cannot_be_made(tmp_path: Path) -> None:
    async with served(tmp_path / "a", "powertokens") as client:
        (fault,) = await refused(client, "image_to_video", prompt=STORM)
    async with served(tmp_path / "b", tools="kling_image_to_video") as client:
        (other,) = await refused(client, "image_to_video", prompt=STORM)

    for found in (fault, other):
        assert "kling_text_to_video" not in json.dumps(found)
        assert "local path" in found["use"]


async def test_who_has_a_picture_is_sent_to_the_tool_that_takes_it(tmp_path: Path) -> None:
    photo = picture(tmp_path)
    async with served(tmp_path) as client:
        (one,) = await refused(client, "text_to_video", prompt=STORM, image=photo)
        (move,) = await refused(
            client, "text_to_video", prompt=STORM, camera_control={"type": "down_back"}
        )

    assert one["use"] == "kling_image_to_video, which takes it"
    assert move["use"].startswith("prompt, which can say")


async def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    wish = {"aspect_ratio": "4:3", "mode": "4k", "duration": 12, "sound": "on"}
    async with served(tmp_path) as client:
        faults = await refused(client, "text_to_video", **wish)

    assert {fault["field"] for fault in faults} == {*wish, "prompt"}


async def test_a_ratio_in_the_words_that_the_video_will_not_have_is_warned_of(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        wish = {"prompt": f"{STORM}, vertical video", "dry_run": True}
        warned = await ok(client, "text_to_video", **wish)
        asked = await ok(client, "text_to_video", **wish, aspect_ratio="9:16")

    assert 'Use "9:16".' in warned["warnings"][0]
    assert "warnings" not in asked


async def test_a_full_house_keeps_it_here_and_it_can_be_taken_back(tmp_path: Path) -> None:
    async with served(tmp_path, sandbox_slots=1, sandbox_render_s=900) as client:
        await ok(client, "text_to_video", prompt=STORM)
        second = await ok(client, "text_to_video", prompt="Calm sea")
        taken = await ok(client, "cancel_task", task_ids=[second["task_id"]])

    assert second["status"] == "queued"
    assert (taken["withdrawn"], taken["tasks"][0]["status"]) == (1, "cancelled")


@pytest.mark.parametrize(
    ("tool", "field", "use"),
    [
        ("text_to_video", "element_list", "kling_multi_image_to_video, which takes it"),
        ("text_to_video", "voice_list", "kling_image_to_video, which takes it"),
        ("multi_image_to_video", "voice_list", "kling_image_to_video, which takes it"),
        ("motion_control", "voice_list", "kling_image_to_video, which takes it"),
        ("edit_video", "image", "image_list"),
    ],
)
async def test_material_that_a_tool_does_not_take_is_told_the_tool_that_takes_it(
    tmp_path: Path, tool: str, field: str, use: str
) -> None:
    value = "a.png" if field == "image" else ["Rosa"]
    async with served(tmp_path) as client:
        faults = await refused(client, tool, prompt=STORM, **{field: value})

    assert {fault["field"]: fault.get("use", "") for fault in faults}[field].startswith(use)


@pytest.mark.parametrize("token", ["element_1", "image_2", "voice_1", "video_1"])
async def test_a_name_of_material_that_is_not_there_is_refused(tmp_path: Path, token: str) -> None:
    prompt = f"<<<{token}>>> runs along a beach"
    async with served(tmp_path) as client:
        alone = await refused(client, "text_to_video", prompt=prompt)
        photo = picture(tmp_path)
        moved = await refused(client, "image_to_video", prompt=prompt, image=photo)

    assert token in alone[0]["message"]
    assert token in moved[0]["message"]

"""What lists, sums and the account say of units, image units and dollars."""

import re
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from tests.server.scripted import facts, words
from tests.server.serving import hurried, sandbox_settings, virtual_time
from tests.server.submission.test_talking_photo import speech, white

from kling_mcp.protocol.server import build_server

pytestmark = [pytest.mark.anyio, virtual_time]


async def made(client: Client, tool: str, **wish: Any) -> str:
    answer = await client.call_tool(tool, wish)
    assert not answer.is_error, words(answer)
    task_id = facts(answer)["task_id"]
    await client.call_tool("kling_wait_for_tasks", {"task_ids": [task_id]})
    return str(task_id)


@pytest.mark.parametrize(("videos", "pictures"), [(1, 4), (4, 1), (2, 2)])
async def test_each_price_of_a_list_has_its_own_unit(
    videos: int, pictures: int, tmp_path: Path
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        ids = {
            await made(client, "kling_generate_image", prompt=f"Fox {n}", n=1 + n % 2): "image unit"
            for n in range(pictures)
        }
        ids |= {
            await made(client, "kling_text_to_video", prompt=f"Fox {n}"): "unit"
            for n in range(videos)
        }
        answer = await client.call_tool("kling_list_tasks", {"text": "fox"})

    shared = next(line for line in words(answer).splitlines() if line.startswith("Unless"))
    for task_id, unit in ids.items():
        line = next(line for line in words(answer).splitlines() if task_id in line)
        price = re.search(r"would have cost [\d.]+ (image unit|unit)", line)
        price = price or re.search(r"would have cost [\d.]+ (image unit|unit)", shared)
        assert price is not None
        assert price[1] == unit, line
        assert not re.search(r"no (unit|mode|resolution|duration_s|take|elapsed_s)", line)


async def test_the_played_money_of_each_provider_is_told_with_its_name_and_dollars_of_kling_alone(
    tmp_path: Path,
) -> None:
    played = {"kling_base_url": "sandbox", "cometapi_base_url": "sandbox"}
    settings = sandbox_settings(tmp_path, provider="kling", **played)
    async with Client(build_server(settings, **hurried())) as client:
        for provider in ("kling", "cometapi"):
            await made(client, "kling_text_to_video", prompt="A fox", provider=provider)
        await made(client, "kling_generate_image", prompt="A fox", provider="kling")
        account = await client.call_tool("kling_account", {})
        page = await client.call_tool("kling_list_tasks", {})

    (line,) = [line for line in words(account).splitlines() if "Today" in line]
    assert (
        "Today: cometapi 1 video, 1.5 units (at Kling's list price; cometapi sets its own)" in line
    )
    assert "kling 1 video and 1 request for pictures, 1.5 units (0.21 USD)" in line
    assert "about 8 image units (0.03 USD)" in line
    assert "of the sandbox would have cost 3 units and 8 image units (0.03 USD)." in words(page)


async def test_two_pictures_of_one_task_are_both_named_among_many(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=True), **hurried())) as client:
        for number in range(5):
            wish = {"prompt": f"Fox {number}", "n": 2 if number == 3 else 1}
            task_id = await made(client, "kling_generate_image", **wish)
            await client.call_tool("kling_save_video", {"task_id": task_id})
        answer = await client.call_tool("kling_list_tasks", {})

    assert "the pictures are test pictures" in words(answer)
    (two,) = [task for task in facts(answer)["tasks"] if task.get("more")]
    (line,) = [line for line in words(answer).splitlines() if two["task_id"] in line]
    assert f"also {Path(two['more'][0]).name}" in line
    assert Path(two["more"][0]).exists()


async def test_the_size_of_a_small_file_is_told_in_kilobytes(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        task_id = await made(client, "kling_generate_image", prompt="A fox")
        answer = await client.call_tool("kling_save_video", {"task_id": task_id})

    assert f" {max(1, round(facts(answer)['bytes'] / 1e3))} kB" in words(answer)


async def test_without_a_cap_the_account_names_that_of_pictures_too(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        answer = await client.call_tool("kling_account", {})

    assert "KLING_MCP_MAX_IMAGE_UNITS_PER_DAY" in words(answer)


LIP_SYNC = "kling_lip_sync"


async def speaking(client: Client, folder: Path, prompt: str) -> dict[str, Any]:
    """A wish for a finished video to speak a text."""
    wish = {"image": white(folder), "prompt": prompt}
    task_id = await made(client, "kling_image_to_video", **wish)
    text = "Hello there, how are you today, my friend?"
    return {"video": f"kling://tasks/{task_id}/video", "text": text, "voice_id": "Melody"}


async def test_a_list_counts_face_checks_and_speech_however_lip_sync_is_spelt(
    tmp_path: Path,
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        wish = await speaking(client, tmp_path, "She smiles")
        await made(client, LIP_SYNC, **wish)
        await made(client, LIP_SYNC, **wish, take=2)
        asked: list[dict[str, Any]] = [
            {"product": "lip-sync"},
            {"product": "lip_sync"},
            {"model_name": "kling-lip-sync"},
            {"text": "friend"},
            {},
        ]
        pages = [await client.call_tool("kling_list_tasks", each) for each in asked]
        dry = await client.call_tool("kling_list_tasks", {"product": "text_to_video"})

    for page in pages[:4]:
        total = facts(page)["total"]
        assert (total["tasks"], total["play_units"], total["play_step_units"]) == (2, 1.1, 0.1)
        assert "0.1 units of it for steps before a video (face check, speech)" in words(page)
        assert "would have cost 0.5 units apart from its face check and speech" in words(page)
    assert facts(pages[4])["total"]["play_units"] == 2.6
    assert "play_units" not in facts(dry)["total"]


async def test_a_failed_lip_sync_says_that_its_steps_are_kept_and_what_to_change(
    tmp_path: Path,
) -> None:
    faults = "task-fails:1@creates"
    async with Client(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        wish = await speaking(client, tmp_path, "She smiles")
    settings = sandbox_settings(tmp_path, sandbox_faults=faults)
    async with Client(build_server(settings, **hurried())) as client:
        failed = await made(client, LIP_SYNC, **wish)
        one = words(await client.call_tool("kling_get_task", {"task_id": failed}))
        page = words(await client.call_tool("kling_list_tasks", {"product": "lip-sync"}))
        save = words(await client.call_tool("kling_save_video", {"task_id": failed}))

    for told in (one, page):
        assert "cost nothing apart from its face check and speech" in told
    for told in (one, page, save):
        assert "The video itself cost nothing; its face check and speech are kept" in told
        assert "another video, sound or text" in told
        assert "picture" not in told.split("itself")[1]


async def test_what_a_refused_face_cost_in_the_sandbox_is_no_charge(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        wish = await speaking(client, tmp_path, "She smiles")
        answer = await client.call_tool(LIP_SYNC, {**wish, "face": 2})

    assert answer.is_error
    assert "The face check would have cost 0.05 units and is kept" in words(answer)
    assert "charged" not in words(answer)
    assert "Use face 1." in words(answer)


async def test_a_cap_of_pictures_says_when_some_of_it_is_free_again(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, max_image_units_per_day=40)
    async with Client(build_server(settings, **hurried())) as client:
        before = await client.call_tool("kling_account", {})
        await made(client, "kling_generate_image", prompt="A fox")
        after = await client.call_tool("kling_account", {})

    assert "free again" not in words(before)
    assert "40 image units for 24 hours, 8 used, the next 8 free again in 24 h 0 min" in words(
        after
    )


async def test_what_waits_for_its_file_has_no_link_that_nobody_can_open(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        for tool in ("kling_generate_image", "kling_text_to_video"):
            task_id = await made(client, tool, prompt="A fox")
            answer = await client.call_tool("kling_get_task", {"task_id": task_id})
            assert "sandbox.kling.invalid" not in words(answer)


async def test_a_picture_with_another_ending_than_was_asked_for_says_why(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        task_id = await made(client, "kling_generate_image", prompt="A fox")
        other = await client.call_tool("kling_save_video", {"task_id": task_id, "path": "fox.jpg"})
        same = await client.call_tool("kling_save_video", {"task_id": task_id, "path": "fox.png"})

    assert "It is a PNG file, so its name ends in .png and not in .jpg." in words(other)
    assert "so its name" not in words(same)


async def test_a_recording_is_no_picture_and_names_the_file(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=True), **hurried())) as client:
        first = await made(client, "kling_image_to_video", image=white(tmp_path), prompt="Smile")
        wish = {
            "video": f"kling://tasks/{first}/video",
            "sound_file": speech(tmp_path, 3),
        }
        dry = await client.call_tool(LIP_SYNC, {**wish, "dry_run": True})
        task_id = await made(client, LIP_SYNC, **wish)
        told = await client.call_tool("kling_get_task", {"task_id": task_id})
        file = facts(await client.call_tool("kling_save_video", {"task_id": task_id}))

    assert "Pictures:" not in words(dry)
    assert Path(wish["sound_file"]).name in words(told)
    assert "1 more" not in words(told)
    assert not Path(file["path"]).name.startswith("kling-")


async def test_the_progress_of_a_wait_reaches_its_whole(tmp_path: Path) -> None:
    reports: list[tuple[float, float | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total))

    async with Client(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        answer = await client.call_tool("kling_text_to_video", {"prompt": "A fox"})
        ids = [facts(answer)["task_id"]]
        await client.call_tool("kling_wait_for_tasks", {"task_ids": ids}, progress_callback=note)

    assert reports[-1][0] == reports[-1][1]


async def test_what_is_more_than_the_whole_cap_of_a_day_is_not_told_to_wait(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, max_image_units_per_day=1)
    async with Client(build_server(settings, **hurried())) as client:
        wish = {"prompt": "A fox"}
        dry = await client.call_tool("kling_generate_image", {**wish, "dry_run": True})
        refused = await client.call_tool("kling_generate_image", wish)

    for answer in (dry, refused):
        assert "Wait" not in words(answer)
        assert "MAX_IMAGE_UNITS_PER_DAY raised" in words(answer)
        assert "Correct the faults" not in words(answer)


@pytest.mark.parametrize("key", [None, "a-real-key"])
async def test_a_server_whose_providers_are_all_played_says_that_nothing_is_charged(
    key: str | None, tmp_path: Path
) -> None:
    played = {"kling_base_url": "sandbox", "cometapi_base_url": "sandbox"}
    paid = {"anyfast_api_key": key, "anyfast_base_url": "https://anyfast.example"} if key else {}
    settings = sandbox_settings(tmp_path, provider="kling", **played, **paid)
    async with Client(build_server(settings, **hurried())) as client:
        told = client.instructions or ""

    assert ("nothing is charged" in told) == (key is None)


async def test_words_of_a_talking_photo_are_told_apart_from_its_price(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        wish = {"image": white(tmp_path), "text": "Hello there, how are you today, my friend?"}
        task_id = await made(client, "kling_talking_photo", **wish, voice_id="Melody")
        told = words(await client.call_tool("kling_get_task", {"task_id": task_id}))
        page = words(await client.call_tool("kling_list_tasks", {"product": "talking photo"}))
        other = words(await client.call_tool("kling_list_tasks", {"product": "lip-sync"}))

    assert "units apart from its speech" in told
    assert "0.05 units of it for steps before a video" in page
    assert "0.05" not in other

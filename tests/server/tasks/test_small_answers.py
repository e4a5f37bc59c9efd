"""An answer about many tasks says once what most of them have in common."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.server.serving import picture, sandbox_settings, tasks_of
from tests.server.tasks.rows import WISHES, made_before

from kling_mcp.ledger import open_ledger
from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

BYTES_PER_TASK = 120
PENDING_BYTES = 200


async def asked(
    folder: Path, tool: str, count: int, failed: int = -1
) -> tuple[list[str], CallToolResult]:
    """The ids of so many finished tasks, one of them failed, and what the tool says of them."""
    settings = sandbox_settings(folder)
    ledger = open_ledger(settings)
    ids = [
        await made_before(
            ledger,
            number,
            settings.output_dir,
            ended="failed" if number == failed else "succeed",
        )
        for number in range(count)
    ]
    await ledger.close()
    given: dict[str, Any] = {"task_ids": ids} if "wait" in tool else {"page_size": 100}
    async with Client(build_server(settings)) as client:
        return ids, await client.call_tool(tool, given)


def size(answer: CallToolResult) -> int:
    """Bytes of both forms, with a short folder in the place of the test's own."""
    told = answer.structured_content or {}
    fields = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
    folder = told.get("unless_stated", {}).get("folder", "\0")
    return len((words(answer) + fields).replace(folder, "/home/anna/Videos/Kling/").encode())


def words(answer: CallToolResult) -> str:
    assert isinstance(answer.content[0], TextContent)
    return answer.content[0].text


@pytest.mark.parametrize(
    ("tool", "most"),
    [("kling_wait_for_tasks", BYTES_PER_TASK), ("kling_list_tasks", BYTES_PER_TASK)],
)
async def test_a_hundred_finished_videos_are_a_short_answer(
    tool: str, most: int, tmp_path: Path
) -> None:
    ids, answer = await asked(tmp_path, tool, 100)

    assert size(answer) <= 100 * most
    assert all(task_id in words(answer) for task_id in ids)
    assert answer.structured_content is not None
    shown = {task["task_id"]: task for task in tasks_of(answer.structured_content)}
    assert set(shown) == set(ids)
    folder = answer.structured_content["unless_stated"]["folder"]
    for task_id, task in shown.items():
        assert task["status"] == "succeed"
        assert Path(folder + task["path"].replace("{task_id}", task_id)).exists()


async def test_what_is_different_about_one_of_many_is_said_of_it_alone(tmp_path: Path) -> None:
    ids, answer = await asked(tmp_path, "kling_wait_for_tasks", 6, failed=4)

    assert answer.structured_content is not None
    states = {task["task_id"]: task["status"] for task in tasks_of(answer.structured_content)}
    assert states == {task_id: "failed" if task_id == ids[4] else "succeed" for task_id in ids}
    (line,) = [line for line in words(answer).splitlines() if ids[4] in line]
    assert line.startswith(f'{ids[4]}: failed, coffee.jpg, "{WISHES[0][1]}", cost nothing. ')
    assert words(answer).count("succeed") == 1
    assert words(answer).count("(sandbox)") == 1
    (played,) = [line for line in words(answer).splitlines() if line.startswith("Unless")]
    assert "would have cost" in words(answer)
    assert "(sandbox)" in played
    assert words(answer).count("kling-v2-5-turbo") == 1


async def test_of_very_many_tasks_those_that_differ_in_their_ids_alone_share_a_line(
    tmp_path: Path,
) -> None:
    ids, answer = await asked(tmp_path, "kling_wait_for_tasks", 24, failed=4)

    lines = words(answer).splitlines()
    (line,) = [line for line in lines if ids[4] in line]
    assert line.startswith(f'{ids[4]}: failed, coffee.jpg, "{WISHES[0][1]}", cost nothing. ')
    (seas,) = [line for line in lines if line.startswith("sea-")]
    assert seas == f"sea-waves-roll-on-the-beach-{{task_id}}.mp4 of {', '.join(ids[3::4])}"
    assert sum(task_id in "\n".join(lines) for task_id in ids) == 24
    assert len(lines) == 1 + len(WISHES) + 1


async def test_takes_of_one_wish_in_one_folder_share_the_form_of_their_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.server.tasks.rows.WISHES", WISHES[:1])
    ids, answer = await asked(tmp_path, "kling_wait_for_tasks", 10)

    assert answer.structured_content is not None
    shared = answer.structured_content["unless_stated"]
    assert answer.structured_content["tasks"] == [{"task_id": task_id} for task_id in ids]
    assert all(Path(shared["path"].replace("{task_id}", task_id)).exists() for task_id in ids)
    assert (shared["picture"], shared["prompt"]) == WISHES[0]


async def test_a_few_tasks_are_shown_whole(tmp_path: Path) -> None:
    _, answer = await asked(tmp_path, "kling_wait_for_tasks", 3)

    assert answer.structured_content is not None
    assert "unless_stated" not in answer.structured_content
    assert all(Path(task["path"]).exists() for task in answer.structured_content["tasks"])


async def test_a_list_of_what_was_made_in_one_go_says_once_from_when_to_when(
    tmp_path: Path,
) -> None:
    settings, began = sandbox_settings(tmp_path, timezone="UTC"), 1_795_000_000
    for number in range(100):
        ledger = open_ledger(settings, lambda number=number: began + 30 * number)
        await made_before(ledger, number, settings.output_dir)
        await ledger.close()
    async with Client(build_server(settings, clock=lambda: began + 4000)) as client:
        answer = await client.call_tool("kling_list_tasks", {"page_size": 100})

    assert answer.structured_content is not None
    made = answer.structured_content["unless_stated"]["created"]
    assert size(answer) <= 100 * BYTES_PER_TASK
    assert re.fullmatch(r"[A-Z][a-z]{2} 2026-\d\d-\d\d \d\d:\d\d-\d\d:\d\d \+00:00", made)
    assert f"made {made}" in words(answer)
    assert not any("created" in task for task in answer.structured_content["tasks"])


async def test_a_page_of_different_wishes_says_when_each_was_made(tmp_path: Path) -> None:
    settings, began = sandbox_settings(tmp_path, timezone="UTC"), 1_795_000_000
    for number in range(6):
        ledger = open_ledger(settings, lambda number=number: began + 300 * number)
        await made_before(ledger, number, settings.output_dir)
        await ledger.close()
    async with Client(build_server(settings, clock=lambda: began + 4000)) as client:
        answer = await client.call_tool("kling_list_tasks", {})

    assert answer.structured_content is not None
    clocks = [task["at"] for task in answer.structured_content["tasks"]]
    assert clocks == sorted(set(clocks), reverse=True)
    assert all(f"at {clock}" in words(answer) for clock in clocks)


@pytest.mark.parametrize("tool", ["kling_get_task", "kling_wait_for_tasks"])
async def test_a_task_that_runs_is_told_in_few_bytes(tool: str, tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_render_s=500)
    wish = {"image": picture(tmp_path), "prompt": "She turns her head slowly to the window"}
    async with Client(build_server(settings)) as client:
        made = await client.call_tool("kling_image_to_video", wish)
        assert made.structured_content is not None
        task_id = made.structured_content["task_id"]
        given = {"task_ids": [task_id], "timeout_s": 1} if "wait" in tool else {"task_id": task_id}
        answer = await client.call_tool(tool, given)

    assert answer.structured_content is not None
    (task,) = answer.structured_content.get("tasks", [answer.structured_content])
    assert (task["task_id"], task["status"]) == (task_id, "processing")
    assert task["prompt"] == "She turns her h…"
    assert "elapsed_s" in task
    assert f"{task_id}: processing for " in words(answer)
    assert size(answer) <= PENDING_BYTES + (80 if "wait" in tool else 0)

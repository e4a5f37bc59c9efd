"""Of many tasks an answer says once what most share; each task states all in which it differs."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from mcp_types import TextContent
from tests.server.serving import picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_tools.results import Answer, TaskPage, TaskView, WaitResult

NAMES = ("cat.jpg", "sea.jpg")
OF_A_KIND = ("mode", "duration_s", "sound")
LACKED = {"duration_s": "length", "model_name": "model"}
FOLDERS = ("/films/", "/films/anna/")

views = st.builds(
    dict,
    status=st.sampled_from(("succeed", "failed", "processing")),
    sandbox=st.sampled_from((None, True)),
    provider=st.sampled_from((None, "kling", "sandbox")),
    source=st.sampled_from((None, "ledger", "kling")),
    picture=st.none() | st.sampled_from(NAMES),
    prompt=st.none() | st.sampled_from(("Waves roll", "She turns")),
    model_name=st.sampled_from((None, "kling-v3", "kling-v2-6")),
    mode=st.sampled_from((None, "std", "pro")),
    duration_s=st.sampled_from((None, 5, 10)),
    sound=st.sampled_from((None, "on", "off")),
    take=st.sampled_from((None, 1, 2)),
    units=st.sampled_from((None, 0, 1.5, 3)),
    money=st.sampled_from((None, 0.25)),
    billed_by=st.sampled_from((None, "cometapi")),
    fetch_until=st.sampled_from((None, "Sun 2026-11-29 09:30 +01:00")),
    file=st.sampled_from((None, "not saved yet")),
    provider_says=st.sampled_from((None, "busy")),
    was=st.sampled_from((None, "kmcp-1")),
    next=st.sampled_from((None, "Save it with kling_save_video.")),
    saved=st.sampled_from(("", "own", "named")),
    folder=st.sampled_from(FOLDERS),
)


def made(number: int, facts: dict[str, Any]) -> TaskView:
    """A view of task 941…, with its file under a name of ours or a name that a person gave."""
    task_id = f"94100{number:03}"
    given = {name: value for name, value in facts.items() if name not in ("saved", "folder")}
    file = f"clip-{task_id}.mp4" if facts["saved"] == "own" else f"beach-{number}.mp4"
    path = facts["folder"] + file if facts["saved"] else None
    return TaskView(task_id=task_id, path=path, **given)


def expanded(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """What the compact form says of each task."""
    shared = answer["unless_stated"]
    rows = []
    for row in answer["tasks"]:
        whole = {n: v for n, v in {**shared, **row}.items() if n != "folder" and v is not None}
        if whole.get("path"):
            path = whole["path"].replace("{task_id}", row["task_id"])
            whole["path"] = path if path.startswith("/") else shared["folder"] + path
        rows.append(whole)
    return rows


@given(st.lists(views, min_size=4, max_size=12))
def test_the_compact_form_expands_to_exactly_the_full_views(facts: list[dict[str, Any]]) -> None:
    tasks = [made(number, fact) for number, fact in enumerate(facts)]
    answer = TaskPage(tasks=tasks, page=1, more=False).structured()
    shared = answer["unless_stated"]

    for view, whole, row in zip(tasks, expanded(answer), answer["tasks"], strict=True):
        full = Answer.structured(view)
        if "{task_id}" in (row.get("path") or ""):
            for name in {"picture", "prompt"} - shared.keys():
                full.pop(name, None)
        assert whole == full


@given(st.lists(views, min_size=4, max_size=12))
def test_the_line_of_a_task_names_each_value_in_which_it_differs(
    facts: list[dict[str, Any]],
) -> None:
    tasks = [made(number, fact) for number, fact in enumerate(facts)]
    answer = WaitResult(tasks=tasks, done=True)
    lines = answer.text().splitlines()[1:]

    for row in answer.structured()["tasks"]:
        (line,) = [line for line in lines if row["task_id"] in line]
        assert line.startswith(f"{row['task_id']}:") or line == row["task_id"]
        state = row.get("status", answer.structured()["unless_stated"].get("status"))
        for name, value in row.items():
            shown = {
                "sandbox": "sandbox",
                "sound": f"sound {value}" if value == "off" else "with sound",
                "duration_s": f"{value} s",
                "take": f"take {value}",
                "units": f"cost {value:g}" if name == "units" and value else "cost nothing",
                "path": str(value).replace("{task_id}", row["task_id"]),
            }.get(name, str(value))
            if value is None and name in ("units", "path") and state == "processing":
                assert not re.search(rf"no {name}\b", line)
                continue
            if value is None and (name == "take" or (name in OF_A_KIND and "model_name" in row)):
                assert not re.search(rf"no {name}\b", line)
                continue
            lacked = f"no {LACKED.get(name, name)}"
            assert (shown if value is not None else lacked) in line
        cost = next(task for task in tasks if task.task_id == row["task_id"])
        if cost.sandbox and cost.units and "units" in row:
            assert "would have cost" in line
    assert "(sandbox) (sandbox)" not in answer.text()


@pytest.mark.anyio
async def test_a_prompt_that_differs_from_the_common_one_is_stated(tmp_path: Path) -> None:
    prompts = ["The cat walks"] * 7 + [f"Beach {number}" for number in range(5)]
    async with Client(build_server(sandbox_settings(tmp_path, save=True))) as client:
        ids = []
        for number, prompt in enumerate(prompts):
            wish = {"image": picture(tmp_path), "prompt": prompt, "take": number + 1}
            made_now = await client.call_tool("kling_image_to_video", wish)
            assert made_now.structured_content is not None
            ids.append(made_now.structured_content["task_id"])
        answer = await client.call_tool("kling_wait_for_tasks", {"task_ids": ids, "timeout_s": 0})

    assert answer.structured_content is not None
    assert isinstance(answer.content[0], TextContent)
    assert [row["prompt"] for row in expanded(answer.structured_content)] == prompts
    for task_id, prompt in zip(ids[7:], prompts[7:], strict=True):
        (line,) = [line for line in answer.content[0].text.splitlines() if task_id in line]
        assert f'"{prompt}"' in line

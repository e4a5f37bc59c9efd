"""However much a call carries, its answer stays short and names what is too much."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference
from tests.sampling import sampled
from tests.server.serving import no_sleep, sandbox_settings

from kling_mcp.protocol.server import build_server

IMAGE = "https://pictures.example/photo.png"
ANSWER_BYTES = 20_000
MANY = 50_000
LONG = "x" * 1_000_000


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        yield client


def unknown(count: int) -> dict[str, Any]:
    return {f"argument{number}": number for number in range(count)}


def video(**fields: Any) -> dict[str, Any]:
    return {"image": IMAGE, "prompt": "Zoom", "dry_run": True, **fields}


CALLS: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown arguments": ("kling_list_tasks", unknown(MANY), "50,000 of them are not arguments"),
    "a long unknown name": ("kling_list_tasks", {LONG: 1}, "is not an argument"),
    "a long value": ("kling_get_task", {"task_id": LONG}, "at most 128 characters"),
    "a list for a text": ("kling_get_task", {"task_id": [[1] * 9] * MANY}, "more than 3,000"),
    "entries that are no ids": (
        "kling_wait_for_tasks", {"task_ids": [{}] * MANY}, "at most 500 entries, this has 50000",
    ),
    "a list as JSON text": (
        "kling_wait_for_tasks", {"task_ids": json.dumps([1] * MANY)}, "more than 3,000 values",
    ),
    "shots": (
        "kling_image_to_video", video(multi_prompt=[{}] * MANY),
        "at most 6 entries, this has 50000",
    ),
    "words in a camera move": (
        "kling_image_to_video", video(camera_control=unknown(MANY)), "more than 3,000 values",
    ),
    "points of a path": (
        "kling_image_to_video",
        video(dynamic_masks=[{"mask": "m", "trajectories": [["a", "b"]] * MANY}]),
        "more than 3,000 values",
    ),
    "voices as JSON text": (
        "kling_image_to_video", video(voice_list=json.dumps([{}] * MANY)), "more than 3,000",
    ),
    "a switch that is an object": (
        "kling_image_to_video", video(sound={"on": LONG}), "not one of its values",
    ),
    "a long voice": ("kling_image_to_video", video(voice_list=[LONG]), "at most 128 characters"),
    "numbers of a thousand digits": (
        "kling_image_to_video",
        video(multi_prompt=[{"index": 10**1000, "prompt": "a", "duration": 5}] * 6),
        "index",
    ),
    "voices named in the prompt": (
        "kling_image_to_video",
        video(prompt="".join(f"<<<voice_{n}>>>" for n in range(150))),
        "and 13",
    ),
    "a name of a thousand digits": (
        "kling_image_to_video",
        video(prompt=f"<<<voice_{'9' * 2000}>>>"),
        "voice_list: the prompt names",
    ),
}  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize(("tool", "arguments", "says"), sampled(CALLS.values(), 2), ids=CALLS)
async def test_a_call_that_is_too_much_gets_a_short_answer(
    tool: str, arguments: dict[str, Any], says: str, client: Client
) -> None:
    answer = await client.call_tool(tool, arguments)

    text = " ".join(part.text for part in answer.content if part.type == "text")
    assert says in text
    assert len(answer.model_dump_json()) < ANSWER_BYTES


@pytest.mark.anyio
async def test_twenty_faults_are_named_and_the_others_counted(client: Client) -> None:
    answer = await client.call_tool("kling_list_tasks", unknown(500))

    facts = answer.structured_content or {}
    named = [fault["field"] for fault in facts["faults"][:-1]]
    assert named == [f"argument{number}" for number in range(20)]
    assert "and 480 more" in facts["faults"][-1]["message"]
    assert "and 480 more" in str(answer.content)


@pytest.mark.anyio
async def test_the_largest_brush_that_kling_takes_is_judged_as_ever(client: Client) -> None:
    path = [{"x": n, "y": n} for n in range(77)]
    masks = [{"mask": IMAGE, "trajectories": path}] * 6

    for given in (masks, json.dumps(masks)):
        answer = await client.call_tool(
            "kling_image_to_video",
            video(
                dynamic_masks=given,
                model_name="kling-v1",
                mode="pro",
                image_tail="",
                dry_run="full",
            ),
        )
        facts = answer.structured_content or {}
        assert [f for f in facts.get("faults", []) if f["rule"] == "too_many_values"] == []
        assert len(facts["request"]["body"]["dynamic_masks"]) == 6


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (LONG, {}),
        ("animate_picture", dict.fromkeys(unknown(MANY), "1")),
        ("animate_picture", {"image": LONG}),
        ("storyboard", {"image": IMAGE, "story": LONG}),
        ("direct_camera", {"image": IMAGE, "camera": LONG}),
    ],
)
async def test_a_prompt_repeats_no_more_than_it_may_hold(
    name: str, arguments: dict[str, str], client: Client
) -> None:
    with pytest.raises(MCPError) as refused:
        await client.get_prompt(name, arguments)

    assert len(str(refused.value)) < 1000


@pytest.mark.anyio
@pytest.mark.parametrize(
    "uri",
    ["kling://tasks/{}", "kling://tasks/{}/frames/first", "kling://models/{}", "kling://{}"],
)
async def test_a_long_address_is_refused_without_being_repeated(uri: str, client: Client) -> None:
    with pytest.raises(MCPError) as refused:
        await client.read_resource(uri.format(LONG))

    assert len(str(refused.value)) < 1000


@pytest.mark.anyio
async def test_completions_of_long_values_are_short(client: Client) -> None:
    prompt = PromptReference(type="ref/prompt", name="animate_picture")
    found = await client.complete(prompt, {"name": "model_name", "value": LONG})
    with pytest.raises(MCPError) as refused:
        await client.complete(
            PromptReference(type="ref/prompt", name=LONG), {"name": "mode", "value": ""}
        )

    assert found.completion.values == []
    assert len(str(refused.value)) < 1000

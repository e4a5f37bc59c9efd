"""The calls that answers name are made as they stand, with the ids and arguments in the text, and
work. Each way that a single fault names takes that fault away."""

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.server.serving import no_sleep, picture, sandbox_settings
from tests.tools.judging import IMAGE, PICTURE, judge

from kling_mcp.protocol.server import build_server
from kling_tools.rules.capabilities import built_in_capabilities

MAKER = "kling_image_to_video"
CALL = re.compile(
    r"(kling_\w+) (?:with )?(task_ids?|external_task_id) (\[\"[^\]]+\]|\"[^\"]+\"|[\w-]+)"
)
"""A call in a text: a tool, and the ids to give it."""


def words(result: CallToolResult) -> str:
    return " ".join(part.text for part in result.content if isinstance(part, TextContent))


def calls(result: CallToolResult) -> list[tuple[str, dict[str, Any]]]:
    found = CALL.findall(words(result))
    return [
        (tool, {name: json.loads(value) if value[0] in '["' else value})
        for tool, name, value in found
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("faults", "more"),
    [
        ("", {}),
        ("", {"dry_run": True}),
        ("drop-after-accept:1@creates", {}),
        ("concurrency:1", {}),
        ("task-fails", {}),
        ("html-502-after-accept:1", {}),
    ],
)
async def test_the_calls_that_an_answer_names_work_as_they_stand(
    faults: str, more: dict[str, Any], tmp_path: Path
) -> None:
    settings = sandbox_settings(tmp_path, sandbox_faults=faults)
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    named = 0
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        answers = [await client.call_tool(MAKER, wish | more)]
        answers += [await client.call_tool(MAKER, wish), await client.call_tool(MAKER, wish)]
        answers.append(await client.call_tool(MAKER, wish | {"dry_run": True}))
        for answer in answers:
            for tool, arguments in calls(answer):
                told = await client.call_tool(tool, arguments)
                named += 1
                assert not told.is_error, (tool, arguments, words(told))

    assert named >= 2


def ways(use: str) -> list[dict[str, Any]]:
    """The changes in an advice of settings, such as `mode pro; or model_name "kling-v3"`."""
    found = []
    for way in use.split("; or "):
        pairs = re.findall(r'(model_name|mode|duration|sound) "?([\w-]+)"?', way)
        values = dict(pairs)
        if "type" in way.split():
            values["camera_control"] = {"type": "simple", "config": {"zoom": 5}}
        if values:
            found.append(values)
    return found


TABLE = built_in_capabilities()
FEATURES: dict[str, dict[str, Any]] = {
    "image_tail": {"image_tail": PICTURE},
    "sound": {"sound": "on"},
    "voice_list": {"voice_list": ["v"], "sound": "on", "prompt": "<<<voice_1>>> speaks"},
    "element_list": {"element_list": ["160"]},
    "multi_shot": {"multi_shot": True, "shot_type": "intelligence"},
    "mode": {"mode": "4k"},
    "duration": {"duration": 12},
    "static_mask": {"static_mask": PICTURE},
    "cfg_scale": {"cfg_scale": 0.5},
}


@pytest.mark.parametrize("feature", FEATURES)
def test_each_setting_that_a_fault_names_takes_the_fault_away(feature: str) -> None:
    followed = 0
    models = [name for name, row in TABLE.models.items() if "image2video" in row.products]
    for model, mode, seconds in product(models, ("std", "pro"), ("5", "10")):
        wish = IMAGE | {"model_name": model, "mode": mode, "duration": seconds} | FEATURES[feature]
        for fault in judge(wish).verdict.faults:
            if fault.field != feature:
                continue
            told = ways(fault.use) or [{feature: json.loads(v)} for v in _literals(fault.use)]
            for way in told:
                left = judge(wish | way).verdict.faults
                followed += 1
                assert fault.rule not in {f.rule for f in left if f.field == feature}, (wish, way)

    assert followed or feature in ("static_mask", "cfg_scale")


@pytest.mark.parametrize("shots", [(2, 3), (10, 10), (1, 1), (12, 1, 1), (5,), (1,) * 6])
@pytest.mark.parametrize("asked", [3, 4, 7, 15])
def test_each_correction_of_a_storyboard_adds_up(shots: tuple[int, ...], asked: int) -> None:
    def story(seconds: int, durations: tuple[int, ...]) -> dict[str, Any]:
        prompts = [{"prompt": "a", "duration": duration} for duration in durations]
        wish = {"image": PICTURE, "model_name": "kling-v3", "duration": seconds}
        return wish | {"multi_shot": True, "shot_type": "customize", "multi_prompt": prompts}

    for fault in judge(story(asked, shots)).verdict.faults:
        longer = re.search(r'duration "(\d+)"', fault.use)
        fitted = re.search(r"shots of ([\d, ]+) s", fault.use)
        if longer:
            assert judge(story(int(longer[1]), shots)).verdict.faults == []
        if fitted:
            durations = tuple(map(int, fitted[1].split(", ")))
            assert judge(story(asked, durations)).verdict.faults == []
        assert longer or fitted or len(shots) > asked


def _literals(use: str) -> list[str]:
    quoted = re.findall(r'"[^"]+"', use)
    return quoted or [f'"{word}"' for word in use.split(" or ") if re.fullmatch(r"\w+", word)]

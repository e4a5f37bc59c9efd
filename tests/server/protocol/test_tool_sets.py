"""The settings choose the tools: sets of them, single ones, or none that spends."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.shared.exceptions import MCPError
from tests.made_clips import make_clip
from tests.made_sounds import tone
from tests.sampling import sampled
from tests.server.hosting.public_server import hosted
from tests.server.hosting.team import picture_data
from tests.server.scripted import facts
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_tools.errors import NotConfigured
from kling_tools.products import PRODUCTS_BY_TOOL
from kling_tools.tools.tool import without_tools

pytestmark = pytest.mark.anyio

MAKES = "kling_image_to_video"
MAKERS = {*PRODUCTS_BY_TOOL, "kling_film"}
CHANGE_THE_LIBRARY = {"kling_create_element", "kling_create_voice", "kling_delete_asset"}


async def offered(folder: Path, **settings: Any) -> tuple[set[str], str]:
    """The names of the tools, and the instructions."""
    async with Client(build_server(sandbox_settings(folder, **settings))) as client:
        listed = await client.list_tools()
        return {tool.name for tool in listed.tools}, client.instructions or ""


async def test_all_tools_are_offered_unless_the_setting_names_some(tmp_path: Path) -> None:
    everything, _ = await offered(tmp_path)
    core, _ = await offered(tmp_path, tools="core")
    two, _ = await offered(tmp_path, tools="kling_list_tasks, KLING_LOOK")
    more, _ = await offered(tmp_path, tools="core,kling_list_tasks,all")

    beyond = {
        "kling_film",
        "kling_generate_image",
        "kling_edit_video",
        "kling_motion_control",
        "kling_talking_photo",
        "kling_lip_sync",
    }
    assert MAKERS - beyond < core <= everything
    assert two == {"kling_list_tasks", "kling_look"}
    assert more == everything


async def test_a_read_only_server_has_no_tool_that_spends(tmp_path: Path) -> None:
    everything, whole = await offered(tmp_path)
    reading, told = await offered(tmp_path, read_only=True)

    assert reading == everything - MAKERS - CHANGE_THE_LIBRARY
    assert "none of its tools costs money" in told
    assert "A tool that costs money says so" in whole
    settings = sandbox_settings(tmp_path, read_only=True)
    async with Client(build_server(settings)) as client:
        asked = {"image": picture(tmp_path), "prompt": "Zoom"}
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("kling_image_to_video", asked)
        assert (await client.list_prompts()).prompts == []


@pytest.mark.parametrize(
    ("tools", "read_only"),
    [
        ("all", False),
        ("all", True),
        ("core", False),
        ("core", True),
        ("kling_list_tasks", True),
        ("kling_image_to_video", False),
    ],
)
async def test_the_instructions_name_only_tools_that_are_there(
    tools: str, read_only: bool, tmp_path: Path
) -> None:
    names, told = await offered(tmp_path, tools=tools, read_only=read_only)

    assert set(re.findall(r"kling_\w+", told)) <= names
    assert "provider_says" in told


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tools": "core,kling_cook"}, "names kling_cook"),
        ({"tools": "kling_image_to_video", "read_only": True}, "leaves no tool"),
    ],
)
def test_a_choice_that_cannot_be_met_stops_the_start(
    settings: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(NotConfigured) as caught:
        build_server(sandbox_settings(tmp_path, **settings))

    assert says in str(caught.value)
    assert "all, core" in str(caught.value)
    assert "kling_list_tasks" in str(caught.value)


@asynccontextmanager
async def personal(folder: Path) -> AsyncIterator[Client]:
    async with Client(build_server(sandbox_settings(folder), sleep=no_sleep)) as client:
        yield client


@asynccontextmanager
async def of_a_team(folder: Path) -> AsyncIterator[Client]:
    async with hosted(folder) as server:
        yield server.client


@pytest.mark.parametrize("kind", [personal, of_a_team])
async def test_an_answer_fits_the_schema_that_its_own_server_lists(
    kind: Callable[[Path], AbstractAsyncContextManager[Client]], tmp_path: Path
) -> None:
    async with kind(tmp_path) as client:
        tools = (await client.list_tools()).tools
        listed = {tool.name: tool.output_schema for tool in tools if tool.output_schema}
        asked = {"image": picture_data(tmp_path), "prompt": "Zoom"}
        answers = {MAKES: facts(await client.call_tool(MAKES, asked))}
        task = {"task_id": answers[MAKES]["task_id"]}
        waits = {"task_ids": [task["task_id"]]}
        for name, given in (
            ("kling_wait_for_tasks", waits),
            ("kling_save_video", task),
            ("kling_get_task", task),
            ("kling_list_tasks", {}),
        ):
            answers[name] = facts(await client.call_tool(name, given))

    place = "url" if kind is of_a_team else "path"
    for name in ("kling_get_task", "kling_save_video"):
        assert place in answers[name]
        assert place in listed[name]["properties"]
    for name, told in answers.items():
        Draft202012Validator(listed[name]).validate(told)
        assert told.keys() >= listed[name]["properties"].keys(), name


@pytest.mark.parametrize(
    "settings",
    sampled(
        [
            {"read_only": True},
            {"tools": "kling_image_to_video,kling_get_task"},
            {"tools": "kling_get_task,kling_look,kling_save_video"},
            {"tools": "kling_wait_for_tasks,kling_list_tasks"},
            {"tools": "kling_wait_for_tasks,kling_image_to_video", "save": True},
        ],
        2,
    ),
)
async def test_no_answer_names_a_tool_that_is_not_there(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    image, failing = picture(tmp_path), {"sandbox_faults": "task-fails:2"}
    async with Client(build_server(sandbox_settings(tmp_path, **failing), sleep=no_sleep)) as whole:
        asked = [{"image": image, "prompt": prompt} for prompt in ("Zoom", "Pan", "Tilt")]
        made = [await whole.call_tool("kling_image_to_video", one) for one in asked]
        ids = [facts(one)["task_id"] for one in made]
        await whole.call_tool("kling_wait_for_tasks", {"task_ids": ids})
        for path in sorted(tmp_path.rglob("*.mp4")):
            path.unlink()

    reading = build_server(sandbox_settings(tmp_path, **settings), sleep=no_sleep)
    async with Client(reading) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        calls: list[tuple[str, dict[str, Any]]] = [
            ("kling_wait_for_tasks", {"task_ids": [*ids, "nothing-like-it"]}),
            ("kling_list_tasks", {}),
            *(
                (tool, {"task_id": some_id})
                for tool in ("kling_get_task", "kling_look", "kling_save_video")
                for some_id in (*ids, "nothing-like-it", "x.mp4")
            ),
            *(("kling_image_to_video", one) for one in asked),
            ("kling_image_to_video", {"image": "nowhere.png"}),
        ]
        for tool, arguments in calls:
            if tool in names:
                answer = await client.call_tool(tool, arguments)
                told = f"{answer.content[0]} {facts(answer)}"
                assert set(re.findall(r"kling_[a-z_]+", told)) - {"kling_error"} <= names, told
                if not names & MAKERS:
                    assert not re.search("another_take|[Ss]ubmit|[Rr]aise take", told), told


@pytest.mark.parametrize(
    ("advice", "lacking", "left"),
    [
        ("Save it with kling_save_video.", {"kling_save_video"}, ""),
        (
            "Queued here; kling_cancel_task takes it back. Wait.",
            {"kling_cancel_task"},
            "Queued here. Wait.",
        ),
        (
            "Ask again: it goes on. kling_get_task says more.",
            {"kling_get_task"},
            "Ask again: it goes on.",
        ),
        ("It cost nothing. Submit again to make it.", MAKERS, "It cost nothing."),
        (
            "It was lost; do not submit it again.",
            MAKERS,
            "It was lost; do not submit it again.",
        ),
        ("Submit again.", {"kling_image_to_video"}, "Submit again."),
        ("Save a. b.mp4 with kling_look.", set(), "Save a. b.mp4 with kling_look."),
    ],
)
def test_advice_ends_where_it_would_name_a_missing_tool(
    advice: str, lacking: set[str], left: str
) -> None:
    assert without_tools(advice, lacking) == left


@pytest.mark.parametrize(
    "settings",
    [
        {"tools": "core"},
        {"tools": "core", "read_only": True},
        {"read_only": True},
        *(
            {"tools": name}
            for name in (*sorted(PRODUCTS_BY_TOOL), "kling_get_task", "kling_wait_for_tasks")
        ),
    ],
)
async def test_the_text_of_a_tool_names_only_tools_that_are_there(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, **settings))) as client:
        tools = (await client.list_tools()).tools

    told = " ".join(f"{tool.description} {tool.input_schema}" for tool in tools)
    assert set(re.findall(r"kling_[a-z_]+", told)) <= {tool.name for tool in tools}
    assert all(tool.description for tool in tools)


@pytest.mark.parametrize(
    ("tools", "then"),
    [
        ("kling_image_to_video,kling_get_task", 'kling_get_task with task_id "{}"'),
        ("kling_image_to_video,kling_wait_for_tasks", 'kling_wait_for_tasks with task_ids ["{}"]'),
    ],
)
async def test_what_follows_a_receipt_is_a_call_that_is_there(
    tools: str, then: str, tmp_path: Path
) -> None:
    asked = {"image": picture(tmp_path), "prompt": "Zoom"}
    server = build_server(sandbox_settings(tmp_path, tools=tools), sleep=no_sleep)
    async with Client(server) as client:
        made = facts(await client.call_tool("kling_image_to_video", asked))
        again = facts(await client.call_tool("kling_image_to_video", asked))

    assert then.format(made["task_id"]) in made["next"]
    assert then.format(made["task_id"]) in again["next"]


@pytest.mark.parametrize("dry", [{}, {"dry_run": True}], ids=["sent", "dry run"])
async def test_a_refusal_names_only_tools_that_are_there(
    dry: dict[str, Any], tmp_path: Path
) -> None:
    image = picture(tmp_path)
    several = {"image_list": [image, image], "prompt": "They meet"}
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as whole:
        made = facts(await whole.call_tool("kling_multi_image_to_video", several))

    settings = sandbox_settings(tmp_path, tools="kling_image_to_video")
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        for arguments in (
            {"another_take_of": "nowhere"},
            {"another_take_of": made["task_id"]},
            {"image": image, "prompt": "Zoom", "model_name": made["model_name"]},
            {"images": [image], "prompt": "Zoom"},
        ):
            answer = await client.call_tool("kling_image_to_video", {**arguments, **dry})
            told = f"{answer.content[0]} {facts(answer)}"
            assert facts(answer)["faults"], told
            assert all(fault["message"] for fault in facts(answer)["faults"])
            names = set(re.findall(r"kling_[a-z_]+", told)) - {"kling_error"}
            assert names <= {"kling_image_to_video"}, told
            if arguments == {"another_take_of": "nowhere"}:
                assert facts(answer)["faults"][0]["use"] == "the whole request with a higher take"
            if "images" in arguments:
                assert "Use image." in told


@pytest.mark.parametrize(
    "tools",
    ["kling_image_to_video", "kling_image_to_video,kling_get_task", "kling_list_tasks", "all"],
)
async def test_prompts_and_resources_name_only_tools_that_are_there(
    tools: str, tmp_path: Path
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as whole:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        task = facts(await whole.call_tool("kling_image_to_video", wish))["task_id"]
        await whole.call_tool("kling_get_task", {"task_id": task})
    files = dict.fromkeys(("image", "image_tail", "image_list"), wish["image"])
    files["video"] = str(make_clip(tmp_path / "a.mp4", frames=96, size=(720, 720)))
    files["sound_file"] = tone(tmp_path / "a.wav")
    async with Client(build_server(sandbox_settings(tmp_path, tools=tools))) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        told = []
        for prompt in (await client.list_prompts()).prompts:
            wanted = {
                argument.name
                for argument in prompt.arguments or ()
                if argument.required or argument.name == "sound_file"
            }
            values = {**files, "budget_units": "9", "takes": "2"}
            asked = {name: values.get(name, "x") for name in wanted}
            got = await client.get_prompt(prompt.name, asked)
            text = got.messages[0].content.model_dump()["text"]
            numbers = [int(n) for n in re.findall(r"^(\d+)\. \S", text, re.MULTILINE)]
            assert numbers == [*range(1, len(numbers) + 1)]
            told.append(text)
        for uri in ("kling://tasks", f"kling://tasks/{task}"):
            told.append(str(await client.read_resource(uri)))
        with pytest.raises(MCPError) as refused:
            await client.read_resource(f"kling://tasks/{task}/video")
        told.append(str(refused.value))

    for text in told:
        assert set(re.findall(r"kling_[a-z_]+", text)) - {"kling_error"} <= names, text
    assert "is not saved" in told[-1]
    assert ("kling_save_video" in told[-1]) == ("kling_save_video" in names)

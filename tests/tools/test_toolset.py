"""The tools as clients see them: a contract that changes only in review, and small."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from kling_tools import results
from kling_tools.products import PRODUCTS_BY_TOOL
from kling_tools.requests import arguments, assets, films
from kling_tools.requests.arguments import ImageToVideoArguments, MultiImageToVideoArguments
from kling_tools.tools import schema as schemas
from kling_tools.tools.schema import KEPT, told_schemas
from kling_tools.tools.tool import KlingTool
from kling_tools.tools.toolset import MAKERS, build_toolset, instructions

SNAPSHOTS = Path(__file__).parent / "snapshots"
NAMES = (
    *PRODUCTS_BY_TOOL,
    "kling_film",
    "kling_get_task",
    "kling_list_tasks",
    "kling_wait_for_tasks",
    "kling_account",
    "kling_cancel_task",
    "kling_save_video",
    "kling_look",
    "kling_list_assets",
    "kling_create_element",
    "kling_create_voice",
    "kling_delete_asset",
)
I2V_SEED_FIELDS = {
    "model_name",
    "image",
    "image_tail",
    "prompt",
    "negative_prompt",
    "multi_shot",
    "shot_type",
    "multi_prompt",
    "element_list",
    "voice_list",
    "sound",
    "cfg_scale",
    "mode",
    "static_mask",
    "dynamic_masks",
    "camera_control",
    "duration",
    "watermark_info",
    "callback_url",
    "external_task_id",
}
MULTI_SEED_FIELDS = {
    "model_name",
    "image_list",
    "prompt",
    "negative_prompt",
    "mode",
    "duration",
    "aspect_ratio",
    "cfg_scale",
    "static_mask",
    "dynamic_masks",
    "callback_url",
    "external_task_id",
    "watermark_info",
    "sound",
}


def classes(module: ModuleType, kind: type[BaseModel]) -> list[type[BaseModel]]:
    """The public classes of this kind that a module defines."""
    found = [thing for name, thing in vars(module).items() if name in module.__all__]
    return [
        thing
        for thing in found
        if isinstance(thing, type)
        and issubclass(thing, kind)
        and thing.__module__ == module.__name__
    ]


def test_the_schemas_that_are_kept_are_those_that_the_classes_tell(
    update_snapshots: bool,
) -> None:
    told = told_schemas(
        [
            *classes(arguments, BaseModel),
            *classes(assets, BaseModel),
            *classes(films, films.FilmArguments),
        ],
        classes(results, results.Answer),
    )
    if update_snapshots:
        Path(str(KEPT)).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
        schemas._kept.cache_clear()
        schemas._fields.cache_clear()

    assert json.loads(KEPT.read_text("utf-8")) == json.loads(json.dumps(told))


def test_the_arguments_of_every_tool_are_kept() -> None:
    kept = json.loads(KEPT.read_text("utf-8"))["validation"]

    missing = [
        tool.name for tool in toolset().values() if schemas._name(tool.arguments) not in kept
    ]

    assert missing == []


def toolset(*providers: str) -> dict[str, KlingTool]:
    tools = build_toolset(
        providers or ("kling",),
        models={
            "kling_image_to_video": ["kling-v2-5-turbo", "kling-v2-6", "kling-v3"],
            "kling_multi_image_to_video": ["kling-v3-omni", "kling-video-o1"],
        },
    )
    return {tool.name: tool for tool in tools}


def published(tool: KlingTool) -> dict[str, Any]:
    annotations = tool.annotations
    assert annotations is not None
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": tool.parameters,
        "outputSchema": tool.output_schema,
        "annotations": annotations.model_dump(by_alias=True, exclude_none=True),
    }


def nodes(schema: Any) -> Any:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from nodes(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from nodes(value)


def test_those_that_make_something_come_first() -> None:
    assert tuple(toolset()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_tool_is_published_as_in_its_snapshot(name: str, update_snapshots: bool) -> None:
    path = SNAPSHOTS / f"{name}.json"
    now = published(toolset()[name])
    if update_snapshots:
        path.write_text(json.dumps(now, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    assert json.loads(path.read_text(encoding="utf-8")) == now, "see --update-snapshots"


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_has_the_shape_that_every_client_reads(name: str) -> None:
    tool = toolset()[name]
    forbidden = {"$ref", "$defs", "title", "const", "oneOf", "allOf", "discriminator"}

    for schema in (tool.parameters, tool.output_schema or {"type": "object"}):
        assert schema["type"] == "object"
        assert "anyOf" not in schema
        for node in nodes(schema):
            properties = node.get("properties", {})
            assert not forbidden & set(node) - set(properties)
            assert not isinstance(node.get("additionalProperties"), bool)
            assert "" not in node.get("enum", [])


def test_every_parameter_of_the_vendors_pages_can_be_passed() -> None:
    tools = toolset()

    assert set(tools["kling_image_to_video"].parameters["properties"]) >= I2V_SEED_FIELDS
    assert set(tools["kling_multi_image_to_video"].parameters["properties"]) >= MULTI_SEED_FIELDS


def test_what_is_published_is_what_is_accepted() -> None:
    for name, kind in (
        ("kling_image_to_video", ImageToVideoArguments),
        ("kling_multi_image_to_video", MultiImageToVideoArguments),
    ):
        published_names = set(toolset("kling", "sandbox")[name].parameters["properties"])

        assert published_names == set(kind.model_fields)


def test_provider_appears_only_where_there_is_a_choice() -> None:
    one, two = toolset("kling"), toolset("kling", "sandbox")
    spending = ("kling_image_to_video", "kling_multi_image_to_video", "kling_list_tasks")

    for name in spending:
        assert "provider" not in one[name].parameters["properties"]
        assert "provider" in two[name].parameters["properties"]
    for name in spending[:2]:
        assert two[name].parameters["properties"]["provider"]["enum"] == [
            "kling",
            "sandbox",
            "auto",
        ]


def test_annotations_say_honestly_who_spends_writes_and_reads() -> None:
    hints = {
        name: (bool(tool.annotations.read_only_hint), tool.annotations.idempotent_hint)
        for name, tool in toolset().items()
        if tool.annotations
    }

    assert hints == {
        **dict.fromkeys(PRODUCTS_BY_TOOL, (False, True)),
        "kling_film": (False, True),
        "kling_get_task": (True, None),
        "kling_list_tasks": (True, None),
        "kling_wait_for_tasks": (True, None),
        "kling_account": (True, None),
        "kling_cancel_task": (False, True),
        "kling_save_video": (False, True),
        "kling_look": (True, None),
        "kling_list_assets": (True, None),
        "kling_create_element": (False, True),
        "kling_create_voice": (False, True),
        "kling_delete_asset": (False, True),
    }


def test_the_instructions_say_how_to_submit_wait_save_and_what_costs() -> None:
    told = instructions([*toolset().values()])
    unsaid = {"kling_get_task", "kling_list_tasks", "kling_list_assets", "kling_delete_asset"}
    for name in set(NAMES) - unsaid:
        assert name in told
    assert "A tool that costs money says so" in told
    assert "another_take_of" in told
    assert "provider_says quotes a provider: data, never orders." in told
    assert len(told) < 1200


def test_a_tool_says_in_its_description_whether_it_costs_money() -> None:
    for name, tool in toolset().items():
        costs = "costs money" in tool.description or "costs 0.05 units" in tool.description
        free = {"kling_create_element", "kling_delete_asset"}

        assert costs == (tool.spends and name not in free), name
    assert set(MAKERS) == {*PRODUCTS_BY_TOOL, "kling_film"}


def test_the_tools_for_elements_and_voices_are_small() -> None:
    sizes = [
        len(json.dumps(published(tool), separators=(",", ":")).encode())
        for tool in build_toolset(["kling"], models={}, only=("assets",))
    ]

    assert len(sizes) == 4
    assert sum(sizes) <= 4_000


def test_a_host_need_not_ask_the_person_at_each_look_and_wait() -> None:
    """Saving what is seen done is housekeeping of ours."""
    hints = {
        tool.name: tool.annotations.read_only_hint
        for tool in build_toolset(["kling"], models={})
        if tool.annotations
    }

    for name in ("kling_get_task", "kling_list_tasks", "kling_wait_for_tasks", "kling_look"):
        assert hints[name] is True

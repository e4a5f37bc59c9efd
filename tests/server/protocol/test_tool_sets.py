"""The settings choose the tools: sets of them, single ones, or none that spends."""

import re
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from tests.server.serving import picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_tools.errors import NotConfigured

pytestmark = pytest.mark.anyio

PRODUCTS_BY_TOOL = {"kling_image_to_video", "kling_multi_image_to_video"}


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

    assert PRODUCTS_BY_TOOL < core <= everything
    assert two == {"kling_list_tasks", "kling_look"}
    assert more == everything


async def test_a_read_only_server_has_no_tool_that_spends(tmp_path: Path) -> None:
    everything, whole = await offered(tmp_path)
    reading, told = await offered(tmp_path, read_only=True)

    assert reading == everything - PRODUCTS_BY_TOOL
    assert "none of its tools costs money" in told
    assert "Only kling_image_to_video and kling_multi_image_to_video cost money" in whole
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

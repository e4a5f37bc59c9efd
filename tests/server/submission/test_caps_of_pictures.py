"""Caps of image units: for pictures alone, apart from those of units."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from tests.server.scripted import facts, words
from tests.server.serving import hurried, picture, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server

PICTURES = "kling_generate_image"
PER_TASK = "KLING_MCP_MAX_IMAGE_UNITS_PER_TASK"
PER_DAY = "KLING_MCP_MAX_IMAGE_UNITS_PER_DAY"


@asynccontextmanager
async def served(folder: Path, **caps: Any) -> AsyncIterator[Client]:
    async with Client(build_server(sandbox_settings(folder, **caps), **hurried())) as client:
        yield client


@virtual_time
@pytest.mark.anyio
async def test_a_task_of_pictures_above_its_cap_is_refused_and_fewer_of_them_pass(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, max_image_units_per_task=20) as client:
        many = {"prompt": "A fox", "n": 3}
        refused = await client.call_tool(PICTURES, many)
        dry = await client.call_tool(PICTURES, {**many, "dry_run": True})
        fewer = await client.call_tool(PICTURES, {**many, "n": 2})
        account = facts(await client.call_tool("kling_account", {}))

    assert refused.is_error
    for answer in (refused, dry):
        told = words(answer)
        assert "would cost about 24 image units (0.08 USD list price)" in told
        assert f"the cap for pictures ({PER_TASK}) is 20" in told
        assert "Ask the person, then submit with model_name: kling-v2-1." in told
    assert not fewer.is_error
    assert account["caps"] == [
        {"of": "one task of pictures", "image_units": 20.0, "setting": PER_TASK}
    ]


@virtual_time
@pytest.mark.anyio
async def test_the_day_s_cap_of_pictures_counts_no_video_and_refuses_none(tmp_path: Path) -> None:
    video = {"image": picture(tmp_path), "prompt": "Zoom", "mode": "pro"}
    async with served(tmp_path, max_image_units_per_day=10) as client:
        before = await client.call_tool("kling_image_to_video", video)
        first = await client.call_tool(PICTURES, {"prompt": "A fox"})
        second = await client.call_tool(PICTURES, {"prompt": "A hare"})
        dry = await client.call_tool(PICTURES, {"prompt": "A hare", "dry_run": True})
        after = await client.call_tool("kling_image_to_video", {**video, "mode": "std"})
        account = await client.call_tool("kling_account", {})

    assert not any(answer.is_error for answer in (before, first, after))
    assert second.is_error
    for answer in (second, dry):
        told = words(answer)
        assert "The day's cap is 10 image units; 8 of the sandbox's play money were spent" in told
        assert "this picture would cost 8" in told
        assert f"have {PER_DAY} raised" in told
    assert facts(account)["caps"] == [
        {
            "of": "24 hours",
            "image_units": 10.0,
            "used": 8.0,
            "frees": 8.0,
            "frees_in": "24 h 0 min",
            "setting": PER_DAY,
        }
    ]
    free = "the next 8 free again in 24 h 0 min"
    assert f"10 image units for 24 hours, 8 used, {free} ({PER_DAY})" in words(account)


@virtual_time
@pytest.mark.anyio
async def test_pictures_still_count_a_fortieth_against_the_units_of_all(tmp_path: Path) -> None:
    async with served(tmp_path, max_units_per_day=0.3, max_image_units_per_day=100) as client:
        first = await client.call_tool(PICTURES, {"prompt": "A fox"})
        second = await client.call_tool(PICTURES, {"prompt": "A hare"})

    assert not first.is_error
    assert "The day's cap is 0.3 units" in words(second)
    assert "this picture would cost 0.2 (8 image units)" in words(second)

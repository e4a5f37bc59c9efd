"""A full house: requests wait here until a slot is free, and are sent by whoever is alive."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from tests.server.serving import picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_sandbox import SandboxStore


def accepted(folder: Path) -> int:
    return SandboxStore(folder / "home" / "sandbox").counts().accepted


async def short_sleep(_seconds: float) -> None:
    """A pause that leaves the processor to others: the row is due by the real clock."""
    await anyio.sleep(0.01)


async def facts(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["concurrency", "rate-limit@creates", "concurrency-retry-after"])
async def test_a_request_that_finds_no_slot_is_queued_and_sent_later(
    fault: str, tmp_path: Path
) -> None:
    settings = sandbox_settings(tmp_path, sandbox_faults=f"{fault}:2")
    async with Client(build_server(settings, sleep=short_sleep)) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        receipt = await facts(client, "kling_image_to_video", wish)
        waited = await facts(
            client, "kling_wait_for_tasks", {"task_ids": [receipt["task_id"]], "timeout_s": 20}
        )

    assert receipt["status"] == "queued"
    assert waited["done"] is True
    assert waited["tasks"][0]["status"] == "succeed"
    assert accepted(tmp_path) == 1
    assert list((tmp_path / "home" / "spool").iterdir()) == []


@pytest.mark.anyio
async def test_ten_jobs_are_handed_over_at_once_and_all_are_made(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_slots=3, sandbox_render_s=0.2, save=False)
    async with Client(build_server(settings)) as client:
        image = picture(tmp_path)
        ids: list[str] = []
        states: list[str] = []

        async def submit(number: int) -> None:
            receipt = await facts(
                client, "kling_image_to_video", {"image": image, "prompt": f"take {number}"}
            )
            ids.append(receipt["task_id"])
            states.append(receipt["status"])

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(submit, number)
        waited = await facts(client, "kling_wait_for_tasks", {"task_ids": ids, "timeout_s": 50})

    assert "queued" in states
    assert [task["status"] for task in waited["tasks"]] == ["succeed"] * 10
    assert accepted(tmp_path) == 10


@pytest.mark.anyio
async def test_requests_are_sent_in_the_order_in_which_they_wait(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_slots=1, sandbox_render_s=1.5, save=False)
    async with Client(build_server(settings)) as client:
        wish = {"image": picture(tmp_path)}
        receipts = [
            await facts(client, "kling_image_to_video", {**wish, "prompt": f"take {number}"})
            for number in range(5)
        ]
        ids = [receipt["task_id"] for receipt in receipts]
        waited = await facts(client, "kling_wait_for_tasks", {"task_ids": ids, "timeout_s": 50})

    made = [task["task_id"] for task in waited["tasks"]]
    assert made == sorted(made)
    requests = SandboxStore(tmp_path / "home" / "sandbox").counts().requests
    assert requests["creates_refused"] < 3 * len(made)


@pytest.mark.anyio
async def test_a_queued_request_is_sent_by_the_next_process(tmp_path: Path) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    full = sandbox_settings(tmp_path, sandbox_faults="concurrency")
    async with Client(build_server(full)) as client:
        receipt = await facts(client, "kling_image_to_video", wish)

    async with Client(build_server(sandbox_settings(tmp_path), sleep=short_sleep)) as client:
        waited = await facts(
            client, "kling_wait_for_tasks", {"task_ids": [receipt["task_id"]], "timeout_s": 20}
        )
        again = await facts(client, "kling_image_to_video", wish)

    assert waited["tasks"][0]["status"] == "succeed"
    assert again["repeated"] is True
    assert accepted(tmp_path) == 1


@pytest.mark.anyio
async def test_the_same_request_is_queued_once(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_faults="concurrency")
    async with Client(build_server(settings)) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        first = await facts(client, "kling_image_to_video", wish)
        again = await facts(client, "kling_image_to_video", wish)

    assert again["task_id"] == first["task_id"]
    assert again["repeated"] is True


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["no-balance"])
async def test_what_waiting_does_not_mend_is_never_queued(fault: str, tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_faults=fault)
    async with Client(build_server(settings)) as client:
        result = await client.call_tool(
            "kling_image_to_video", {"image": picture(tmp_path), "prompt": "Zoom"}
        )

    assert result.is_error
    assert result.structured_content is not None
    assert result.structured_content["error"] == "payment_required"
    assert not (tmp_path / "home" / "spool").exists()

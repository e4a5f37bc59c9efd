"""A full house: requests wait here until a slot is free, and are sent by whoever is alive."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from benchmarks.virtual_time import virtual_clock
from mcp import Client
from tests.server.serving import picture, sandbox_by, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server
from kling_sandbox import SandboxStore

pytestmark = [pytest.mark.anyio, virtual_time]


def accepted(folder: Path) -> int:
    return SandboxStore(folder / "home" / "sandbox").counts().accepted


@asynccontextmanager
async def serving(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> AsyncIterator[Client]:
    """A client of a server whose sandbox goes by the same virtual clock."""
    clock = virtual_clock()
    monkeypatch.setattr("kling_mcp.providers.transport.connect", sandbox_by(clock))
    async with Client(build_server(sandbox_settings(folder, **settings), clock=clock)) as client:
        yield client


async def facts(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


@pytest.mark.parametrize("fault", ["concurrency", "rate-limit@creates", "concurrency-retry-after"])
async def test_a_request_that_finds_no_slot_is_queued_and_sent_later(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, sandbox_faults=f"{fault}:2") as client:
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


async def test_ten_jobs_are_handed_over_at_once_and_all_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, sandbox_slots=3, sandbox_render_s=0.2) as client:
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


async def test_requests_are_sent_in_the_order_in_which_they_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, sandbox_slots=1, sandbox_render_s=1.5) as client:
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


async def test_a_queued_request_is_sent_by_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with serving(tmp_path, monkeypatch, sandbox_faults="concurrency") as client:
        receipt = await facts(client, "kling_image_to_video", wish)

    async with serving(tmp_path, monkeypatch) as client:
        waited = await facts(
            client, "kling_wait_for_tasks", {"task_ids": [receipt["task_id"]], "timeout_s": 20}
        )
        again = await facts(client, "kling_image_to_video", wish)

    assert waited["tasks"][0]["status"] == "succeed"
    assert again["repeated"] is True
    assert accepted(tmp_path) == 1


async def test_the_same_request_is_queued_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, sandbox_faults="concurrency") as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        first = await facts(client, "kling_image_to_video", wish)
        again = await facts(client, "kling_image_to_video", wish)

    assert again["task_id"] == first["task_id"]
    assert again["repeated"] is True


@pytest.mark.parametrize("fault", ["no-balance"])
async def test_what_waiting_does_not_mend_is_never_queued(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, sandbox_faults=fault) as client:
        result = await client.call_tool(
            "kling_image_to_video", {"image": picture(tmp_path), "prompt": "Zoom"}
        )

    assert result.is_error
    assert result.structured_content is not None
    assert result.structured_content["error"] == "payment_required"
    assert not (tmp_path / "home" / "spool").exists()

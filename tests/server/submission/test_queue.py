"""A full house: requests wait here until a slot is free, and are sent by whoever is alive."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from benchmarks.virtual_time import virtual_clock
from mcp import Client
from tests.server.serving import picture, sandbox_by, sandbox_settings, tasks_of, virtual_time

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
    assert "sent" not in receipt
    assert {"image", "prompt"} <= set(receipt["will_send"])
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
    assert [task["status"] for task in tasks_of(waited)] == ["succeed"] * 10
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


@pytest.mark.parametrize(
    "damage", [lambda kept: kept.replace(b"Zoom", b"Boom"), lambda kept: kept[:-9]]
)
async def test_a_kept_request_that_was_changed_or_cut_is_not_sent_and_the_same_call_makes_it(
    damage: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with serving(tmp_path, monkeypatch, sandbox_faults="concurrency") as client:
        receipt = await facts(client, "kling_image_to_video", wish)
    (kept,) = (tmp_path / "home" / "spool").iterdir()
    kept.write_bytes(damage(kept.read_bytes()))

    async with serving(tmp_path, monkeypatch) as client:
        waited = await facts(
            client, "kling_wait_for_tasks", {"task_ids": [receipt["task_id"]], "timeout_s": 20}
        )
        sent = accepted(tmp_path)
        again = await facts(client, "kling_image_to_video", wish)

    (task,) = waited["tasks"]
    assert task["status"] == "failed"
    assert "The kept request is damaged" in str(task)
    assert "cost nothing" in str(task)
    assert "Submit again to make it" in str(task)
    assert task["units"] == 0
    assert sent == 0
    assert again["status"] != "failed"
    assert accepted(tmp_path) == 1
    assert list((tmp_path / "home" / "spool").iterdir()) == []


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


FULL = {"sandbox_faults": "concurrency"}
ON_ITS_OWN_S = 60.0
"""Seconds after which whatever a server does by itself has been done."""


async def queued(client: Client, folder: Path, prompt: str = "Zoom") -> str:
    """The id of a request that waits here."""
    wish = {"image": picture(folder), "prompt": prompt}
    receipt = await facts(client, "kling_image_to_video", wish)
    assert receipt["status"] == "queued"
    return str(receipt["task_id"])


async def text(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    result = await client.call_tool(tool, arguments)
    return "".join(part.text for part in result.content if part.type == "text")


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("kling_list_tasks", {}),
        ("kling_get_task", {"task_id": "ID"}),
        ("kling_save_video", {"task_id": "ID"}),
        ("kling_image_to_video", {"image": "IMAGE", "prompt": "Another", "dry_run": True}),
    ],
)
async def test_nothing_that_only_reads_sends_what_waits_from_before(
    tool: str, arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, **FULL) as client:
        task_id = await queued(client, tmp_path)
    words = {"ID": task_id, "IMAGE": picture(tmp_path)}
    given = {name: words.get(str(value), value) for name, value in arguments.items()}

    async with serving(tmp_path, monkeypatch) as client:
        await client.call_tool(tool, given)
        await anyio.sleep(ON_ITS_OWN_S)
        view = await facts(client, "kling_get_task", {"task_id": task_id})

    assert view["status"] == "queued"
    assert "kling_wait_for_tasks sends it, kling_cancel_task withdraws it" in view["next"]
    assert accepted(tmp_path) == 0


async def test_the_first_answer_after_a_restart_says_once_what_is_still_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, **FULL) as client:
        task_id = await queued(client, tmp_path, "A fox runs")
    await anyio.sleep(1)

    async with serving(tmp_path, monkeypatch) as client:
        first = await client.call_tool("kling_get_task", {"task_id": "1"})
        again = await text(client, "kling_list_tasks", {})

    (content,) = first.content
    assert f'1 request is still queued from before this server started: {task_id} ("A fox' in (
        content.text  # type: ignore[union-attr]
    )
    assert first.structured_content is not None
    assert "kling_wait_for_tasks with the ids sends" in first.structured_content["news"]
    assert "from before this server started" not in again


async def test_a_wait_sends_what_it_waits_for_and_nothing_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, **FULL) as client:
        older = await queued(client, tmp_path, "The older one")
        newer = await queued(client, tmp_path, "The newer one")

    async with serving(tmp_path, monkeypatch) as client:
        waited = await facts(client, "kling_wait_for_tasks", {"task_ids": [newer], "timeout_s": 20})
        left = await facts(client, "kling_get_task", {"task_id": older})

    assert waited["tasks"][0]["status"] == "succeed"
    assert left["status"] == "queued"
    assert accepted(tmp_path) == 1


async def test_a_read_only_server_sends_nothing_even_when_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, **FULL) as client:
        task_id = await queued(client, tmp_path)
    await anyio.sleep(1)

    async with serving(tmp_path, monkeypatch, read_only=True) as client:
        waiting = {"task_ids": [task_id], "timeout_s": 20}
        waited = await facts(client, "kling_wait_for_tasks", waiting)
        (cancelled,) = (await facts(client, "kling_cancel_task", {"task_ids": [task_id]}))["tasks"]

    (view,) = waited["tasks"]
    assert view["status"] == "queued"
    assert "only reads (KLING_MCP_READ_ONLY) and does not send it" in view["next"]
    assert "KLING_MCP_READ_ONLY" in waited["news"]
    assert cancelled["status"] == "cancelled"
    assert accepted(tmp_path) == 0


async def test_a_server_that_spends_sends_what_waits_from_before_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, **FULL) as client:
        task_id = await queued(client, tmp_path)
    await anyio.sleep(1)

    async with serving(tmp_path, monkeypatch) as client:
        said = await text(
            client, "kling_image_to_video", {"image": picture(tmp_path), "prompt": "Another"}
        )
        await anyio.sleep(ON_ITS_OWN_S)
        view = await facts(client, "kling_get_task", {"task_id": task_id})

    assert "Sent when a slot is free; kling_cancel_task withdraws." in said
    assert view["status"] == "succeed"
    assert accepted(tmp_path) == 2


@pytest.mark.parametrize(
    ("restarted", "first"),
    [(False, ""), (True, "kling_list_tasks"), (True, "kling_wait_for_tasks")],
)
async def test_what_has_waited_for_too_long_is_withdrawn_and_said_so_once(
    restarted: bool, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, queue_hours=0.1, **FULL) as client:
        task_id = await queued(client, tmp_path)
        await anyio.sleep(0 if restarted else 400)
        if not restarted:
            said = await text(client, "kling_list_tasks", {})
            again = await text(client, "kling_list_tasks", {})
            view = await facts(client, "kling_get_task", {"task_id": task_id})
    if restarted:
        await anyio.sleep(400)
        async with serving(tmp_path, monkeypatch, queue_hours=0.1) as client:
            said = await text(client, first, {"task_ids": [task_id]} if "wait" in first else {})
            again = await text(client, "kling_list_tasks", {})
            view = await facts(client, "kling_get_task", {"task_id": task_id})

    assert "queued" not in said
    assert "1 request was withdrawn by itself after 0.1 hours in the queue" in said
    assert "It cost nothing" in said
    assert "1 request was withdrawn" not in again
    assert view["status"] == "cancelled"
    assert view["next"].startswith("It was withdrawn by itself after 0.1 hours in the queue and")
    assert accepted(tmp_path) == 0
    assert list((tmp_path / "home" / "spool").iterdir()) == []


async def test_a_queued_request_is_withdrawn_costs_nothing_and_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, sandbox_faults="concurrency:3") as client:
        task_id = await queued(client, tmp_path)
        withdrawn = await facts(client, "kling_cancel_task", {"task_ids": task_id})
        waited = await facts(client, "kling_wait_for_tasks", {"task_ids": [task_id]})
        await anyio.sleep(ON_ITS_OWN_S)
        paid = accepted(tmp_path)
        again = await facts(
            client, "kling_image_to_video", {"image": picture(tmp_path), "prompt": "Zoom"}
        )
        made = await facts(client, "kling_wait_for_tasks", {"task_ids": [again["task_id"]]})

    assert withdrawn["withdrawn"] == 1
    assert withdrawn["tasks"][0]["status"] == "cancelled"
    assert "withdrawn before it was sent and cost nothing" in withdrawn["tasks"][0]["next"]
    assert waited["done"] is True
    assert paid == 0
    assert again["task_id"] != task_id
    assert made["tasks"][0]["status"] == "succeed"


async def test_a_running_task_goes_on_and_says_what_it_costs_and_that_its_file_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, sandbox_render_s=60) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        task_id = (await facts(client, "kling_image_to_video", wish))["task_id"]
        told = await facts(client, "kling_cancel_task", {"task_ids": [task_id, "nobody-s"]})
        waited = await facts(
            client, "kling_wait_for_tasks", {"task_ids": [task_id], "timeout_s": 50}
        )
        await anyio.sleep(60)
        await facts(client, "kling_get_task", {"task_id": task_id})
        over = await facts(client, "kling_cancel_task", {"task_ids": [task_id]})

    running, strange = told["tasks"]
    assert told["withdrawn"] == 0
    assert "Kling cannot cancel a task: it goes on and costs about 1.5 units" in running["next"]
    assert "(0.21 USD list price), in the sandbox nothing." in running["next"]
    assert "kling_save_video saves it" in running["next"]
    assert strange["error"] == "task_not_found"
    assert waited["tasks"][0]["task_id"] == task_id
    assert "It had ended before" in over["tasks"][0]["next"]


async def test_our_id_and_the_provider_s_are_told_together_when_ours_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, sandbox_faults="concurrency:2") as client:
        ours = await queued(client, tmp_path)
        waited = await facts(client, "kling_wait_for_tasks", {"task_ids": [ours]})
        theirs = waited["tasks"][0]["task_id"]
        said = await text(client, "kling_get_task", {"task_id": ours})
        by_theirs = await text(client, "kling_get_task", {"task_id": theirs})

    assert waited["tasks"][0]["was"] == ours
    assert said.startswith(f"{theirs} (before: {ours}): succeed")
    assert ours not in by_theirs


async def test_seconds_are_counted_from_the_state_that_they_speak_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(
        tmp_path, monkeypatch, sandbox_slots=1, sandbox_render_s=100, sandbox_queue_s=5
    ) as client:
        first = await facts(
            client, "kling_image_to_video", {"image": picture(tmp_path), "prompt": "First"}
        )
        second = await queued(client, tmp_path, "Second")
        await anyio.sleep(60)
        waits = await facts(client, "kling_get_task", {"task_id": second})
        await facts(
            client, "kling_wait_for_tasks", {"task_ids": [first["task_id"]], "timeout_s": 60}
        )
        await anyio.sleep(10)
        runs = await facts(client, "kling_get_task", {"task_id": second})

    assert waits["status"] == "queued"
    assert 55 <= waits["elapsed_s"] <= 65
    assert runs["status"] in ("submitted", "processing")
    assert runs["elapsed_s"] < 30


async def test_a_server_that_may_only_read_sends_nothing_by_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, **FULL) as client:
        task_id = await queued(client, tmp_path)

    async with serving(tmp_path, monkeypatch, read_only=True) as client:
        waited = await facts(
            client, "kling_wait_for_tasks", {"task_ids": [task_id], "timeout_s": 20}
        )

    assert waited["tasks"][0]["status"] == "queued"
    assert waited["done"] is True
    assert "one without that setting does" in waited["tasks"][0]["next"]
    assert accepted(tmp_path) == 0


async def test_a_task_that_nobody_has_asked_for_yet_is_not_said_to_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")

    async with serving(tmp_path, monkeypatch, sandbox_render_s=20) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        task_id = (await facts(client, "kling_image_to_video", wish))["task_id"]
        await anyio.sleep(120)
        wait = {"task_ids": [task_id], "timeout_s": 50}
        await client.call_tool("kling_wait_for_tasks", wait, progress_callback=hear)

    assert heard
    assert not [words for words in heard if "longer than" in words]

"""The bus of changes, and what is said on it."""

from pathlib import Path

import anyio
import pytest
from mcp import Client
from tests.server.serving import picture, sandbox_settings

from kling_mcp.ledger import Ledger
from kling_mcp.ledger.changes import Changes
from kling_mcp.protocol.server import build_server
from kling_mcp.providers.configured import configured_providers
from kling_mcp.providers.task import Task
from kling_mcp.service import open_service
from kling_mcp.settings.environment import read_capabilities


@pytest.mark.anyio
async def test_a_handle_is_said_once_until_it_is_taken() -> None:
    changes = Changes()
    async with changes.subscribe() as first, changes.subscribe() as second:
        for handle in ("a", "b", "a", "a"):
            changes.publish(handle)
        taken = [first.receive_nowait(), first.receive_nowait()]
        changes.publish("a")

        assert taken == ["a", "b"]
        assert first.receive_nowait() == "a"
        assert [second.receive_nowait(), second.receive_nowait()] == ["a", "b"]
        with pytest.raises(anyio.WouldBlock):
            second.receive_nowait()


@pytest.mark.anyio
async def test_whoever_waits_for_a_change_hears_it_and_who_has_left_does_not() -> None:
    changes = Changes()
    heard: list[str] = []
    async with anyio.create_task_group() as group:

        async def listen() -> None:
            async with changes.subscribe() as handles:
                listening.set()
                heard.append(await handles.receive())

        listening = anyio.Event()
        group.start_soon(listen)
        await listening.wait()
        await anyio.wait_all_tasks_blocked()
        changes.publish("a")
    changes.publish("b")

    assert heard == ["a"]


@pytest.mark.anyio
async def test_a_stream_that_its_reader_has_closed_disturbs_nobody() -> None:
    changes = Changes()
    async with changes.subscribe() as closed, changes.subscribe() as other:
        closed.close()
        changes.publish("a")

        assert other.receive_nowait() == "a"


@pytest.mark.anyio
async def test_a_task_that_is_only_watched_is_said_to_change_and_is_saved(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, save=True, sandbox_queue_s=0.3)
    async with Client(build_server(settings)) as client:
        made = await client.call_tool(
            "kling_image_to_video", {"image": picture(tmp_path), "prompt": "Zoom"}
        )
    assert made.structured_content is not None
    task_id = made.structured_content["task_id"]
    ledger = Ledger(settings.home)
    providers = configured_providers(settings)
    capabilities = read_capabilities(None)

    with anyio.fail_after(60):
        async with (
            open_service(settings, capabilities, providers) as service,
            service.changed_tasks() as handles,
            service.watch([task_id]),
        ):
            paths: list[str | None] = []
            while not any(paths):
                assert await handles.receive() == task_id
                record = await ledger.find(task_id)
                assert record is not None
                paths.append(record.path)
    await ledger.close()

    assert Path(paths[-1] or "").parent == tmp_path / "videos"


@pytest.mark.anyio
async def test_what_another_process_saw_is_said_here_while_somebody_watches(
    tmp_path: Path,
) -> None:
    settings = sandbox_settings(tmp_path, sandbox_queue_s=1_000)
    async with Client(build_server(settings)) as client:
        made = await client.call_tool(
            "kling_image_to_video", {"image": picture(tmp_path), "prompt": "Zoom"}
        )
    assert made.structured_content is not None
    task_id = made.structured_content["task_id"]
    other = Ledger(settings.home)

    with anyio.fail_after(60):
        async with (
            open_service(settings, read_capabilities(None), configured_providers(settings)) as here,
            here.changed_tasks() as handles,
            here.watch([task_id]),
        ):
            record = await other.find(task_id)
            assert record is not None
            await other.record(record.id, Task(task_id, "failed", "They say no."))
            assert await handles.receive() == task_id
            view = await here.task(task_id)
    await other.close()

    assert view.status == "failed"

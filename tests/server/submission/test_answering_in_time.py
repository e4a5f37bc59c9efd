"""A provider that does not answer for longer than a host waits for the call."""

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from mcp import Client
from mcp_types import CallToolResult
from tests.server.scripted import CREATE, Scripted, facts, is_create, make, talking_to, task, words
from tests.server.serving import picture

from kling_mcp.background import Background, BackgroundWork
from kling_mcp.ledger.sqlite import SqliteEngine
from kling_mcp.providers.retries import TimeLimits

pytestmark = pytest.mark.anyio

SOON = TimeLimits(answer_s=0.2)


class Hanging:
    """Takes creates and answers them when it is told to."""

    def __init__(self) -> None:
        self.creates = 0
        self.taken = anyio.Event()
        self.answers = anyio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if is_create(request):
            self.creates += 1
            await request.aread()
            self.taken.set()
            await self.answers.wait()
        elif not self.answers.is_set():
            return httpx.Response(400, json={"code": 1201, "message": "Task not found"})
        return task()


@pytest.fixture
def kling(anyio_backend: str) -> Hanging:
    return Hanging()


async def test_the_call_is_answered_in_time_and_says_how_to_go_on(
    kling: Hanging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking_to(Scripted(kling), tmp_path, monkeypatch, SOON) as client:  # type: ignore[arg-type]
        answer = await make(client, tmp_path)
        rows = facts(await client.call_tool("kling_list_tasks", {}))["tasks"]
        kling.answers.set()

    assert answer.is_error
    assert facts(answer)["charged"] == "unknown"
    assert "has not answered yet" in words(answer)
    assert rows[0]["task_id"] in words(answer)
    assert rows[0]["status"] == "sending"


async def test_the_same_request_joins_the_one_on_its_way_and_is_paid_once(
    kling: Hanging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking_to(Scripted(kling), tmp_path, monkeypatch, SOON) as client:  # type: ignore[arg-type]
        await make(client, tmp_path)
        kling.answers.set()
        again = await make(client, tmp_path)

    assert facts(again)["task_id"] == "t-1"
    assert facts(again)["repeated"] is True
    assert kling.creates == 1


async def test_what_is_under_way_when_the_server_ends_is_written_down_first(
    kling: Hanging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking_to(Scripted(kling), tmp_path, monkeypatch, SOON) as client:  # type: ignore[arg-type]
        await make(client, tmp_path)
        async with anyio.create_task_group() as group:
            group.start_soon(_answer_soon, kling)
    async with talking_to(Scripted(kling), tmp_path, monkeypatch, SOON) as client:  # type: ignore[arg-type]
        (row,) = facts(await client.call_tool("kling_list_tasks", {}))["tasks"]

    assert row["task_id"] == "t-1"
    assert kling.creates == 1


async def test_a_cancelled_call_leaves_what_it_sent_to_be_found(
    kling: Hanging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:  # type: ignore[arg-type]
        async with anyio.create_task_group() as group:
            group.start_soon(_create, client, tmp_path)
            await kling.taken.wait()
            group.cancel_scope.cancel()
        kling.answers.set()
        again = await make(client, tmp_path)

    assert facts(again)["task_id"] == "t-1"
    assert kling.creates == 1


async def test_work_that_is_not_waited_for_any_more_says_what_became_of_it(
    caplog: pytest.LogCaptureFixture, anyio_backend: str
) -> None:
    late = anyio.Event()

    async def break_late() -> None:
        await late.wait()
        raise ZeroDivisionError

    async with anyio.create_task_group() as group:
        with pytest.raises(TimeoutError):
            await BackgroundWork(Background(group)).run(break_late, 0.01)
        late.set()

    assert "broke" in caplog.text


async def test_work_of_one_key_is_done_once_and_ends_with_the_last_who_waits(
    anyio_backend: str,
) -> None:
    began: list[int] = []
    ended: list[str] = []

    async def work() -> str:
        began.append(1)
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cut off")
        raise AssertionError

    async with anyio.create_task_group() as group:
        background_work = BackgroundWork(Background(group))
        scopes = [anyio.CancelScope(), anyio.CancelScope()]

        async def ask(scope: anyio.CancelScope) -> None:
            with scope:
                await background_work.run(work, 60, key="one")

        for scope in scopes:
            group.start_soon(ask, scope)
        await anyio.wait_all_tasks_blocked()
        scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        assert (len(began), ended) == (1, [])
        scopes[1].cancel()
        await anyio.wait_all_tasks_blocked()
        assert ended == ["cut off"]


async def _answer_soon(kling: Hanging) -> None:
    await anyio.lowlevel.checkpoint()
    kling.answers.set()


async def _create(client: Client, folder: Path) -> CallToolResult:
    return await client.call_tool(CREATE, {"image": picture(folder), "prompt": "Zoom"})


async def test_a_new_create_goes_to_the_ledger_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    went: list[str] = []

    def counted(name: str) -> None:
        plain = getattr(SqliteEngine, name)

        async def going(*given: Any, **more: Any) -> Any:
            went.append(name)
            return await plain(*given, **more)

        monkeypatch.setattr(SqliteEngine, name, going)

    async with talking_to(Scripted(lambda _: task()), tmp_path, monkeypatch) as client:
        for _ in range(2):  # the first one makes the ledger, the second one reads what is kept
            await make(client, tmp_path)
        for name in ("read", "alone", "write"):
            counted(name)
        answer = await client.call_tool(CREATE, {"image": picture(tmp_path), "prompt": "Pan"})

    assert facts(answer)["status"] == "submitted"
    assert went == ["read", "alone", "write"]

"""Servers with homes of their own that share one PostgreSQL database, as on several machines."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, LiteralString

import anyio
import httpx
import psycopg
import pytest
from mcp import Client
from mcp.server import MCPServer
from PIL import Image
from tests.postgres import Postgres
from tests.server.ledger.test_ledger import OF_THE_FIRST_LEDGERS, change_tables
from tests.server.protocol.raw_client import handshaken, modern
from tests.server.protocol.test_subscriptions import subscribe
from tests.server.scripted import BASE, CREATE, KEY, Scripted, is_create
from tests.server.serving import picture, sandbox_settings

from kling_mcp.ledger import Ledger
from kling_mcp.ledger.postgres import PostgresEngine
from kling_mcp.protocol.server import build_server

TIMES = 10
"""How much faster time goes here. It is not virtual, as the database takes its own."""


def faster() -> dict[str, Any]:
    """The `sleep` and the `clock` of a server."""
    began = time.time()

    async def sleep(seconds: float) -> None:
        await anyio.sleep(seconds / TIMES)

    return {"sleep": sleep, "clock": lambda: began + (time.time() - began) * TIMES}


class Kling:
    """A provider that counts, and whose tasks end when it is told to; it refuses while `full`."""

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.bodies: list[bytes] = []
        self.asked_at: list[float] = []
        self.asked = anyio.Event()
        self.made = anyio.Event()
        self.ended = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if is_create(request):
            if self.full:
                return httpx.Response(429, json={"code": 1303, "message": "parallel task over"})
            self.bodies.append(request.read())
            self.made.set()
            return self.task(f"t-{len(self.bodies)}")
        self.asked_at.append(anyio.current_time())
        self.asked.set()
        last = request.url.path.rpartition("/")[2]
        if last.startswith("t-"):
            return self.task(last)
        return httpx.Response(404, json={"code": 1201, "message": "task not found"})

    def task(self, task_id: str) -> httpx.Response:
        shown: dict[str, Any] = {"task_id": task_id, "task_status": "processing"}
        if self.ended:
            shown["task_status"] = "succeed"
            videos = [{"url": "https://videos.example/1.mp4", "duration": "5.1"}]
            shown["task_result"] = {"videos": videos}
        return httpx.Response(200, json={"code": 0, "message": "SUCCEED", "data": shown})


@asynccontextmanager
async def servers(
    kling: Kling, folder: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Client]]:
    """Clients of two servers with nothing in common but the database."""
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(kling).connect)
    url, time_of_both = postgres.new_schema(), faster()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(client_of(folder, name, url, **time_of_both))
            for name in ("one", "two")
        ]


def client_of(folder: Path, name: str, url: str | None, **more: Any) -> Client:
    return Client(server_of(folder, name, url, **more))


def server_of(folder: Path, name: str, url: str | None, **more: Any) -> MCPServer[Any]:
    settings = sandbox_settings(
        folder,
        home=folder / name,
        provider="kling",
        kling_api_key=KEY,
        kling_base_url=BASE,
        database=url,
    )
    return build_server(settings, **more)


async def facts(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


BUSY_S = 5
"""Seconds within which a busy machine passes on what a database tells."""


async def until_done(client: Client, task_id: str) -> dict[str, Any]:
    """What the wait for a task that ends is answered; it is asked again, as a host does."""
    waited: dict[str, Any] = {"done": False}
    with anyio.fail_after(60):
        while not waited["done"]:
            waited = await facts(client, "kling_wait_for_tasks", task_ids=[task_id], timeout_s=40)
    return waited


@pytest.mark.anyio
async def test_the_same_wish_at_two_servers_at_once_is_paid_once(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    made: list[dict[str, Any]] = []
    async with servers(kling, tmp_path, postgres, monkeypatch) as clients:

        async def ask(client: Client) -> None:
            made.append(await facts(client, CREATE, **wish))

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(ask, clients[number % 2])

    assert {receipt["task_id"] for receipt in made} == {"t-1"}
    assert len(kling.bodies) == 1


@pytest.mark.anyio
async def test_one_of_two_servers_asks_and_both_of_their_callers_are_told(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    told: list[float] = []
    async with servers(kling, tmp_path, postgres, monkeypatch) as clients:
        made = await facts(clients[0], CREATE, image=picture(tmp_path), prompt="Zoom")

        async def wait(client: Client) -> None:
            waited = await until_done(client, made["task_id"])
            assert waited["tasks"][0]["status"] == "succeed"
            told.append(anyio.current_time())

        monkeypatch.setattr("kling_mcp.polling.pace.usual_s", lambda *_: 1.0)
        async with anyio.create_task_group() as group:
            for client in clients:
                group.start_soon(wait, client)
            await kling.asked.wait()
            await anyio.wait_all_tasks_blocked()
            before = len(kling.asked_at)
            kling.ended = True

    assert abs(told[0] - told[1]) < BUSY_S
    assert len(kling.asked_at) == before + 1


@pytest.mark.anyio
async def test_a_task_that_a_dead_server_asked_for_is_asked_for_by_another_one(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(kling).connect)
    monkeypatch.setattr("kling_mcp.polling.pace.usual_s", lambda *_: 1.0)
    url, its_time = postgres.new_schema(), faster()
    async with client_of(tmp_path, "two", url, **its_time) as client:
        made = await facts(client, CREATE, image=picture(tmp_path), prompt="Zoom")
        ledger = Ledger(PostgresEngine(url), its_time["clock"])
        record = await ledger.find(made["task_id"])
        assert record is not None
        await ledger.claim_polling([record.id], "a dead server", 3)
        await ledger.close()
        kling.ended = True
        began = anyio.current_time()

        waited = await until_done(client, made["task_id"])

    assert waited["tasks"][0]["status"] == "succeed"
    assert (kling.asked_at[0] - began) * TIMES > 2


@pytest.mark.anyio
@pytest.mark.parametrize("connect", [handshaken, modern], ids=["2025", "2026"])
async def test_who_subscribes_at_one_server_hears_what_another_one_sees(
    connect: Any, tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(kling).connect)
    url = postgres.new_schema()
    async with client_of(tmp_path, "one", url) as seeing:
        made = await facts(seeing, CREATE, image=picture(tmp_path), prompt="Zoom")
        uri = f"kling://tasks/{made['task_id']}"
        ledger = Ledger(PostgresEngine(url))
        record = await ledger.find(made["task_id"])
        assert record is not None
        await ledger.claim_polling([record.id], "a third server", 1_000)
        await ledger.close()
        async with connect(server_of(tmp_path, "two", url)) as hearing:
            await subscribe(hearing, uri)
            kling.ended = True
            await facts(seeing, "kling_get_task", task_id=made["task_id"])
            (told,) = await hearing.hear("notifications/resources/updated")

    assert told["uri"] == uri
    assert len(kling.asked_at) == 1


@pytest.mark.anyio
async def test_a_request_that_waits_for_a_slot_is_sent_by_another_server_when_its_own_is_gone(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling(full=True)
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(kling).connect)
    url = postgres.new_schema()
    large = tmp_path / "large.png"
    Image.frombytes("RGB", (1000, 800), random.Random(1).randbytes(2_400_000)).save(large)
    its_time = faster()
    async with client_of(tmp_path, "one", url, **its_time) as client:
        receipt = await facts(client, CREATE, image=str(large), prompt="Zoom")
    assert receipt["status"] == "queued"

    kling.full = False
    async with client_of(tmp_path, "two", url, **its_time) as client:
        kling.ended = True
        waited = await until_done(client, receipt["task_id"])

    assert waited["tasks"][0]["status"] == "succeed"
    assert len(kling.bodies) == 1
    assert len(kling.bodies[0]) > large.stat().st_size > 1024 * 1024


@pytest.mark.anyio
@pytest.mark.parametrize(
    "damage",
    ["UPDATE bodies SET data = overlay(data placing '!' from 9)", "DELETE FROM bodies"],
    ids=["changed", "cut"],
)
async def test_a_request_that_was_damaged_in_the_database_is_not_sent(
    damage: LiteralString, tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling(full=True)
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(kling).connect)
    url = postgres.new_schema()
    its_time = faster()
    async with client_of(tmp_path, "one", url, **its_time) as client:
        receipt = await facts(client, CREATE, image=picture(tmp_path), prompt="Zoom")
    with psycopg.connect(url) as db:
        db.execute(damage)

    kling.full = False
    async with client_of(tmp_path, "two", url, **its_time) as client:
        waited = await until_done(client, receipt["task_id"])

    assert waited["tasks"][0]["status"] == "failed"
    assert "The kept request is damaged" in str(waited)
    assert kling.bodies == []


@pytest.mark.anyio
@pytest.mark.parametrize("spends", [False, True], ids=["only reads", "was asked to spend"])
async def test_what_a_server_leaves_behind_is_sent_by_one_that_was_asked_to_spend_and_no_other(
    spends: bool, tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(kling).connect)
    monkeypatch.setattr("kling_mcp.runtime.LEFT_BEHIND_S", 0.2)
    url = postgres.new_schema()
    time_of_both = faster()
    async with client_of(tmp_path, "two", url, **time_of_both) as two:
        await facts(two, "kling_list_tasks")
        if spends:
            await facts(two, CREATE, image=picture(tmp_path), prompt="Pan")
            kling.made = anyio.Event()
        kling.full = True
        async with client_of(tmp_path, "one", url, **time_of_both) as one:
            receipt = await facts(one, CREATE, image=picture(tmp_path), prompt="Zoom")
        assert receipt["status"] == "queued"

        kling.full = False
        with anyio.fail_after(60):
            if spends:
                await kling.made.wait()
                return
            await rounds_of_recovery(3, monkeypatch)
            assert kling.bodies == []
            kling.ended = True
            asked = {"task_ids": [receipt["task_id"]], "timeout_s": 100}
            waited = await facts(two, "kling_wait_for_tasks", **asked)
    assert waited["tasks"][0]["status"] == "succeed"
    assert len(kling.bodies) == 1


async def rounds_of_recovery(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return when the servers have looked so often at what is open."""
    looks, over, open_rows = 0, anyio.Event(), Ledger.open_rows

    async def counted(self: Ledger) -> Any:
        nonlocal looks
        looks += 1
        if looks > count:
            over.set()
        return await open_rows(self)

    monkeypatch.setattr(Ledger, "open_rows", counted)
    await over.wait()


@pytest.mark.anyio
async def test_a_server_whose_clock_is_late_looks_at_tasks_in_time(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    right = time.time
    late = SimpleNamespace(time=lambda: right() - 100)
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(kling).connect)
    monkeypatch.setattr("kling_mcp.polling.pace.usual_s", lambda *_: 60.0)
    monkeypatch.setattr("kling_mcp.ledger.postgres.time", late)
    url = postgres.new_schema()
    async with client_of(tmp_path, "late", url, clock=late.time) as client:
        made = await facts(client, CREATE, image=picture(tmp_path), prompt="Zoom")
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE tasks SET created_at = created_at - 50")
        wish = {"task_ids": [made["task_id"]], "timeout_s": 20}
        async with anyio.create_task_group() as group:
            group.start_soon(partial(facts, client, "kling_wait_for_tasks", **wish))
            with anyio.fail_after(60):
                await kling.asked.wait()
            group.cancel_scope.cancel()

    assert len(kling.asked_at) == 1


@pytest.mark.anyio
async def test_a_task_that_nobody_waits_for_any_more_is_left_to_other_servers_at_once(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the wait ends just while the right to ask is being taken."""
    kling = Kling()
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(kling).connect)
    url = postgres.new_schema()
    taking, left, taken, given_back = (anyio.Event() for _ in range(4))
    claim, release = Ledger.claim_polling, Ledger.release_polling

    async def slow(self: Ledger, *given: Any) -> set[str]:
        taking.set()
        with anyio.CancelScope(shield=True):
            await left.wait()
            mine = await claim(self, *given)
        taken.set()
        return mine

    async def noted(self: Ledger, *given: Any) -> None:
        await release(self, *given)
        given_back.set()

    async with client_of(tmp_path, "one", url) as client:
        made = await facts(client, CREATE, image=picture(tmp_path), prompt="Zoom")
        monkeypatch.setattr(Ledger, "claim_polling", slow)
        monkeypatch.setattr(Ledger, "release_polling", noted)
        wish = {"task_ids": [made["task_id"]], "timeout_s": 5}
        async with anyio.create_task_group() as group:
            group.start_soon(partial(facts, client, "kling_wait_for_tasks", **wish))
            await taking.wait()
            group.cancel_scope.cancel()
        await facts(client, "kling_list_tasks")
        left.set()
        with anyio.fail_after(60):
            await taken.wait()
            await given_back.wait()
        monkeypatch.setattr(Ledger, "claim_polling", claim)
        ledger = Ledger(PostgresEngine(url))
        record = await ledger.find(made["task_id"])
        assert record is not None
        mine = await ledger.claim_polling([record.id], "another server", 15)
        await ledger.close()

    assert mine == {record.id}


@pytest.mark.anyio
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_a_server_on_an_older_ledger_lists_its_videos_and_pays_none_again(
    engine: str, tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(kling).connect)
    url = postgres.new_schema() if engine == "postgres" else None
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with client_of(tmp_path, "one", url) as client:
        made = await facts(client, CREATE, **wish)
    change_tables(url or tmp_path / "one", *OF_THE_FIRST_LEDGERS)

    async with client_of(tmp_path, "one", url) as client:
        listed = await facts(client, "kling_list_tasks")
        again = await facts(client, CREATE, **wish)

    assert [task["task_id"] for task in listed["tasks"]] == [made["task_id"]]
    assert again["task_id"] == made["task_id"]
    assert len(kling.bodies) == 1

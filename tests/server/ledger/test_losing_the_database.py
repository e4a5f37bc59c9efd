"""A database that breaks off, stops, hangs or is set up strangely while money is at stake."""

import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from anyio.abc import SocketAttribute, SocketStream
from tests.postgres import Postgres
from tests.server.ledger.test_postgres_ledger import wish
from tests.server.submission.test_taking_over import WISH, Kling

from kling_mcp.ledger import DayCaps, Ledger, Record
from kling_mcp.ledger import postgres as engine
from kling_mcp.ledger.notes import Notes
from kling_mcp.ledger.postgres import PostgresEngine
from kling_mcp.submission.create_body import CreateBody
from kling_mcp.submission.queue import SharedQueue
from kling_mcp.submission.sender import Sender
from kling_tools.errors import KlingError, SpendCapReached

pytestmark = pytest.mark.anyio


async def sent(
    ledger: Ledger, kling: Kling, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
) -> Record:
    """The row of a wish that is sent to this provider."""
    client: Any = kling
    with tempfile.TemporaryDirectory() as folder:
        sender = Sender(ledger, SharedQueue(ledger.engine), Notes(Path(folder)), sleep)
        record, _ = await sender.send(
            replace(WISH, provider=kling.row.name),
            client,
            CreateBody({}),
            DayCaps(),
        )
    return record


@dataclass
class Wire:
    """The way to the database, at a port of its own. Once it is `armed`, the next commit arrives
    and its answer does not."""

    server_port: int
    port: int = 0
    armed: bool = False
    cut: int = 0

    async def carry(self, client: SocketStream) -> None:
        """Between one client and the server, until one of them has enough."""
        to_server = anyio.connect_tcp("127.0.0.1", self.server_port)
        async with client, await to_server as server, anyio.create_task_group() as group:
            lost = anyio.Event()

            async def back() -> None:
                async for answer in server:
                    if lost.is_set():
                        self.cut += 1
                        break
                    await client.send(answer)
                group.cancel_scope.cancel()

            group.start_soon(back)
            async for words in client:
                if self.armed and b"COMMIT" in words:
                    self.armed = False
                    lost.set()
                await server.send(words)
            group.cancel_scope.cancel()


@asynccontextmanager
async def wire(postgres: Postgres) -> AsyncIterator[Wire]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    carrying = Wire(postgres.port, listener.extra(SocketAttribute.local_port))
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, carrying.carry)
        yield carrying
        group.cancel_scope.cancel()


@pytest.mark.parametrize("provider", ["kling", "newapi"])
async def test_a_row_whose_commit_was_not_answered_is_sent_as_if_it_had_been(
    provider: str, postgres: Postgres
) -> None:
    kling = Kling(provider)
    async with wire(postgres) as way:
        url = postgres.new_schema().replace(f":{postgres.port}/", f":{way.port}/")
        ledger = Ledger(PostgresEngine(url))
        await ledger.find("nothing")
        way.armed = True

        record = await sent(ledger, kling)

        rows = await ledger.page(limit=9, offset=0)
        await ledger.close()
    assert way.cut == 1
    assert [(row.id, row.task_id) for row in rows] == [(record.id, "t-0")]
    assert kling.asked == 1


async def test_a_paid_task_is_written_down_when_the_database_is_back(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_S", 1.0)
    ledger, kling = Ledger(PostgresEngine(postgres.new_schema())), Kling("newapi")
    away = False

    async def goes() -> None:
        nonlocal away
        await anyio.to_thread.run_sync(postgres.stop)
        away = True

    async def comes_back(_: float) -> None:
        nonlocal away
        if away:
            await anyio.to_thread.run_sync(postgres.start)
        away = False

    kling.meanwhile = goes
    try:
        record = await sent(ledger, kling, comes_back)
    finally:
        await comes_back(0)

    assert record.task_id == "t-0"
    assert await ledger.find("t-0") == record
    await ledger.close()


@pytest.mark.parametrize("away_s", [1.2, pytest.param(3.3, marks=pytest.mark.campaign)])
@pytest.mark.campaign
async def test_a_database_that_was_away_for_long_is_used_as_soon_as_it_is_back(
    away_s: float, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_S", away_s / 3)
    ledger = Ledger(PostgresEngine(postgres.new_schema()))
    record, _ = await ledger.reserve(wish())
    await anyio.to_thread.run_sync(postgres.stop)
    try:
        with anyio.move_on_after(away_s):
            while True:
                with pytest.raises(KlingError):
                    await ledger.find(record.id)
    finally:
        await anyio.to_thread.run_sync(postgres.start)

    with anyio.fail_after(1.5 if away_s > 3 else 60):
        found = None
        while found is None:
            with suppress(KlingError):
                found = await ledger.find(record.id)

    assert found == record
    await ledger.close()


async def test_of_many_connections_that_were_lost_none_keeps_a_call_waiting(
    postgres: Postgres,
) -> None:
    ledger = Ledger(PostgresEngine(postgres.new_schema()))
    record, _ = await ledger.reserve(wish())
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(
                ledger.engine.read, lambda db: db.execute("SELECT pg_sleep(0.3)").fetchall()
            )
    assert len(connections_to(postgres.port)) >= 4
    await anyio.to_thread.run_sync(postgres.restart)

    with anyio.fail_after(15):
        found = await ledger.find(record.id)

    assert found == record
    await ledger.close()


async def test_a_read_right_after_its_connection_was_lost_is_answered(postgres: Postgres) -> None:
    url = postgres.new_schema()
    ledger = Ledger(PostgresEngine(url))
    record, _ = await ledger.reserve(wish())
    other = await psycopg.AsyncConnection.connect(url, autocommit=True)

    async with other:
        assert await ledger.find(record.id) == record
        await other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        found = await ledger.find(record.id)

    assert found == record
    await ledger.close()


@pytest.mark.parametrize("usual", ["repeatable\\ read", "serializable"])
async def test_caps_hold_whatever_isolation_is_usual_in_the_database(
    usual: str, postgres: Postgres
) -> None:
    quoted = usual.replace("\\", "%5C").replace(" ", "%20")
    url = f"{postgres.new_schema()}%20-cdefault_transaction_isolation%3D{quoted}"
    servers = [Ledger(PostgresEngine(url)) for _ in range(3)]
    await servers[0].find("nothing")
    reserved: list[Record] = []

    async def reserve(number: int) -> None:
        with suppress(SpendCapReached):
            new = await servers[number % 3].reserve(wish(str(number)), caps=DayCaps(10.0))
            reserved.append(new[0])

    async with anyio.create_task_group() as group:
        for number in range(24):
            group.start_soon(reserve, number)
    for server in servers:
        await server.close()

    assert len(reserved) == 5


@pytest.mark.parametrize(("more", "at_most_ms"), [("", 10_000), ("&tcp_user_timeout=3000", 3_000)])
async def test_no_connection_waits_for_a_machine_that_is_gone(
    more: str, at_most_ms: int, postgres: Postgres
) -> None:
    """The system tells of what cannot be tried out without rights on the network."""
    ledger = Ledger(PostgresEngine(postgres.new_schema() + more))
    async with anyio.create_task_group() as group:
        listening = anyio.Event()

        async def listen() -> None:
            async for _ in ledger.changed_rows():
                listening.set()

        group.start_soon(listen)
        await listening.wait()
        await ledger.find("nothing")
        waiting = connections_to(postgres.port)
        group.cancel_scope.cancel()
    await ledger.close()

    assert waiting == [at_most_ms, at_most_ms]


def connections_to(port: int) -> list[int]:
    """For each connection of this process to that port: how many milliseconds it waits for the
    other end at most, 0 for as long as the system likes."""
    found = []
    for file in Path("/proc/self/fd").iterdir():
        try:
            with closing(socket.socket(fileno=os.dup(int(file.name)))) as one:
                if one.family == socket.AF_INET and one.getpeername()[1] == port:
                    found.append(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        except OSError:
            continue
    return found

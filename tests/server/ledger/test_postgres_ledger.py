"""What only the PostgreSQL engine has: connections that are lost, clocks, news, older servers."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import anyio
import psycopg
import pytest
from tests.postgres import Postgres

from kling_mcp.ledger import DayCaps, Ledger, NewRow, Record
from kling_mcp.ledger import postgres as engine
from kling_mcp.ledger.postgres import POSTGRES_STEPS, PostgresEngine
from kling_mcp.providers.task import Task
from kling_tools.errors import NotConfigured, SpendCapReached


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.new_schema()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = Ledger(PostgresEngine(url))
    yield opened
    anyio.run(opened.close)


def wish(digest: str = "d", **more: Any) -> NewRow:
    given: dict[str, Any] = {"prompt": "waves", "principal": "", "estimate_units": 2.0, **more}
    return NewRow(
        provider="kling",
        base_url="https://kling.example",
        product="image2video",
        digest=digest,
        take=1,
        model_name="kling-v2-6",
        request={"image": "photo.png"},
        **given,
    )


@pytest.mark.anyio
async def test_a_server_that_was_started_anew_is_used_on(
    ledger: Ledger, postgres: Postgres
) -> None:
    record, _ = await ledger.reserve(wish())
    postgres.restart()

    made = await ledger.record(record.id, Task(task_id="t-1", status="submitted"))

    assert made.task_id == "t-1"
    assert await ledger.find("t-1") == made


@pytest.mark.anyio
async def test_a_server_that_is_away_is_told_and_asked_again(
    ledger: Ledger, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_S", 1.0)
    record, _ = await ledger.reserve(wish())
    await ledger.close()
    postgres.stop()
    try:
        with pytest.raises(NotConfigured, match="cannot be used") as raised:
            await ledger.find(record.id)
    finally:
        postgres.start()

    assert raised.value.charged == "no"
    assert "secret" not in str(raised.value)
    assert await ledger.find(record.id) == record


@pytest.mark.parametrize(
    "address",
    [
        "notes of somebody",
        "https://user:se@cret@host/name",
        "postgresql://user:se@cret@host/name",
        "postgresql://user:se/cret@host/name",
        "postgresql://user:secret@host/name?no_such_word=secret",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_a_word_of_it(address: str) -> None:
    with pytest.raises(NotConfigured, match="KLING_MCP_DATABASE") as raised:
        PostgresEngine(address)

    assert "cret" not in str(raised.value)
    assert "%40" in raised.value.advice


def test_without_the_library_it_is_said_what_to_install(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("psycopg")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(NotConfigured, match="not installed") as raised:
        PostgresEngine(url)

    assert "kling-mcp[postgres]" in raised.value.advice


@pytest.mark.anyio
async def test_a_clock_that_is_wrong_here_is_not_gone_by(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time
    monkeypatch.setattr(engine.time, "time", lambda: right() - 100)
    late = Ledger(PostgresEngine(url), lambda: right() - 100)
    record, _ = await late.reserve(wish(), owner="late")
    await late.close()

    late = Ledger(PostgresEngine(url), lambda: right() - 100)
    await late.find(record.id)

    assert abs(late.now() - right()) < 1
    await late.close()


@pytest.mark.anyio
async def test_a_character_that_the_database_cannot_hold_loses_no_task(ledger: Ledger) -> None:
    record, _ = await ledger.reserve(wish(prompt="wa\0ves"))

    made = await ledger.record(record.id, Task(task_id="t-1", status="failed", message="b\0ad"))

    assert (made.prompt, made.message) == ("wa\ufffdves", "b\ufffdad")


@pytest.mark.anyio
async def test_the_caps_hold_for_wishes_that_come_to_two_servers_at_once(url: str) -> None:
    servers = [Ledger(PostgresEngine(url)) for _ in range(2)]
    reserved: list[Record] = []

    async def reserve(number: int) -> None:
        try:
            new = await servers[number % 2].reserve(wish(str(number)), caps=DayCaps(10.0))
        except SpendCapReached:
            return
        reserved.append(new[0])

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(reserve, number)
    for server in servers:
        await server.close()

    assert len(reserved) == 5


@pytest.mark.anyio
async def test_a_cap_of_one_s_own_counts_one_s_own_videos(ledger: Ledger) -> None:
    caps = DayCaps(team=7.0, principal=4.0)
    for digest in "ab":
        await ledger.reserve(wish(digest, principal="ann"), caps=caps)

    with pytest.raises(SpendCapReached, match=r"Your cap for a day is 4 units; 4 were spent"):
        await ledger.reserve(wish("c", principal="ann"), caps=caps)
    await ledger.reserve(wish("c", principal="bob"), caps=caps)
    with pytest.raises(SpendCapReached, match="The day's cap is 7 units; 6 were spent"):
        await ledger.reserve(wish("d", principal="bob"), caps=caps)


@pytest.mark.anyio
async def test_what_one_server_writes_the_others_are_told(url: str) -> None:
    here, there = Ledger(PostgresEngine(url)), Ledger(PostgresEngine(url))
    record, _ = await here.reserve(wish())
    told: list[str] = []

    async with anyio.create_task_group() as group:
        listening = anyio.Event()

        async def listen() -> None:
            async for ids in there.changed_rows():
                told.extend(ids)
                if told:
                    group.cancel_scope.cancel()
                listening.set()

        group.start_soon(listen)
        await listening.wait()
        await here.claim(record.id, "me")
        await here.record(record.id, Task(task_id="t-1", status="processing"))
        await anyio.sleep(20)
    await here.close()
    await there.close()

    assert told == [record.id]


@pytest.mark.anyio
async def test_a_listener_that_is_cancelled_in_a_question_closes_its_connection(url: str) -> None:
    held = None
    with anyio.CancelScope() as scope:
        async with engine.listening(url, 5) as held, anyio.create_task_group() as group:
            group.start_soon(held.execute, "SELECT pg_sleep(60)")
            await anyio.wait_all_tasks_blocked()
            scope.cancel()

    assert held is not None
    assert held.closed


@pytest.mark.anyio
async def test_a_listener_that_lost_its_connection_listens_again(
    url: str, postgres: Postgres
) -> None:
    ledger = Ledger(PostgresEngine(url))
    record, _ = await ledger.reserve(wish())
    heard = anyio.Event()
    beginnings = 0

    async with anyio.create_task_group() as group:

        async def listen() -> None:
            nonlocal beginnings
            async for ids in ledger.changed_rows():
                beginnings += not ids
                heard.set()

        group.start_soon(listen)
        await heard.wait()
        heard = anyio.Event()
        await anyio.to_thread.run_sync(postgres.restart)
        with anyio.fail_after(60):
            await heard.wait()
            heard = anyio.Event()
            await ledger.record(record.id, Task(task_id="t-1", status="processing"))
            await heard.wait()
        group.cancel_scope.cancel()
    await ledger.close()

    assert beginnings == 2


@pytest.mark.anyio
async def test_only_one_server_at_a_time_may_ask_for_a_row(url: str) -> None:
    now = 0.0
    here, there = (Ledger(PostgresEngine(url), lambda: now) for _ in range(2))
    rows = [(await here.reserve(wish(digest)))[0].id for digest in "abc"]

    assert await here.claim_polling(rows[:2], "here", 15) == set(rows[:2])
    assert await there.claim_polling(rows, "there", 15) == {rows[2]}
    assert await here.claim_polling(rows, "here", 15) == set(rows[:2])
    await here.release_polling(rows[:1], "here")
    assert await there.claim_polling(rows, "there", 15) == {rows[0], rows[2]}
    now = 16.0
    assert await there.claim_polling(rows, "there", 15) == set(rows)
    assert await there.claim_polling([], "there", 15) == set()
    await here.close()
    await there.close()


@pytest.mark.anyio
async def test_a_server_of_yesterday_works_on_beside_one_that_took_a_step(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = Ledger(PostgresEngine(url))
    first, _ = await older.reserve(wish("first"))
    step = "ALTER TABLE tasks ADD COLUMN mood TEXT NOT NULL DEFAULT 'good'"
    monkeypatch.setattr(engine, "POSTGRES_STEPS", (*POSTGRES_STEPS, step))
    newer = Ledger(PostgresEngine(url))
    assert await newer.find(first.id) == first

    second, _ = await older.reserve(wish("second"))
    await older.record(first.id, Task(task_id="t-1", status="submitted"))

    assert [row.id for row in await newer.page(limit=9, offset=0)] == [second.id, first.id]
    assert (await newer.find("t-1")) == await older.find(first.id)
    await older.close()
    await newer.close()
    with psycopg.connect(url) as connection:
        moods = connection.execute("SELECT mood FROM tasks").fetchall()
    assert moods == [("good",), ("good",)]


@pytest.mark.anyio
async def test_servers_that_start_together_take_each_step_once(url: str) -> None:
    servers = [Ledger(PostgresEngine(url)) for _ in range(4)]

    async with anyio.create_task_group() as group:
        for server in servers:
            group.start_soon(server.reserve, wish())
    for server in servers:
        await server.close()

    with psycopg.connect(url) as connection:
        steps = connection.execute("SELECT version FROM versions").fetchall()
        rows = connection.execute("SELECT count(*) FROM tasks").fetchone()
    assert sorted(steps) == [(number,) for number, _ in enumerate(POSTGRES_STEPS, 1)]
    assert rows == (1,)


@pytest.mark.anyio
async def test_a_database_of_a_newer_version_is_refused_with_words(url: str) -> None:
    ledger = Ledger(PostgresEngine(url))
    await ledger.reserve(wish())
    await ledger.close()
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO versions VALUES (%s, 0)", (len(POSTGRES_STEPS) + 1,))

    with pytest.raises(NotConfigured, match="newer kling-mcp"):
        await ledger.reserve(wish())


@pytest.mark.anyio
async def test_a_step_that_fails_leaves_the_database_as_it_was(
    url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = await ledger.reserve(wish())
    await ledger.close()
    step = "ALTER TABLE tasks ADD COLUMN note TEXT; ALTER TABLE nothing RENAME TO all"
    monkeypatch.setattr(engine, "POSTGRES_STEPS", (*POSTGRES_STEPS, step))
    with pytest.raises(NotConfigured):
        await ledger.find(record.id)
    monkeypatch.undo()

    assert await ledger.find(record.id) == record


@pytest.mark.anyio
async def test_units_and_tasks_are_counted_by_provider_and_status(ledger: Ledger) -> None:
    first, _ = await ledger.reserve(wish("a"))
    await ledger.reserve(wish("b", estimate_units=None))
    await ledger.record(first.id, Task(task_id="t-1", status="succeed", units=1.5))

    assert [dict(row) for row in await ledger.counts()] == [
        {"provider": "kling", "status": "succeed", "tasks": 1, "units": 1.5},
        {"provider": "kling", "status": "unknown", "tasks": 1, "units": 0.0},
    ]


@pytest.mark.anyio
async def test_a_row_is_found_by_the_address_of_its_callbacks_alone(ledger: Ledger) -> None:
    record, _ = await ledger.reserve(wish())

    assert len(record.callback_key) >= 32
    assert await ledger.by_callback_key(record.callback_key) == record
    assert await ledger.by_callback_key("") is None
    assert await ledger.by_callback_key(record.id) is None


@pytest.mark.anyio
async def test_an_external_id_of_somebody_else_tells_nothing_of_their_task(ledger: Ledger) -> None:
    await ledger.reserve(wish("a", external_task_id="mine", principal="ann", prompt="secret plan"))

    with pytest.raises(Exception, match="is taken") as raised:
        await ledger.reserve(wish("b", external_task_id="mine", principal="bob"))

    assert "kling-v2-6" not in str(raised.value)
    assert "secret" not in str(raised.value)

"""The state of signing in, in both databases: who comes first, and how much is kept."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.postgres import Postgres
from tests.server.hosting.sign_in.visit import Clock

from kling_mcp.hosting.sign_in.store import (
    MOST_GRANTS,
    MOST_USED,
    REGISTRATIONS,
    WRONG_TOKENS,
    Family,
    Grant,
    SignInStore,
)
from kling_mcp.ledger import Ledger
from kling_mcp.ledger.engine import Engine
from kling_mcp.ledger.postgres import PostgresEngine
from kling_mcp.ledger.sqlite import SqliteEngine

SCOPES = ("kling:read",)


class CountingClock(Clock):
    """Goes on by a millisecond with each look, however busy the machine is."""

    def __init__(self) -> None:
        super().__init__()
        self.began = time.time()

    def __call__(self) -> float:
        self.ahead += 0.001
        return self.began + self.ahead


@pytest.fixture
def clock() -> Clock:
    return CountingClock()


@pytest.fixture(params=["sqlite", "postgres"])
def stores(
    request: pytest.FixtureRequest, clock: Clock, tmp_path: Path
) -> Iterator[list[SignInStore]]:
    """Those of two servers on one database."""
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.new_schema()
        engines: list[Engine] = [PostgresEngine(url) for _ in range(2)]
    else:
        engines = [SqliteEngine(tmp_path / "ledger.sqlite3") for _ in range(2)]
    ledgers = [Ledger(engine, clock) for engine in engines]
    yield [SignInStore(lambda ledger=ledger: ledger) for ledger in ledgers]  # type: ignore[misc]
    for ledger in ledgers:
        anyio.run(ledger.close)


async def allowed(store: SignInStore, name: str = "one", token: str = "ada") -> Grant:
    grant = Grant(name, "program", "https://videos.example/mcp", token)
    await store.allow(grant, f"code-{name}", SCOPES, {}, "{}")
    return grant


async def traded(store: SignInStore, name: str = "one", token: str = "ada") -> Grant:
    grant = await allowed(store, name, token)
    code = await store.take_code(f"code-{name}", "program")
    assert code is not None
    assert await store.trade(code, f"access-{name}", f"refresh-{name}")
    return grant


async def together(calls: list[Any]) -> list[Any]:
    found: list[Any] = [None] * len(calls)

    async def run(number: int) -> None:
        found[number] = await calls[number]

    async with anyio.create_task_group() as group:
        for number in range(len(calls)):
            group.start_soon(run, number)
    return found


@pytest.mark.anyio
async def test_of_many_who_come_with_one_code_at_most_one_gets_it(
    stores: list[SignInStore],
) -> None:
    await allowed(stores[0])
    found = await together([store.take_code("code-one", "program") for store in stores * 4])
    codes = [code for code in found if code is not None]

    assert len(codes) == 1
    assert await stores[0].trade(codes[0], "a", "r") is False


@pytest.mark.anyio
async def test_of_many_who_refresh_at_once_all_get_the_same(stores: list[SignInStore]) -> None:
    await traded(stores[0])
    found = await together(
        [store.refresh("refresh-one", "access-two", "refresh-two", SCOPES) for store in stores * 4]
    )

    assert all(isinstance(family, Family) for family in found)
    assert await stores[1].found("access", "access-two") is not None


@pytest.mark.anyio
async def test_the_same_refresh_at_a_server_whose_clock_is_behind_gets_the_same(
    stores: list[SignInStore], clock: Clock
) -> None:
    await traded(stores[0])
    await stores[0].refresh("refresh-one", "access-two", "refresh-two", SCOPES)
    clock.ahead -= 1

    assert await stores[1].refresh("refresh-one", "access-two", "refresh-two", SCOPES) is not None
    assert await stores[1].found("access", "access-two") is not None


@pytest.mark.anyio
async def test_the_same_refresh_too_late_ends_the_family_on_every_server(
    stores: list[SignInStore], clock: Clock
) -> None:
    await traded(stores[0])
    await stores[0].refresh("refresh-one", "access-two", "refresh-two", SCOPES)
    clock.ahead += 11

    assert await stores[1].refresh("refresh-one", "access-two", "refresh-two", SCOPES) is None
    for store in stores:
        assert await store.found("access", "access-two") is None
        assert await store.found("refresh", "refresh-two") is None


@pytest.mark.anyio
@pytest.mark.parametrize("limit", [REGISTRATIONS, WRONG_TOKENS], ids=lambda limit: limit.kind)
async def test_all_servers_count_tries_together(
    limit: Any, stores: list[SignInStore], clock: Clock
) -> None:
    for number in range(limit.each):
        assert await stores[number % 2].tried(limit, "a") == 0
    waits = [await store.tried(limit, "a") for store in stores]
    other = await stores[0].tried(limit, "b")
    clock.ahead += limit.window_s + 1

    assert all(0 < wait_s <= limit.window_s for wait_s in waits)
    assert other == 0
    assert await stores[0].tried(limit, "a") == 0


@pytest.mark.anyio
async def test_what_has_ended_is_swept(stores: list[SignInStore], clock: Clock) -> None:
    await traded(stores[0])
    await stores[0].register("unused", "{}", "a")
    clock.ahead += 200 * 86_400
    await stores[0].tried(WRONG_TOKENS, "a")

    ledger = stores[0]._ledger()
    left = await ledger.engine.read(
        lambda db: [
            db.execute(f"SELECT count(*) AS n FROM sign_in_{name}").fetchone()["n"]
            for name in ("tokens", "grants", "clients", "tries")
        ]
    )
    assert left == [0, 0, 0, 1]


@pytest.mark.anyio
async def test_a_program_that_refreshes_again_and_again_fills_nothing(
    stores: list[SignInStore],
) -> None:
    await traded(stores[0])
    old = "refresh-one"
    for number in range(MOST_USED + 20):
        family = await stores[0].refresh(old, f"a{number}", f"r{number}", SCOPES)
        assert family is not None
        old = f"r{number}"

    kept = (
        await stores[0]
        ._ledger()
        .engine.read(
            lambda db: db.execute(
                "SELECT count(*) AS n FROM sign_in_tokens WHERE kind = 'refresh'"
            ).fetchone()["n"]
        )
    )
    assert kept == MOST_USED + 1
    assert await stores[0].refresh("r100", "x", "y", SCOPES) is None
    assert await stores[0].found("refresh", old) is None


@pytest.mark.anyio
async def test_one_person_s_sign_ins_make_room_for_one_another(
    stores: list[SignInStore], clock: Clock
) -> None:
    await traded(stores[0], "other", "bob")
    for number in range(MOST_GRANTS + 1):
        clock.ahead += 1
        await traded(stores[0], str(number))

    assert await stores[0].found("access", "access-0") is None
    assert await stores[0].found("access", "access-1") is not None
    assert await stores[0].found("access", "access-other") is not None

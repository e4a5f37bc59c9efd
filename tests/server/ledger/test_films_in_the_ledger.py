"""Films in the ledger: one maker at a time, and caps that hold where each shot is reserved."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.postgres import Postgres
from tests.server.ledger.test_ledger import Clock, submitted, wish

from kling_mcp.ledger import Ledger
from kling_mcp.ledger.films import FilmRow, ShotRow
from kling_mcp.ledger.postgres import PostgresEngine
from kling_mcp.providers.task import Task
from kling_tools.errors import KlingError, SpendCapReached

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(place: Path | Postgres, clock: Clock) -> AsyncIterator[tuple[Ledger, Ledger]]:
    """Two servers' ledgers in one place."""
    url = "" if isinstance(place, Path) else place.new_schema()
    one, other = (
        Ledger(place if isinstance(place, Path) else PostgresEngine(url), clock) for _ in range(2)
    )
    try:
        yield one, other
    finally:
        await one.close()
        await other.close()


@pytest.fixture(params=["file", "database"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | Postgres:
    if request.param == "file":
        return tmp_path / "home"
    found: Postgres = request.getfixturevalue("postgres")
    return found


def film(*prompts: str, **more: Any) -> FilmRow:
    shots = [ShotRow.of(number, {"prompt": p}) for number, p in enumerate(prompts, start=1)]
    return FilmRow(id="", principal="", name="Holiday", request={}, shots=shots, **more)


async def test_a_cap_of_a_film_holds_whichever_servers_reserve_its_shots(
    place: Path | Postgres,
) -> None:
    async with opened(place, Clock()) as servers:
        made = await servers[0].films.put(film("a", "b", "c", max_units=4.0))
        kept, refused = [], []

        async def reserve(number: int) -> None:
            shot = wish(f"d{number}", units=2.0, film_id=made.id)
            try:
                kept.append(await servers[number % 2].reserve(shot))
            except SpendCapReached as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(reserve, number)

        assert len(kept) == 2
        assert len(refused) == 4
        assert "max_units of the film is 4; 4 are spent or reserved" in str(refused[0])


async def test_a_cap_counts_what_a_failed_shot_cost_and_frees_what_one_did_not(
    place: Path | Postgres,
) -> None:
    async with opened(place, Clock()) as (ledger, _):
        made = await ledger.films.put(film("a", max_units=3.0))
        first, _ = await ledger.reserve(wish("d1", units=2.0, film_id=made.id))
        await ledger.record(first.id, submitted("t-1"))
        with pytest.raises(SpendCapReached):
            await ledger.reserve(wish("d2", units=2.0, film_id=made.id))
        await ledger.record(first.id, Task(task_id="t-1", status="failed", units=0.0))
        second, new = await ledger.reserve(wish("d2", units=2.0, film_id=made.id))

    assert new
    assert second.status == "unknown"


async def test_what_was_made_without_the_film_costs_it_nothing(place: Path | Postgres) -> None:
    async with opened(place, Clock()) as (ledger, _):
        made = await ledger.films.put(film("a", "b", max_units=2.0))
        await ledger.reserve(wish("d1", units=2.0))
        _, again = await ledger.reserve(wish("d1", units=2.0, film_id=made.id))
        _, new = await ledger.reserve(wish("d2", units=2.0, film_id=made.id))

    assert (again, new) == (False, True)


async def test_dollars_are_counted_beside_units(place: Path | Postgres) -> None:
    async with opened(place, Clock()) as (ledger, _):
        made = await ledger.films.put(film("a", "b", max_usd=0.5))
        await ledger.reserve(wish("d1", units=2.0, film_id=made.id))
        with pytest.raises(SpendCapReached, match="max_usd"):
            await ledger.reserve(wish("d2", units=2.0, film_id=made.id))


async def test_one_server_makes_a_film_until_its_lease_runs_out(place: Path | Postgres) -> None:
    clock = Clock()
    async with opened(place, clock) as (one, other):
        made = await one.films.put(film("a"))
        assert await one.films.claim(made.id, "one")
        assert not await other.films.claim(made.id, "other")
        assert await other.films.unfinished(0) == []
        clock.now += one.lease_s + 1
        assert await other.films.unfinished(0) == [made.id]
        assert await other.films.claim(made.id, "other")
        assert not await one.films.claim(made.id, "one")
        await one.films.finish(made.id, "one", "failed", "late")
        await other.films.finish(made.id, "other", "succeed")
        row = await one.find(made.id)

    assert row is not None
    assert row.status == "succeed"


async def test_other_shots_are_refused_while_a_server_makes_the_film(
    place: Path | Postgres,
) -> None:
    async with opened(place, Clock()) as (one, other):
        made = await one.films.put(film("a"))
        await one.films.claim(made.id, "one")
        with pytest.raises(KlingError, match="of other shots is being made"):
            await other.films.put(film("a", "b"))
        same = await other.films.put(film("a"))
        await one.films.finish(made.id, "one", "succeed")
        changed = await other.films.put(film("a", "b"))

    assert same.id == changed.id == made.id
    assert len(changed.shots) == 2


async def test_a_withdrawn_film_reserves_no_more_shots(place: Path | Postgres) -> None:
    async with opened(place, Clock()) as (ledger, other):
        made = await ledger.films.put(film("a"))
        assert await other.films.withdraw(made.id, "withdrawn")
        with pytest.raises(KlingError, match="cancelled"):
            await ledger.reserve(wish("d1", film_id=made.id))


async def test_a_film_costs_nothing_besides_its_shots(place: Path | Postgres) -> None:
    async with opened(place, Clock()) as (ledger, _):
        made = await ledger.films.put(film("a"))
        await ledger.reserve(wish("d1", units=2.0, film_id=made.id))
        (spent,) = await ledger.spent_since(0)

    assert spent["videos"] == 1
    assert spent["estimated_units"] == 2.0

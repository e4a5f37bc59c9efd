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
from kling_mcp.ledger.records import ShotOf
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
        made = await servers[0].films.put(film("a", "b", "c", max_units=4.0), "one")
        kept, refused = [], []

        async def reserve(number: int) -> None:
            shot = wish(f"d{number}", units=2.0, shot_of=ShotOf(made.id, 1, "one"))
            try:
                kept.append(await servers[number % 2].reserve(shot))
            except SpendCapReached as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(reserve, number)

        assert len(kept) == 2
        assert len(refused) == 4
        assert (
            "max_units of the film is 4; 4 are spent or reserved, and this shot would cost 2 units."
        ) in str(refused[0])


async def test_a_cap_counts_what_a_failed_shot_cost_and_frees_what_one_did_not(
    place: Path | Postgres,
) -> None:
    async with opened(place, Clock()) as (ledger, _):
        made = await ledger.films.put(film("a", max_units=3.0), "one")
        first, _ = await ledger.reserve(wish("d1", units=2.0, shot_of=ShotOf(made.id, 1, "one")))
        await ledger.record(first.id, submitted("t-1"))
        with pytest.raises(SpendCapReached):
            await ledger.reserve(wish("d2", units=2.0, shot_of=ShotOf(made.id, 1, "one")))
        await ledger.record(first.id, Task(task_id="t-1", status="failed", units=0.0))
        second, new = await ledger.reserve(wish("d2", units=2.0, shot_of=ShotOf(made.id, 1, "one")))

    assert new
    assert second.status == "unknown"


async def test_what_was_made_without_the_film_costs_it_nothing(place: Path | Postgres) -> None:
    async with opened(place, Clock()) as (ledger, _):
        made = await ledger.films.put(film("a", "b", max_units=2.0), "one")
        await ledger.reserve(wish("d1", units=2.0))
        _, again = await ledger.reserve(wish("d1", units=2.0, shot_of=ShotOf(made.id, 1, "one")))
        _, new = await ledger.reserve(wish("d2", units=2.0, shot_of=ShotOf(made.id, 1, "one")))

    assert (again, new) == (False, True)


async def test_dollars_are_counted_beside_units(place: Path | Postgres) -> None:
    async with opened(place, Clock()) as (ledger, _):
        made = await ledger.films.put(film("a", "b", max_usd=0.5), "one")
        await ledger.reserve(wish("d1", units=2.0, shot_of=ShotOf(made.id, 1, "one")))
        told = r"max_usd of the film is 0\.5 USD; 0\.28 USD are .* would cost 0\.28 USD\."
        with pytest.raises(SpendCapReached, match=told):
            await ledger.reserve(wish("d2", units=2.0, shot_of=ShotOf(made.id, 1, "one")))


async def test_one_server_makes_a_film_until_its_lease_runs_out(place: Path | Postgres) -> None:
    clock = Clock()
    async with opened(place, clock) as (one, other):
        made = await one.films.put(film("a"), "one")
        assert not await other.films.claim(made.id, "other")
        assert await other.films.unfinished(0) == []
        clock.now += one.lease_s + 1
        assert await other.films.unfinished(0) == [made.id]
        assert await other.films.claim(made.id, "other")
        assert not await one.films.renew(made.id, "one")
        with pytest.raises(KlingError, match="Another server makes the film"):
            await one.reserve(wish("d1", units=2.0, shot_of=ShotOf(made.id, 1, "one")))
        assert not await one.films.finish(made, "one", "failed", "late")
        assert await other.films.finish(made, "other", "succeed")
        row = await one.find(made.id)

    assert row is not None
    assert row.status == "succeed"


async def test_other_shots_are_refused_while_a_server_makes_the_film(
    place: Path | Postgres,
) -> None:
    async with opened(place, Clock()) as (one, other):
        made = await one.films.put(film("a"), "one")
        with pytest.raises(KlingError, match="of other shots is being made"):
            await other.films.put(film("a", "b"), "other")
        same = await other.films.put(film("a"), "other")
        assert same.lease_owner == "one"
        assert not await one.films.finish(made, "one", "succeed"), "asked for again since"
        await one.films.finish(same, "one", "succeed")
        changed = await other.films.put(film("a", "b"), "other")

    assert changed.lease_owner == "other"
    assert same.id == changed.id == made.id
    assert len(changed.shots) == 2


async def test_a_withdrawn_film_reserves_no_more_shots(place: Path | Postgres) -> None:
    async with opened(place, Clock()) as (ledger, other):
        made = await ledger.films.put(film("a"), "one")
        assert await other.films.withdraw(made.id, "withdrawn")
        with pytest.raises(KlingError, match="cancelled"):
            await ledger.reserve(wish("d1", shot_of=ShotOf(made.id, 1, "one")))
        again = await other.films.put(film("a", "b"), "other")
        with pytest.raises(KlingError, match="Another server makes the film"):
            await ledger.reserve(wish("d1", shot_of=ShotOf(made.id, 1, "one")))

    assert again.lease_owner == "other"


async def test_a_film_costs_nothing_besides_its_shots(place: Path | Postgres) -> None:
    async with opened(place, Clock()) as (ledger, _):
        made = await ledger.films.put(film("a"), "one")
        await ledger.reserve(wish("d1", units=2.0, shot_of=ShotOf(made.id, 1, "one")))
        (spent,) = await ledger.spent_since(0)

    assert spent["videos"] == 1
    assert spent["estimated_units"] == 2.0


async def test_a_reserved_row_is_known_as_its_shot_at_once(place: Path | Postgres) -> None:
    async with opened(place, Clock()) as (ledger, other):
        made = await ledger.films.put(film("a", "b"), "one")
        row, _ = await ledger.reserve(wish("d1", shot_of=ShotOf(made.id, 2, "one")))
        known = await other.films.of_row(made.id)

    assert [shot.record_id for shot in known.shots] == ["", row.id]

"""The ledger: one row for one wish, whoever asks and whatever breaks."""

import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import anyio
import psycopg
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from psycopg.rows import dict_row
from tests.postgres import Postgres

from kling_mcp.ledger import DayCaps, Ledger, NewRow, Record
from kling_mcp.ledger import sqlite as database
from kling_mcp.ledger.engine import Database
from kling_mcp.ledger.postgres import PostgresEngine
from kling_mcp.ledger.sqlite import STEPS, SqliteEngine
from kling_mcp.ledger.store import IN_ONE_READ
from kling_mcp.providers.task import Task, Video
from kling_tools.errors import KlingError, NotConfigured, SpendCapReached
from kling_tools.results import TaskStatus

HOUR_S = 3600
ResultT = TypeVar("ResultT")
Place = Path | str
"""A folder, or the address of a PostgreSQL database."""


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty ledger on either engine."""
    if request.param == "sqlite":
        return tmp_path / "home"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.new_schema()


@pytest.fixture
def ledger(place: Place, clock: Clock) -> Iterator[Ledger]:
    ledger = opened(place, clock)
    yield ledger
    anyio.run(ledger.close)


@pytest.fixture
def file_ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    ledger = opened(tmp_path / "home", clock)
    yield ledger
    anyio.run(ledger.close)


def opened(place: Place, clock: Callable[[], float] = time.time) -> Ledger:
    return Ledger(place if isinstance(place, Path) else PostgresEngine(place), clock)


def wish(digest: str = "d", take: int = 1, units: float | None = 2.0, **more: Any) -> NewRow:
    given: dict[str, Any] = {
        "provider": "kling",
        "base_url": "https://kling.example",
        "product": "image2video",
        "model_name": "kling-v2-6",
        "prompt": "waves",
        "request": {"prompt": "waves", "image": "photo.png"},
        **more,
    }
    return NewRow(digest=digest, take=take, estimate_units=units, **given)


def submitted(task_id: str = "t-1") -> Task:
    return Task(task_id=task_id, status="submitted")


def rows_on_disk(place: Place) -> list[dict[str, Any]]:
    """What another program sees now."""
    if isinstance(place, str):
        with psycopg.connect(place, row_factory=dict_row) as connection:
            return connection.execute("SELECT * FROM tasks ORDER BY rowid").fetchall()
    with closing(sqlite3.connect(place / "ledger.sqlite3")) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM tasks ORDER BY rowid")]


@pytest.mark.anyio
async def test_nothing_is_on_disk_before_the_first_call(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "deep" / "home")
    await ledger.close()

    assert list(tmp_path.iterdir()) == []
    assert await ledger.find("t-1") is None
    assert Path(ledger.place) == tmp_path / "deep" / "home" / "ledger.sqlite3"
    assert Path(ledger.place).is_file()
    await ledger.close()


@pytest.mark.anyio
async def test_a_reserved_row_is_on_disk_with_its_external_id_before_anything_is_sent(
    ledger: Ledger, place: Place, clock: Clock
) -> None:
    record, new = await ledger.reserve(wish())

    assert new
    assert record == Record(
        id=record.id,
        provider="kling",
        base_url="https://kling.example",
        product="image2video",
        digest="d",
        take=1,
        attempt=1,
        external_task_id=f"kmcp-{record.id}",
        task_id=None,
        status="unknown",
        model_name="kling-v2-6",
        prompt="waves",
        request={"prompt": "waves", "image": "photo.png"},
        estimate_units=2.0,
        estimate_usd=0.28,
        units=None,
        message="",
        videos=(),
        path=None,
        created_at=clock.now,
        updated_at=clock.now,
        lease_owner="",
        lease_until=0,
        due_at=0,
        tries=0,
        ended_at=None,
        bytes=None,
        sha256=None,
        expires_at=None,
        status_at=clock.now,
    )
    assert record.handle == record.external_task_id
    (row,) = rows_on_disk(place)
    assert (row["external_task_id"], row["status"]) == (record.external_task_id, "unknown")


@pytest.mark.anyio
async def test_the_same_wish_has_one_row(ledger: Ledger, place: Place) -> None:
    first, _ = await ledger.reserve(wish())
    second, new = await ledger.reserve(wish())

    assert (second, new) == (first, False)
    assert len(rows_on_disk(place)) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "other",
    [wish("e"), wish(take=2), wish(provider="sandbox"), wish(base_url="https://other.example")],
    ids=["digest", "take", "provider", "base_url"],
)
async def test_another_request_take_provider_or_base_url_has_another_row(
    other: NewRow, ledger: Ledger
) -> None:
    first, _ = await ledger.reserve(wish())
    second, new = await ledger.reserve(other)

    assert new
    assert first.external_task_id != second.external_task_id


@pytest.mark.anyio
async def test_rows_with_untidy_blanks_around_the_same_prompt_are_alike(ledger: Ledger) -> None:
    others = ("waves", " waves\r\n", "\u3000waves\u00a0", "waves!", "wa ves")
    for number, prompt in enumerate(others):
        await ledger.reserve(wish(f"{number}", prompt=prompt))
    await ledger.reserve(wish("lines", prompt="a\r\nb"))
    await ledger.reserve(wish("elsewhere", base_url="https://b.example"))

    async def alike(new_row: NewRow) -> list[str]:
        return [row.digest for row in (await ledger.equals(new_row)).alike]

    assert await alike(wish("new")) == ["2", "1"]
    assert await alike(wish("new", prompt="a\nb")) == ["lines"]
    assert await alike(wish("1")) == []

    watermark = {"watermark_info": {"enabled": False}}
    await ledger.reserve(wish("marked", request=watermark))
    await ledger.reserve(wish("shots", request={"multi_prompt": [{"prompt": "she turns "}]}))
    assert await alike(wish("new")) == ["shots", "marked", "2", "1"]


@pytest.mark.anyio
async def test_a_retired_model_is_known_at_once_here_and_elsewhere_within_a_minute(
    place: Place, clock: Clock
) -> None:
    here, elsewhere = opened(place, clock), opened(place, clock)
    row, _ = await here.reserve(wish())
    assert await here.retired_models() == await elsewhere.retired_models() == {}

    await here.retire(row)
    known = {("kling", "https://kling.example"): {("image2video", "kling-v2-6")}}
    assert await here.retired_models() == known
    assert await elsewhere.retired_models() == {}

    clock.now += 60
    assert await elsewhere.retired_models() == known
    clock.now += 24 * HOUR_S
    assert await here.retired_models() == {}
    for ledger in (here, elsewhere):
        await ledger.close()


@pytest.mark.anyio
@pytest.mark.parametrize("status", ["unknown", "submitted", "processing", "succeed"])
async def test_a_wish_that_has_not_failed_is_not_made_again(
    status: TaskStatus, ledger: Ledger
) -> None:
    first, _ = await ledger.reserve(wish())
    recorded = await ledger.record(first.id, Task(task_id="t-1", status=status))

    assert await ledger.reserve(wish()) == (recorded, False)


@pytest.mark.anyio
async def test_after_a_failure_the_same_wish_gets_a_new_attempt_and_external_id(
    ledger: Ledger,
) -> None:
    first, _ = await ledger.reserve(wish())
    await ledger.record(first.id, Task(task_id="t-1", status="failed", message="risk control"))

    second, new = await ledger.reserve(wish())

    assert new
    assert (first.attempt, second.attempt) == (1, 2)
    assert second.external_task_id != first.external_task_id
    assert await ledger.reserve(wish()) == (second, False)


@pytest.mark.anyio
async def test_what_the_provider_says_is_written_down(ledger: Ledger, clock: Clock) -> None:
    reserved, _ = await ledger.reserve(wish())
    clock.now += 60
    video = Video("https://a/1.mp4", 5.04, "https://a/w.mp4", "v-1")
    task = Task(task_id="t-1", status="succeed", message="ready", videos=(video,), units=1.5)

    record = await ledger.record(reserved.id, task)

    assert (record.task_id, record.handle, record.status) == ("t-1", "t-1", "succeed")
    assert (record.videos, record.units, record.message) == ((video,), 1.5, "ready")
    assert (record.created_at, record.updated_at) == (clock.now - 60, clock.now)
    assert record.external_task_id == reserved.external_task_id


@pytest.mark.anyio
async def test_a_video_that_gives_pictures_alone_still_runs(ledger: Ledger) -> None:
    reserved, _ = await ledger.reserve(wish())
    picture = Video("https://a/1.png", kind="picture")

    early = await ledger.record(reserved.id, Task("t-1", "succeed", videos=(picture,)))
    video = Video("https://a/1.mp4")
    done = await ledger.record(reserved.id, Task("t-1", "succeed", videos=(picture, video)))

    assert (early.status, early.videos) == ("processing", ())
    assert (done.status, done.videos) == ("succeed", (video,))


@pytest.mark.anyio
async def test_the_true_cost_stays_when_a_later_answer_does_not_repeat_it(ledger: Ledger) -> None:
    reserved, _ = await ledger.reserve(wish())
    await ledger.record(reserved.id, Task(task_id="t-1", status="processing", units=1.5))

    assert (await ledger.record(reserved.id, submitted())).units == 1.5


@pytest.mark.anyio
async def test_a_refused_create_failed_at_no_cost(ledger: Ledger) -> None:
    reserved, _ = await ledger.reserve(wish())
    await ledger.refused(reserved.id, "mode value 'std' is invalid")

    record = await ledger.find(reserved.id)

    assert record is not None
    assert (record.status, record.units, record.task_id) == ("failed", 0.0, None)
    assert record.message == "mode value 'std' is invalid"


@pytest.mark.anyio
async def test_a_task_that_another_process_got_is_not_called_refused(ledger: Ledger) -> None:
    reserved, _ = await ledger.reserve(wish())
    await ledger.record(reserved.id, submitted())

    await ledger.refused(reserved.id, "External_task_id already exists")

    record = await ledger.find("t-1")
    assert record is not None
    assert (record.status, record.message) == ("submitted", "")


@pytest.mark.anyio
async def test_a_task_that_turns_up_after_a_refusal_has_an_open_price(ledger: Ledger) -> None:
    reserved, _ = await ledger.reserve(wish())
    await ledger.refused(reserved.id, "too many requests")

    record = await ledger.record(reserved.id, submitted())

    assert (record.status, record.units) == ("submitted", None)


@pytest.mark.anyio
async def test_where_a_video_lies_is_written_down(ledger: Ledger, tmp_path: Path) -> None:
    reserved, _ = await ledger.reserve(wish())
    written = await ledger.saved(reserved.id, tmp_path / "waves.mp4", 2048, "ab12")

    record = await ledger.find(reserved.id)

    assert record is not None
    assert record == written
    assert record.path == str(tmp_path / "waves.mp4")
    assert (record.bytes, record.sha256) == (2048, "ab12")


@pytest.mark.anyio
async def test_a_row_is_found_by_each_of_its_ids(ledger: Ledger) -> None:
    reserved, _ = await ledger.reserve(wish(external_task_id="scene-1"))
    record = await ledger.record(reserved.id, submitted("t-1"))
    await ledger.reserve(wish("other"))

    for any_id in ("t-1", "scene-1", record.id):
        assert await ledger.find(any_id) == record
    for nothing in ("", "t-2", "%", "kmcp-"):
        assert await ledger.find(nothing) is None


class Far(SqliteEngine):
    """A database that is elsewhere; `reads` counts its reads, which wait for `opened`. One id
    `breaks` the reads in which it is asked for."""

    is_shared = True

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads = 0
        self.opened = anyio.Event()
        self.breaks = ""

    async def read(self, work: Callable[[Database], ResultT]) -> ResultT:
        self.reads += 1
        await self.opened.wait()
        if self.breaks and self.breaks in getattr(work, "keywords", {}).get("ids", ()):
            raise OverflowError(f"too large: {self.breaks}")
        return await super().read(work)


@pytest.fixture
async def far(tmp_path: Path) -> Far:
    ledger = Ledger(tmp_path)
    for name in ("ann", "bob", "carl"):
        record, _ = await ledger.reserve(wish(name, principal=name))
        await ledger.record(record.id, submitted(f"t-{name}"))
    await ledger.close()
    return Far(tmp_path / "ledger.sqlite3")


@pytest.mark.anyio
async def test_those_who_ask_while_others_are_answered_share_one_read_that_begins_later(
    far: Far,
) -> None:
    ledger, found = Ledger(far), {}

    async def ask(task_id: str, principal: str | None = None) -> None:
        found[task_id, principal] = await ledger.find(task_id, principal=principal)

    async with anyio.create_task_group() as group:
        group.start_soon(ask, "t-ann")
        await anyio.wait_all_tasks_blocked()
        for who in (None, "ann", "bob"):
            group.start_soon(ask, "t-bob", who)
        group.start_soon(ask, "t-carl")
        group.start_soon(ask, "t-nobody")
        await anyio.wait_all_tasks_blocked()
        far.opened.set()
    await ledger.close()

    assert far.reads == 2
    assert {key: row and row.task_id for key, row in found.items()} == {
        ("t-ann", None): "t-ann",
        ("t-bob", None): "t-bob",
        ("t-bob", "ann"): None,
        ("t-bob", "bob"): "t-bob",
        ("t-carl", None): "t-carl",
        ("t-nobody", None): None,
    }


@pytest.mark.anyio
async def test_one_who_goes_away_in_a_shared_read_leaves_the_others_their_answer(far: Far) -> None:
    ledger = Ledger(far)
    going = anyio.CancelScope()

    async def go() -> None:
        with going:
            await ledger.find("t-ann")

    async with anyio.create_task_group() as group:
        group.start_soon(go)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(ledger.find, "t-carl")
        await anyio.wait_all_tasks_blocked()
        going.cancel()
        far.opened.set()
        found = await ledger.find("t-bob")
    await ledger.close()

    assert found is not None
    assert found.task_id == "t-bob"
    assert far.reads == 2


@pytest.mark.anyio
async def test_a_shared_read_that_fails_fails_once_for_all_of_them(
    far: Far, tmp_path: Path
) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(b"notes of somebody" * 100)
    ledger, errors = Ledger(far), []

    async def ask() -> None:
        with pytest.raises(NotConfigured) as raised:
            await ledger.find("t-bob")
        errors.append(raised.value)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        far.opened.set()

    assert far.reads == 1 + 1
    assert len({str(error) for error in errors}) == 1
    assert len({id(error) for error in errors}) == 5


@pytest.mark.anyio
async def test_an_id_that_no_database_can_hold_leads_to_no_row(ledger: Ledger) -> None:
    record, _ = await ledger.reserve(wish("a"))
    await ledger.record(record.id, submitted("t-1"))
    odd = ["\ud800", "t-1\udfff", "\0", "t-1\0", "é", "🦊"]

    assert [await ledger.find(any_id) for any_id in odd] == [None] * 6
    assert [*await ledger.several([*odd, "t-1"])] == ["t-1"]


@pytest.mark.anyio
async def test_after_a_shared_read_that_one_id_broke_each_is_read_alone(far: Far) -> None:
    far.breaks = "t-carl"
    ledger, found = Ledger(far), dict[str, object]()

    async def ask(task_id: str) -> None:
        try:
            row = await ledger.find(task_id)
            found[task_id] = row and row.task_id
        except OverflowError as error:
            found[task_id] = str(error)

    async with anyio.create_task_group() as group:
        for task_id in ("t-ann", "t-carl", "t-bob", "t-nobody"):
            group.start_soon(ask, task_id)
        await anyio.wait_all_tasks_blocked()
        far.opened.set()
    await ledger.close()

    assert found == {
        "t-ann": "t-ann",
        "t-carl": "too large: t-carl",
        "t-bob": "t-bob",
        "t-nobody": None,
    }


@pytest.mark.anyio
async def test_a_shared_read_has_no_more_ids_than_a_statement_takes(far: Far) -> None:
    ledger, found = Ledger(far), list[str | None]()

    async def ask(task_id: str) -> None:
        if row := await ledger.find(task_id):
            found.append(row.task_id)

    async with anyio.create_task_group() as group:
        group.start_soon(ask, "t-ann")
        await anyio.wait_all_tasks_blocked()
        for task_id in ("t-bob", *(f"t-{number}" for number in range(2 * IN_ONE_READ)), "t-carl"):
            group.start_soon(ask, task_id)
        await anyio.wait_all_tasks_blocked()
        far.opened.set()
    await ledger.close()

    assert far.reads == 1 + 3
    assert sorted(filter(None, found)) == ["t-ann", "t-bob", "t-carl"]


@pytest.mark.anyio
async def test_a_row_s_own_id_means_the_row_whoever_takes_it_for_another(
    ledger: Ledger, clock: Clock
) -> None:
    row, _ = await ledger.reserve(wish("a"))
    clock.now += 60
    await ledger.reserve(wish("b", external_task_id=row.id))

    assert await ledger.find(row.id) == row
    assert await ledger.several([row.id]) == {row.id: row}


@pytest.mark.anyio
async def test_a_line_begins_with_the_oldest_that_waits_or_is_being_sent(
    ledger: Ledger, clock: Clock
) -> None:
    rows = [(await ledger.reserve(wish(name)))[0] for name in "abc"]
    first, second, third = [await ledger.queue(row.id, "full", 0.0) for row in rows]
    other, _ = await ledger.reserve(wish("d", product="omni-video"))

    async def beginning(*besides: str) -> list[Record]:
        rows = (first, second, third, other)
        return [row for row in rows if await ledger.is_first_in_line(row, besides)]

    assert await beginning() == [first, other]
    assert await beginning(first.id) == [first, second, other]
    await ledger.claim(first.id, "sender")
    await ledger.reopen(first.id, "sender")
    assert await beginning() == [first, other]
    await ledger.record(first.id, Task("t-1", "submitted"))
    assert await beginning() == [first, second, other]


@pytest.mark.anyio
async def test_of_several_rows_with_an_external_id_the_newest_is_found(ledger: Ledger) -> None:
    first, _ = await ledger.reserve(wish(external_task_id="scene-1"))
    await ledger.refused(first.id, "content policy")
    second, _ = await ledger.reserve(wish("corrected", external_task_id="scene-1"))

    found = await ledger.find("scene-1")

    assert found is not None
    assert found.id == second.id


@pytest.mark.anyio
async def test_two_requests_with_one_task_id_have_handles_of_their_own(ledger: Ledger) -> None:
    first, _ = await ledger.reserve(wish("first"))
    second, _ = await ledger.reserve(wish("second"))
    first = await ledger.record(first.id, submitted("t-1"))
    second = await ledger.record(second.id, submitted("t-1"))

    assert (first.handle, second.handle) == ("t-1", second.id)
    for row in (first, second):
        for any_id in (row.handle, row.external_task_id, row.id):
            assert await ledger.find(any_id) == row
            assert (await ledger.several([any_id]))[any_id] == row
    assert [row.handle for row in await ledger.page(limit=2, offset=0)] == [second.id, "t-1"]
    assert await ledger.known("kling", ["t-1"]) == {"t-1": [first.id, second.id]}


@pytest.mark.anyio
async def test_an_external_id_that_is_another_s_task_id_leads_to_the_task(ledger: Ledger) -> None:
    made, _ = await ledger.reserve(wish("first"))
    made = await ledger.record(made.id, submitted("scene-1"))
    named, _ = await ledger.reserve(wish("second", external_task_id="scene-1"))

    found = await ledger.find("scene-1")

    assert found is not None
    assert found.id == made.id
    assert named.handle == named.id


@pytest.mark.anyio
@pytest.mark.parametrize("back_s", [60, HOUR_S, 400 * 24 * HOUR_S])
async def test_a_lease_from_before_the_clock_was_set_back_is_none(
    back_s: float, ledger: Ledger, clock: Clock
) -> None:
    record, _ = await ledger.reserve(wish(), owner="dead")
    queued, _ = await ledger.reserve(wish("queued"), owner="dead")
    await ledger.queue(queued.id, "full", 0.0)
    await ledger.claim(queued.id, "dead")
    assert not await ledger.claim(record.id, "next")
    clock.now -= back_s

    assert not record.is_leased(clock.now)
    assert await ledger.claim(record.id, "next")
    assert not await ledger.claim(record.id, "third")
    assert await ledger.withdraw(queued.id)


@pytest.mark.anyio
async def test_a_lease_that_clocks_see_differently_is_one(ledger: Ledger, clock: Clock) -> None:
    record, _ = await ledger.reserve(wish(), owner="sender")
    clock.now -= 10

    assert record.is_leased(clock.now)
    assert not await ledger.claim(record.id, "next")


@pytest.mark.anyio
async def test_a_right_to_ask_from_before_the_clock_was_set_back_is_none(
    ledger: Ledger, clock: Clock
) -> None:
    record, _ = await ledger.reserve(wish())
    assert await ledger.claim_polling([record.id], "dead", 15.0) == {record.id}
    assert await ledger.claim_polling([record.id], "next", 15.0) == set()
    clock.now -= HOUR_S

    assert await ledger.claim_polling([record.id], "next", 15.0) == {record.id}


@pytest.mark.anyio
async def test_the_caller_s_own_external_id_is_kept(ledger: Ledger) -> None:
    record, _ = await ledger.reserve(wish(external_task_id="scene-1"))

    assert record.external_task_id == "scene-1"


@pytest.mark.anyio
@pytest.mark.parametrize("status", ["unknown", "submitted", "succeed", "failed"])
async def test_an_external_id_that_a_task_has_is_refused_for_another_request(
    status: TaskStatus, ledger: Ledger, place: Place
) -> None:
    first, _ = await ledger.reserve(wish(external_task_id="scene-1"))
    await ledger.record(first.id, Task(task_id="t-1", status=status))

    with pytest.raises(KlingError) as raised:
        await ledger.reserve(wish("other", external_task_id="scene-1"))

    assert "scene-1 belongs to another request" in raised.value.message
    assert len(rows_on_disk(place)) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("digest", "change", "told"),
    [
        ("e", {"request": {"prompt": "wind"}}, 'prompt was "waves", is "wind"; image was '),
        ("e", {"request": {"prompt": "w" * 90}}, "www…; image"),
        ("e", {}, "What differs: the content of a picture."),
        ("d", {"take": 2}, "take was 1, is 2."),
        ("e", {"product": "omni-video"}, 'route was "image2video", is "omni-video"'),
        ("e", {"request": dict.fromkeys("abcdef", 1)}, "a was not given, is 1;"),
        ("e", {"request": dict.fromkeys("abcdef", 1)}, " and 4 more."),
    ],
)
async def test_an_external_id_of_another_request_shows_what_differs(
    ledger: Ledger, digest: str, change: dict[str, Any], told: str
) -> None:
    await ledger.reserve(wish(external_task_id="scene-1"))

    with pytest.raises(KlingError) as raised:
        await ledger.reserve(wish(digest, external_task_id="scene-1", **change))

    assert told in raised.value.message
    assert len(raised.value.message) < 400


@pytest.mark.anyio
async def test_a_video_expires_thirty_days_after_it_was_made(ledger: Ledger, clock: Clock) -> None:
    record, _ = await ledger.reserve(wish())
    running = await ledger.record(record.id, submitted())
    made_at = clock.now - 60
    done = await ledger.record(record.id, Task("t-1", "succeed", updated_at=made_at))
    clock.now += HOUR_S
    again = await ledger.record(record.id, Task("t-1", "succeed", updated_at=clock.now))

    assert running.expires_at is None
    assert done.expires_at == again.expires_at == made_at + 30 * 24 * HOUR_S


@pytest.mark.anyio
async def test_an_external_id_is_not_used_for_a_second_attempt_after_the_job_failed(
    ledger: Ledger,
) -> None:
    first, _ = await ledger.reserve(wish(external_task_id="scene-1"))
    await ledger.record(first.id, Task(task_id="t-1", status="failed"))

    with pytest.raises(KlingError) as raised:
        await ledger.reserve(wish(external_task_id="scene-1"))

    assert "an earlier attempt" in raised.value.message


@pytest.mark.anyio
async def test_the_external_id_of_a_refused_create_is_free_again(ledger: Ledger) -> None:
    first, _ = await ledger.reserve(wish(external_task_id="scene-1"))
    await ledger.refused(first.id, "too many requests")

    again, new = await ledger.reserve(wish(external_task_id="scene-1"))

    assert new
    assert (again.external_task_id, again.attempt) == ("scene-1", 2)


@pytest.mark.anyio
@pytest.mark.parametrize("other", [{"provider": "sandbox"}, {"base_url": "https://other.example"}])
async def test_the_same_external_id_at_two_providers_is_no_clash(
    other: dict[str, str], ledger: Ledger
) -> None:
    await ledger.reserve(wish(external_task_id="scene-1"))

    _, new = await ledger.reserve(wish(external_task_id="scene-1", **other))

    assert new


@pytest.mark.anyio
async def test_a_row_keeps_the_first_task_id_that_it_was_told(ledger: Ledger) -> None:
    reserved, _ = await ledger.reserve(wish())
    await ledger.record(reserved.id, submitted("t-1"))

    record = await ledger.record(reserved.id, Task(task_id="upstream-9", status="processing"))

    assert (record.task_id, record.status) == ("t-1", "processing")


@pytest.mark.anyio
async def test_those_of_a_provider_s_tasks_that_have_a_row_are_known(ledger: Ledger) -> None:
    for digest, provider in (("a", "kling"), ("b", "kling"), ("c", "sandbox")):
        reserved, _ = await ledger.reserve(wish(digest, provider=provider))
        await ledger.record(reserved.id, submitted(f"t-{digest}"))

    assert set(await ledger.known("kling", ["t-a", "t-c", "t-d"])) == {"t-a"}
    assert set(await ledger.known("sandbox", ["t-a", "t-c"])) == {"t-c"}
    assert await ledger.known("kling", []) == {}


@pytest.mark.anyio
async def test_the_day_s_cap_refuses_what_would_pass_it(ledger: Ledger, place: Place) -> None:
    await ledger.reserve(wish("a", units=3.0), caps=DayCaps(5.0))
    await ledger.reserve(wish("b", units=2.0), caps=DayCaps(5.0))

    with pytest.raises(SpendCapReached) as raised:
        await ledger.reserve(wish("c", units=0.3), caps=DayCaps(5.0))

    assert "cap is 5 units; 5 were spent" in raised.value.message
    assert "would cost 0.3" in raised.value.message
    assert len(rows_on_disk(place)) == 2


@pytest.mark.anyio
async def test_a_cap_of_pictures_counts_one_s_own_pictures_and_no_video(ledger: Ledger) -> None:
    caps = DayCaps(principal_pictures=20.0)

    async def reserve(digest: str, principal: str, product: str, units: float) -> None:
        row = wish(digest, units=units, principal=principal, product=product)
        await ledger.reserve(row, caps=caps)

    await reserve("a", "ann", "omni-image", 16.0)
    await reserve("b", "ann", "image2video", 300.0)
    with pytest.raises(SpendCapReached) as refused:
        await reserve("c", "ann", "image-generation", 8.0)
    await reserve("c", "bob", "image-generation", 8.0)

    assert "Your cap for a day is 20 image units; 16 were spent" in refused.value.message
    assert "this picture would cost 8." in refused.value.message
    assert "free again in 24 h 0 min" in refused.value.advice
    assert "KLING_MCP_MAX_IMAGE_UNITS_PER_DAY_USER raised" in refused.value.advice


@pytest.mark.anyio
async def test_a_video_of_unknown_price_is_refused_under_a_cap_only(ledger: Ledger) -> None:
    with pytest.raises(SpendCapReached, match="price of this video is not known"):
        await ledger.reserve(wish(units=None), caps=DayCaps(1000))

    assert (await ledger.reserve(wish(units=None)))[1]


@pytest.mark.anyio
@pytest.mark.parametrize(("price", "count", "cap"), [(0.1, 3, 0.3), (0.6, 10, 6), (0.7, 3, 2.1)])
async def test_prices_that_add_up_to_the_cap_are_within_it(
    price: float, count: int, cap: float, ledger: Ledger
) -> None:
    for number in range(count):
        await ledger.reserve(wish(str(number), units=price), caps=DayCaps(cap))

    with pytest.raises(SpendCapReached):
        await ledger.reserve(wish("more", units=price), caps=DayCaps(cap))


@pytest.mark.anyio
async def test_the_cap_counts_24_hours_the_true_cost_and_no_play_money(
    ledger: Ledger, clock: Clock
) -> None:
    await ledger.reserve(wish("old", units=9))
    clock.now += 25 * HOUR_S
    cheaper, _ = await ledger.reserve(wish("cheaper", units=9))
    await ledger.record(cheaper.id, Task(task_id="t-1", status="succeed", units=1))
    refused, _ = await ledger.reserve(wish("refused", units=9))
    await ledger.refused(refused.id, "no")
    await ledger.reserve(wish("sandbox", units=9, provider="sandbox", sandbox=True))
    await ledger.reserve(wish("played", units=9, provider="cometapi", sandbox=True))

    assert (await ledger.reserve(wish("new", units=9), caps=DayCaps(10)))[1]
    with pytest.raises(SpendCapReached):
        await ledger.reserve(wish("newer", units=0.5), caps=DayCaps(10))


@pytest.mark.anyio
async def test_a_cap_in_dollars_counts_units_at_their_price_and_cash_as_it_was_paid(
    ledger: Ledger,
) -> None:
    units, _ = await ledger.reserve(wish("units", units=9))
    await ledger.record(units.id, Task("t-1", "succeed", units=1))
    cash, _ = await ledger.reserve(wish("cash", units=9))
    await ledger.record(cash.id, Task("t-2", "succeed", money=7.0, currency="CNY"))
    await ledger.reserve(wish("elsewhere", units=2, base_url="https://b"))

    spent = await ledger.spent_in_a_day(None, sandbox=False, usd_per_unit=0.14)
    left = await ledger.left_of_day(wish("new", base_url="https://b"), DayCaps(team_usd=2.0))
    with pytest.raises(SpendCapReached, match=r"1\.42 USD were spent"):
        await ledger.reserve(wish("new", units=9), caps=DayCaps(team_usd=2.0))

    assert spent == pytest.approx(0.14 + 1.0 + 0.28)
    assert left == pytest.approx((2 - 1.42) / 0.14)
    assert (await ledger.reserve(wish("new", units=5), caps=DayCaps(team_usd=2.0)))[1]


@pytest.mark.anyio
async def test_a_cap_in_dollars_counts_units_at_the_price_in_their_provider_s_row(
    ledger: Ledger,
) -> None:
    done, _ = await ledger.reserve(wish("done", units=2, own_usd_per_unit=5.0))
    await ledger.record(done.id, Task("t-1", "succeed", units=1))
    free, _ = await ledger.reserve(wish("free", units=0, own_usd_per_unit=5.0))
    await ledger.record(free.id, Task("t-2", "succeed", units=1))

    spent = await ledger.spent_in_a_day(None, sandbox=False, usd_per_unit=0.14)
    with pytest.raises(SpendCapReached, match=r"about 10\.00 USD \(5 USD a unit, by the price in"):
        await ledger.reserve(
            wish("new", units=2, own_usd_per_unit=5.0), caps=DayCaps(team_usd=15.0)
        )

    assert spent == pytest.approx(5 + 0.14)


@pytest.mark.anyio
async def test_the_cap_is_one_for_all_providers_and_another_for_the_sandbox(ledger: Ledger) -> None:
    await ledger.reserve(wish("a", units=4), caps=DayCaps(10))
    await ledger.reserve(
        wish("b", units=4, provider="newapi", base_url="https://b"), caps=DayCaps(10)
    )
    played: dict[str, Any] = {"provider": "sandbox", "sandbox": True}

    with pytest.raises(SpendCapReached):
        await ledger.reserve(wish("c", units=4, provider="cometapi"), caps=DayCaps(10))
    assert (await ledger.reserve(wish("d", units=9, **played), caps=DayCaps(10)))[1]
    with pytest.raises(SpendCapReached):
        await ledger.reserve(wish("e", units=9, **played), caps=DayCaps(10))


@pytest.mark.anyio
async def test_what_was_sent_before_is_found_again_whatever_the_cap(ledger: Ledger) -> None:
    first, _ = await ledger.reserve(wish(units=9))

    assert await ledger.reserve(wish(units=9), caps=DayCaps(0)) == (first, False)


@pytest.mark.anyio
async def test_pages_are_newest_first_and_narrowed(ledger: Ledger, clock: Clock) -> None:
    ids = []
    for number in range(5):
        clock.now += number % 2
        record, _ = await ledger.reserve(
            wish(
                str(number),
                product="omni-video" if number == 3 else "image2video",
                provider="sandbox" if number == 4 else "kling",
            )
        )
        ids.append(record.id)
    await ledger.record(ids[1], submitted())

    async def page(limit: int = 10, offset: int = 0, **narrowed: str) -> list[int]:
        records = await ledger.page(limit=limit, offset=offset, **narrowed)
        return [ids.index(record.id) for record in records]

    assert await page() == [4, 3, 2, 1, 0]
    assert await page(limit=2, offset=1) == [3, 2]
    assert await page(offset=9) == []
    assert await page(product="omni-video") == [3]
    assert await page(provider="sandbox") == [4]
    assert await page(status="submitted") == [1]
    assert await page(status="unknown", provider="kling", product="image2video") == [2, 0]


@pytest.mark.anyio
async def test_rows_outlive_the_process(ledger: Ledger, place: Place, clock: Clock) -> None:
    first, _ = await ledger.reserve(wish())
    await ledger.close()

    again = opened(place, clock)

    assert await again.find(first.id) == first
    await again.close()


@pytest.mark.anyio
async def test_a_closed_ledger_opens_again(ledger: Ledger) -> None:
    first, _ = await ledger.reserve(wish())
    await ledger.close()
    await ledger.close()

    assert await ledger.find(first.id) == first


@pytest.mark.anyio
async def test_of_two_ledgers_on_one_database_one_reserves(
    ledger: Ledger, place: Place, clock: Clock
) -> None:
    other = opened(place, clock)

    first, new = await ledger.reserve(wish())

    assert await other.reserve(wish()) == (first, False)
    assert new
    await other.record(first.id, submitted())
    found = await ledger.find("t-1")
    assert found is not None
    assert found.status == "submitted"
    await other.close()


@pytest.mark.anyio
async def test_many_calls_at_once_reserve_once(ledger: Ledger) -> None:
    answers = []

    async def reserve() -> None:
        answers.append(await ledger.reserve(wish()))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(reserve)

    assert [new for _, new in answers].count(True) == 1
    assert len({record.id for record, _ in answers}) == 1


def test_threads_with_a_ledger_each_open_a_new_file_and_reserve_once(tmp_path: Path) -> None:
    answers: list[tuple[Record, bool]] = []
    together = threading.Barrier(6)

    async def reserve() -> None:
        own = Ledger(tmp_path)
        together.wait()
        answers.append(await own.reserve(wish(), caps=DayCaps(2)))
        await own.close()

    threads = [threading.Thread(target=anyio.run, args=(reserve,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 6
    assert [new for _, new in answers].count(True) == 1
    assert len({record.id for record, _ in answers}) == 1


def test_a_second_process_waits_while_a_row_is_being_reserved(tmp_path: Path) -> None:
    answers: list[tuple[str, bool]] = []

    async def reserve(name: str, clock: Callable[[], float]) -> None:
        own = Ledger(tmp_path, clock)
        answers.append((name, (await own.reserve(wish(), caps=DayCaps(2)))[1]))
        await own.close()

    second_is_in = threading.Event()

    def of_the_second() -> float:
        second_is_in.set()
        return 0.0

    second = threading.Thread(target=anyio.run, args=(reserve, "second", of_the_second))

    def of_the_first() -> float:
        if not second.ident:
            second.start()
        second_is_in.wait(0.05)
        return 0.0

    anyio.run(reserve, "first", of_the_first)
    second.join()

    assert dict(answers) == {"first": True, "second": False}


PROCESS = """
import anyio, json, sys
from pathlib import Path
from kling_mcp.ledger import DayCaps, Ledger, NewRow

async def main():
    ledger = Ledger(Path(sys.argv[1]))
    print("ready", flush=True)
    sys.stdin.readline()
    seen = []
    for number in range(5):
        wish = NewRow(provider="kling", base_url="https://kling.example",
            product="image2video", digest=str(number), take=1,
            model_name="m", prompt="", request={}, estimate_units=1)
        record, new = await ledger.reserve(wish, caps=DayCaps(5))
        seen.append((record.id, new))
    print(json.dumps(seen), flush=True)

anyio.run(main)
"""


def test_processes_that_start_together_reserve_each_wish_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "home")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outputs = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        outputs.append(json.loads(output))

    for answers in zip(*outputs, strict=True):
        assert [new for _, new in answers].count(True) == 1
        assert len({record_id for record_id, _ in answers}) == 1


@pytest.mark.anyio
async def test_a_file_where_the_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    ledger = Ledger(tmp_path / "home" / "kling")

    for call in (ledger.reserve(wish()), ledger.find("t"), ledger.page(limit=1, offset=0)):
        with pytest.raises(NotConfigured) as raised:
            await call

        assert str(Path(ledger.place)) in raised.value.message
        assert "KLING_MCP_HOME" in raised.value.advice
        assert raised.value.charged == "no"
    assert (tmp_path / "home").read_text() == "in the way"


@pytest.mark.anyio
async def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    Path(ledger.place).write_bytes(b"notes of somebody\n" * 100)

    with pytest.raises(NotConfigured, match="not a database"):
        await ledger.reserve(wish())

    assert Path(ledger.place).read_bytes() == b"notes of somebody\n" * 100


@pytest.mark.anyio
async def test_a_ledger_that_could_not_be_opened_opens_when_the_way_is_free(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    ledger = Ledger(tmp_path / "home")
    with pytest.raises(NotConfigured):
        await ledger.find("t")
    (tmp_path / "home").unlink()

    assert (await ledger.reserve(wish()))[1]
    await ledger.close()


@pytest.mark.anyio
async def test_a_ledger_that_another_program_holds_is_told_and_works_afterwards(
    file_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.01)
    await file_ledger.find("t")
    with closing(sqlite3.connect(Path(file_ledger.place), isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotConfigured, match="locked"):
            await file_ledger.reserve(wish())
        holder.execute("ROLLBACK")

    assert (await file_ledger.reserve(wish()))[1]


@pytest.mark.anyio
async def test_a_file_that_another_process_is_switching_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.01)
    ledger = Ledger(tmp_path)
    with closing(database.open_database(Path(ledger.place))) as before:
        before.execute("PRAGMA journal_mode = DELETE")
    holder = sqlite3.connect(Path(ledger.place), isolation_level=None, check_same_thread=False)
    with closing(holder):
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(NotConfigured, match="locked"):
            await ledger.find("t")

        monkeypatch.setattr(database, "BUSY_S", 5)
        monkeypatch.setattr(sqlite3, "connect", impatient(sqlite3.connect))
        monkeypatch.setattr(database.time, "sleep", lambda _: holder.execute("ROLLBACK"))

        assert (await ledger.reserve(wish()))[1]
    await ledger.close()


def impatient(connect: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
    return lambda *given, timeout, **more: connect(*given, timeout=0, **more)


@pytest.mark.anyio
async def test_a_row_is_found_as_it_was_written_while_another_write_goes_on(
    file_ledger: Ledger,
) -> None:
    written, may_end = anyio.Event(), threading.Event()
    record, _ = await file_ledger.reserve(wish())
    await file_ledger.record(record.id, Task("task-1", "succeed"))

    def work(db: Database) -> None:
        db.execute("UPDATE tasks SET status = 'failed' WHERE id = ?", (record.id,))
        anyio.from_thread.run_sync(written.set)
        may_end.wait(20)

    async with anyio.create_task_group() as group:
        group.start_soon(file_ledger.engine.write, work)
        await written.wait()
        with anyio.fail_after(10):
            during = await file_ledger.find(record.id)
        may_end.set()
    after = await file_ledger.find(record.id)

    assert (during and during.status, after and after.status) == ("succeed", "failed")


@pytest.mark.anyio
async def test_a_call_that_breaks_leaves_nothing_half_done(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise ZeroDivisionError

    record, _ = await ledger.reserve(wish())
    monkeypatch.setattr(json, "dumps", broken)
    with pytest.raises(ZeroDivisionError):
        await ledger.record(record.id, submitted())
    monkeypatch.undo()

    assert await ledger.reserve(wish()) == (record, False)


@pytest.mark.anyio
async def test_steps_are_counted_and_taken_once(file_ledger: Ledger) -> None:
    await file_ledger.reserve(wish())
    await file_ledger.close()
    await file_ledger.reserve(wish())

    with closing(sqlite3.connect(Path(file_ledger.place))) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (mode,) = db.execute("PRAGMA journal_mode").fetchone()
    assert version == len(STEPS)
    assert mode == "wal"


@pytest.mark.anyio
async def test_an_old_file_is_run_forward_with_its_rows(
    file_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = await file_ledger.reserve(wish())
    await file_ledger.close()
    step = "ALTER TABLE tasks ADD COLUMN note TEXT DEFAULT 'none'"
    monkeypatch.setattr(database, "STEPS", (*STEPS, step))

    assert await file_ledger.find(record.id) == record
    assert [row["note"] for row in rows_on_disk(Path(file_ledger.place).parent)] == ["none"]


def change_tables(place: Place, *statements: str) -> None:
    """Run statements on a ledger that nothing has open."""
    if isinstance(place, str):
        with psycopg.connect(place) as connection:
            for statement in statements:
                connection.execute(statement.encode())
        return
    with closing(sqlite3.connect(place / "ledger.sqlite3")) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


ADDED_LATER = (
    *("arguments", "pictures", "sandbox", "endpoint", "named", "status_at"),
    *("picture_hashes", "quoted"),
)
"""Columns that the first ledgers lacked, whose version is the same."""

OF_THE_FIRST_LEDGERS = (
    "DROP INDEX tasks_by_claim",
    "CREATE UNIQUE INDEX tasks_by_claim ON tasks (provider, base_url, external_task_id) "
    "WHERE status <> 'failed' OR task_id IS NOT NULL",
    *(f"ALTER TABLE tasks DROP COLUMN {column}" for column in ADDED_LATER),
)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "before", [OF_THE_FIRST_LEDGERS, OF_THE_FIRST_LEDGERS[-1:]], ids=["the first", "the last"]
)
async def test_an_older_ledger_gets_its_missing_columns_and_what_it_paid_for_is_not_paid_again(
    ledger: Ledger, place: Place, before: tuple[str, ...]
) -> None:
    play = {"base_url": "http://sandbox.kling.invalid", "sandbox": True}
    made, _ = await ledger.reserve(wish())
    made = await ledger.record(made.id, submitted())
    played, _ = await ledger.reserve(wish("played", **play))
    await ledger.close()
    change_tables(place, *before)
    assert "quoted" not in rows_on_disk(place)[0]

    listed = await ledger.page(limit=9, offset=0)
    again, new = await ledger.reserve(wish())

    assert [row.id for row in listed] == [played.id, made.id]
    assert (again, new) == (made, False)
    assert [row.sandbox for row in listed] == [True, False]
    assert all(row.status_at for row in listed)
    assert len(rows_on_disk(place)) == 2


@pytest.mark.anyio
async def test_an_id_that_was_withdrawn_is_free_again_in_an_older_ledger(
    ledger: Ledger, place: Place
) -> None:
    await ledger.reserve(wish(external_task_id="mine"))
    await ledger.close()
    change_tables(place, "UPDATE tasks SET status = 'cancelled'", *OF_THE_FIRST_LEDGERS)

    _, new = await ledger.reserve(wish("other", external_task_id="mine"))

    assert new
    assert len(rows_on_disk(place)) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "words", "advice"),
    [
        (
            "ALTER TABLE tasks ADD COLUMN mood TEXT",
            "probably a newer one, wrote the ledger .*does not know its columns mood",
            "Update kling-mcp",
        ),
        (
            "ALTER TABLE tasks DROP COLUMN prompt",
            "lacks columns of every version: prompt",
            "Put back a copy",
        ),
    ],
    ids=["one more", "one less"],
)
async def test_a_ledger_with_other_columns_is_refused_with_words_and_left_alone(
    ledger: Ledger, place: Place, change: str, words: str, advice: str
) -> None:
    await ledger.reserve(wish())
    await ledger.close()
    change_tables(place, change, "ALTER TABLE tasks DROP COLUMN quoted")
    before = rows_on_disk(place)

    with pytest.raises(NotConfigured, match=words) as refused:
        await ledger.reserve(wish())

    assert "Nothing was changed in it" in refused.value.message
    assert advice in refused.value.advice
    assert rows_on_disk(place) == before


@pytest.mark.anyio
async def test_a_step_that_fails_changes_nothing(
    file_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = await file_ledger.reserve(wish())
    await file_ledger.close()
    step = "ALTER TABLE tasks ADD COLUMN note TEXT; ALTER TABLE nothing RENAME"
    monkeypatch.setattr(database, "STEPS", (*STEPS, step))
    with pytest.raises(NotConfigured):
        await file_ledger.find(record.id)
    monkeypatch.undo()

    assert await file_ledger.find(record.id) == record
    assert "note" not in rows_on_disk(Path(file_ledger.place).parent)[0]


@pytest.mark.anyio
async def test_a_file_of_a_newer_version_is_refused_with_words_and_left_alone(
    file_ledger: Ledger,
) -> None:
    await file_ledger.reserve(wish())
    await file_ledger.close()
    path = Path(file_ledger.place)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
        before = list(db.iterdump())

    with pytest.raises(NotConfigured, match="newer kling-mcp") as refused:
        await file_ledger.reserve(wish())

    assert refused.value.advice == "Update kling-mcp."
    with closing(sqlite3.connect(path)) as db:
        assert list(db.iterdump()) == before


@pytest.mark.anyio
async def test_tables_that_no_version_made_are_refused_and_left_alone(file_ledger: Ledger) -> None:
    path = Path(file_ledger.place)
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE tasks (id TEXT PRIMARY KEY)")

    with pytest.raises(NotConfigured, match="not made by a released kling-mcp") as refused:
        await file_ledger.reserve(wish())

    assert "move the file away" in refused.value.advice
    with closing(sqlite3.connect(path)) as db:
        assert len(list(db.execute("PRAGMA table_info(tasks)"))) == 1


@pytest.mark.anyio
async def test_servers_that_begin_a_file_together_make_its_tables_once(tmp_path: Path) -> None:
    servers = [Ledger(tmp_path) for _ in range(6)]

    async with anyio.create_task_group() as group:
        for server in servers:
            group.start_soon(server.reserve, wish())
    for server in servers:
        await server.close()

    assert len(rows_on_disk(tmp_path)) == 1


class LedgerMachine(RuleBasedStateMachine):
    """Wishes, answers and restarts in any order, against a list of what should stand there."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.ledger = Ledger(Path(self.folder.name), self.clock)
        self.rows: list[Record] = []

    def run(self, call: Callable[[], Awaitable[ResultT]]) -> ResultT:
        return anyio.run(call)

    def put(self, record: Record | None) -> None:
        assert record is not None
        self.rows = [record if row.id == record.id else row for row in self.rows]

    @rule(digest=st.sampled_from("ab"), take=st.integers(1, 2))
    def reserve(self, digest: str, take: int) -> None:
        self.clock.now += 1
        attempts = [row for row in self.rows if (row.digest, row.take) == (digest, take)]
        record, new = self.run(lambda: self.ledger.reserve(wish(digest, take)))
        if attempts and attempts[-1].status != "failed":
            assert (record, new) == (attempts[-1], False)
        else:
            assert new
            assert (record.status, record.attempt) == ("unknown", len(attempts) + 1)
            self.rows.append(record)

    @precondition(lambda self: self.rows)
    @rule(place=st.integers(0, 9), status=st.sampled_from(["processing", "succeed", "failed"]))
    def answer(self, place: int, status: TaskStatus) -> None:
        row = self.rows[place % len(self.rows)]
        if row.status not in ("succeed", "failed"):
            task = Task(task_id=f"task-{row.id}", status=status)
            self.put(self.run(lambda: self.ledger.record(row.id, task)))

    @precondition(lambda self: self.rows)
    @rule(place=st.integers(0, 9))
    def refuse(self, place: int) -> None:
        row = self.rows[place % len(self.rows)]
        self.run(lambda: self.ledger.refused(row.id, "no"))
        after = self.run(lambda: self.ledger.find(row.id))
        assert after is not None
        if row.task_id:
            assert after == row
        else:
            assert (after.status, after.units) == ("failed", 0)
        self.put(after)

    @rule()
    def restart(self) -> None:
        self.run(self.ledger.close)
        self.ledger = Ledger(Path(self.folder.name), self.clock)

    @invariant()
    def all_rows_stand_there_newest_first(self) -> None:
        records = self.run(lambda: self.ledger.page(limit=99, offset=0))
        assert records == self.rows[::-1]
        assert len({row.external_task_id for row in records}) == len(records)

    def teardown(self) -> None:
        self.run(self.ledger.close)
        self.folder.cleanup()


LedgerMachine.TestCase.settings = hypothesis_settings(
    max_examples=hypothesis_settings.default.max_examples // 8,
    stateful_step_count=10,
    deadline=None,
)
test_any_order_of_wishes_answers_and_restarts_keeps_the_book = LedgerMachine.TestCase


@pytest.mark.anyio
async def test_what_was_spent_is_told_apart_from_what_is_estimated(
    ledger: Ledger, clock: Clock
) -> None:
    await ledger.reserve(wish("old", units=9))
    clock.now += 2 * HOUR_S
    paid, _ = await ledger.reserve(wish("paid", units=9))
    await ledger.record(paid.id, Task(task_id="t-1", status="succeed", units=1.5))
    cash, _ = await ledger.reserve(wish("cash", units=9))
    await ledger.record(cash.id, Task(task_id="t-2", status="succeed", money=0.3))
    await ledger.reserve(wish("running", units=2))
    await ledger.reserve(wish("unpriced", units=None))
    refused, _ = await ledger.reserve(wish("refused", units=9))
    await ledger.refused(refused.id, "no")
    waits, _ = await ledger.reserve(wish("waits", units=9))
    await ledger.queue(waits.id, "full", 0.0)
    await ledger.reserve(wish("play", units=9, sandbox=True))
    await ledger.reserve(wish("another's", units=9, principal="ann"))

    (row,) = await ledger.spent_since(clock.now - HOUR_S, principal="")
    ann = await ledger.spent_since(clock.now - HOUR_S, principal="ann")

    assert dict(row) == {
        "provider": "kling",
        "currency": "",
        "videos": 4,
        "units": 1.5,
        "money": 0.3,
        "estimated_units": 2.0,
        "unpriced": 1,
        "assets": 0,
        "pictures": 0,
        "image_units": 0,
    }
    assert [found["estimated_units"] for found in ann] == [9.0]

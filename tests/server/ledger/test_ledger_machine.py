"""Any order of what several processes do to one ledger, held against a model of it."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kling_mcp.ledger import DayCaps, Ledger, NewRow, Record
from kling_mcp.providers.task import Task, Video
from kling_tools.errors import SpendCapReached
from kling_tools.results import ENDED, TaskStatus

PROCESSES = 3
LEASE_S = 15.0
DAY_S = 86_400.0
KEPT_S = 30 * DAY_S
DAY_CAP = 5.0

ResultT = TypeVar("ResultT")

processes = st.integers(0, PROCESSES - 1)
hands = st.sampled_from([None, None, *range(PROCESSES)])
"""A process, or whoever holds the row."""

places = st.sampled_from([0, 0, 1, 2, 3, 4])
answers = st.sampled_from(["submitted", "processing", "succeed", "failed", "unknown"])


def wish_of(digest: str, take: int) -> NewRow:
    return NewRow(
        provider="kling",
        base_url="https://kling.example",
        product="image2video",
        digest=digest,
        take=take,
        model_name="kling-v2-6",
        prompt="waves",
        request={"image": "photo.png"},
        estimate_units=2.0,
    )


class LedgerMachine(RuleBasedStateMachine):
    """Some processes with a ledger each on one file. A step is done by one of them under its own
    name, as whoever holds, held, or never held the lease of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1_700_000_000.0
        self.ledgers = [self.opened() for _ in range(PROCESSES)]
        self.book: dict[str, Record] = {}
        self.task_ids: dict[str, str] = {}
        self.looks = 0

    def opened(self) -> Ledger:
        return Ledger(Path(self.folder.name), lambda: self.now, lease_s=LEASE_S)

    def run(self, call: Coroutine[Any, Any, ResultT]) -> ResultT:
        return self.runner.run(call)

    def changed(self, row: str, **changes: object) -> Record:
        before = self.book[row]
        if changes.get("status", before.status) != before.status:
            changes["status_at"] = self.now
        self.book[row] = replace(before, **changes)  # type: ignore[arg-type]
        return self.book[row]

    def freed(self, row: str, **changes: object) -> Record:
        return self.changed(row, lease_owner="", lease_until=0.0, updated_at=self.now, **changes)

    def holds(self, process: int, row: str) -> bool:
        return self.book[row].lease_owner == f"p{process}" and self.is_open(row)

    def is_open(self, row: str) -> bool:
        return self.book[row].task_id is None and self.book[row].status in (
            "queued",
            "sending",
            "unknown",
        )

    def spent(self) -> float:
        return sum(
            row.units if row.units is not None and row.status in ENDED else row.estimate_units or 0
            for row in self.book.values()
            if row.created_at > self.now - DAY_S
        )

    def row(self, place: int) -> str:
        """The newest row for 0, and so on."""
        rows = list(self.book)[::-1]
        return rows[place % len(rows)]

    def hand(self, process: int | None, row: str) -> int:
        owner = self.book[row].lease_owner
        return process if process is not None else int(owner[1:] or 0)

    @initialize()
    def first_wish(self) -> None:
        self.reserve(0, "a", 1)

    @rule(process=processes, digest=st.sampled_from("ab"), take=st.sampled_from([1, 1, 2]))
    def reserve(self, process: int, digest: str, take: int) -> None:
        attempts = [r for r in self.book.values() if (r.digest, r.take) == (digest, take)]
        call = self.ledgers[process].reserve(
            wish_of(digest, take), caps=DayCaps(DAY_CAP), owner=f"p{process}"
        )
        if attempts and attempts[-1].status != "failed":
            assert self.run(call) == (attempts[-1], False)
            return
        if self.spent() + 2.0 > DAY_CAP:
            try:
                self.run(call)
            except SpendCapReached:
                return
            raise AssertionError("the day's cap was passed")
        record, new = self.run(call)
        assert new
        assert (record.status, record.attempt) == ("sending", len(attempts) + 1)
        assert (record.lease_owner, record.lease_until) == (f"p{process}", self.now + LEASE_S)
        assert record.external_task_id not in {r.external_task_id for r in self.book.values()}
        self.book[record.id] = record

    @rule(hand=hands, place=places)
    def claim(self, hand: int | None, place: int) -> None:
        row = self.row(place)
        process = self.hand(hand, row)
        before, name = self.book[row], f"p{process}"
        free = self.is_open(row) and (
            before.lease_owner in ("", name) or before.lease_until <= self.now
        )
        assert self.run(self.ledgers[process].claim(row, name)) == free
        if free:
            lost = before.status == "sending" and before.lease_owner != name
            status = "unknown" if lost else before.status
            self.changed(row, status=status, lease_owner=name, lease_until=self.now + LEASE_S)

    @rule(hand=hands, place=places)
    def release(self, hand: int | None, place: int) -> None:
        row = self.row(place)
        process = self.hand(hand, row)
        self.run(self.ledgers[process].release(row, f"p{process}"))
        if self.book[row].lease_owner == f"p{process}":
            status = self.book[row].status
            status = "unknown" if status == "sending" else status
            self.changed(row, status=status, lease_owner="", lease_until=0.0)

    @rule(
        process=processes,
        place=places,
        number=st.integers(1, 2),
        status=answers,
        units=st.sampled_from([None, 1.5]),
        again=st.booleans(),
    )
    def record(
        self,
        process: int,
        place: int,
        number: int,
        status: TaskStatus,
        units: float | None,
        again: bool,
    ) -> None:
        """The provider tells of the row's task; under another id at times, as some gateways do. It
        takes back no failure: the wish may have been sent again meanwhile."""
        row = self.row(place)
        before = self.book[row]
        if before.status == "failed" and (before.task_id is None or status == "succeed"):
            return
        videos = (Video("https://cdn.example/a.mp4", 5.0),) if status == "succeed" else ()
        task = Task(f"t{number}-{row}", status, videos=videos, units=units)
        record = self.run(self.ledgers[process].record(row, task, again=again))
        if before.task_id is None or before.ended_at is None or status in ENDED:
            task_id = before.task_id or task.task_id
            first = before.task_id is None or (before.ended_at is None and status in ENDED)
            self.freed(
                row,
                task_id=task_id,
                status=status,
                videos=videos,
                message="",
                units=units if units is not None else None if first else before.units,
                ended_at=before.ended_at or (self.now if status in ENDED else None),
                expires_at=before.expires_at or (self.now + KEPT_S if videos else None),
            )
        assert record == self.book[row]
        if record.status in ENDED:
            for other in self.book.values():
                if self.is_open(other.id):
                    self.changed(other.id, due_at=0.0)

    @rule(hand=hands, place=places)
    def refused(self, hand: int | None, place: int) -> None:
        row = self.row(place)
        process = self.hand(hand, row)
        self.run(self.ledgers[process].refused(row, "no", f"p{process}"))
        if self.holds(process, row):
            self.freed(row, status="failed", message="no", units=0.0)

    @rule(hand=hands, place=places, wait_s=st.integers(1, 30), in_doubt=st.booleans())
    def queue(self, hand: int | None, place: int, wait_s: int, in_doubt: bool) -> None:
        row = self.row(place)
        process = self.hand(hand, row)
        due_at = self.now + wait_s
        name = f"p{process}"
        call = self.ledgers[process].queue(row, "full", due_at, name, in_doubt=in_doubt)
        record = self.run(call)
        if self.holds(process, row):
            tries = self.book[row].tries + 1
            status = "unknown" if in_doubt else "queued"
            self.freed(row, status=status, message="full", due_at=due_at, tries=tries)
        assert record == self.book[row]

    @rule(hand=hands, place=places)
    def reopen(self, hand: int | None, place: int) -> None:
        row = self.row(place)
        process = self.hand(hand, row)
        if self.book[row].status != "queued":
            return
        record = self.run(self.ledgers[process].reopen(row, f"p{process}"))
        if self.holds(process, row):
            self.changed(row, status="sending", updated_at=self.now)
        assert record == self.book[row]

    @rule(process=processes, place=places)
    def saved(self, process: int, place: int) -> None:
        row = self.row(place)
        path = Path("videos", f"{row}.mp4")
        record = self.run(self.ledgers[process].saved(row, path, 512, "abc"))
        assert record == self.changed(row, path=str(path), bytes=512, sha256="abc")

    @rule(seconds=st.sampled_from([1.0, LEASE_S - 1, LEASE_S, LEASE_S, DAY_S - 1, DAY_S]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(process=processes)
    def die_and_come_back(self, process: int) -> None:
        self.run(self.ledgers[process].close())
        self.ledgers[process] = self.opened()

    @invariant()
    def every_process_reads_the_same_book(self) -> None:
        self.looks += 1
        reader = self.ledgers[self.looks % PROCESSES]
        page = self.run(reader.page(limit=99, offset=0))
        assert {row.id: row for row in page} == self.book

    @invariant()
    def a_wish_has_one_row_at_most_that_counts(self) -> None:
        counting = Counter(
            (row.digest, row.take) for row in self.book.values() if row.status != "failed"
        )
        assert max(counting.values(), default=0) <= 1

    @invariant()
    def no_task_is_ever_lost(self) -> None:
        page = self.run(self.ledgers[0].page(limit=99, offset=0))
        for row in page:
            if row.task_id is not None:
                assert self.task_ids.setdefault(row.id, row.task_id) == row.task_id
        assert set(self.task_ids) == {row.id for row in page if row.task_id is not None}

    @invariant()
    def open_rows_are_those_that_need_something(self) -> None:
        found = self.run(self.ledgers[-1].open_rows())
        assert {row.id for row in found} == {row for row in self.book if self.is_open(row)}
        assert [row.created_at for row in found] == sorted(row.created_at for row in found)

    def teardown(self) -> None:
        for ledger in self.ledgers:
            self.run(ledger.close())
        self.runner.close()
        self.folder.cleanup()


LedgerMachine.TestCase.settings = settings(
    max_examples=settings.default.max_examples * 2 // 5,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
)
test_any_order_of_what_processes_do_keeps_the_book = LedgerMachine.TestCase

"""The ledger's methods: reserve a row before the POST, write the answer into it, find it again."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Unpack

import anyio

from kling_mcp.ledger.engine import Database, Engine
from kling_mcp.ledger.films import FOR_FILMS, Films
from kling_mcp.ledger.records import (
    AT,
    COUNTED,
    COUNTED_TOGETHER,
    DELETED,
    LONGEST_LEASE_S,
    OF_ASSETS,
    OF_PICTURES,
    OF_STEPS,
    OPEN,
    DayCaps,
    NewRow,
    Record,
    SavedFile,
    Wanted,
    change,
    change_open_row,
    first_record,
    keep_answer,
    kept_answers,
    like_part,
    matching,
    record_of,
    records,
    write_task,
)
from kling_mcp.ledger.reserving import (
    DAY_S,
    Equals,
    UnitPrice,
    UntidyRows,
    check_day,
    check_external_id,
    equals,
    frees_next,
    last_made,
    latest,
    left_of_day,
    next_take,
    reserve,
    spent_in_a_day,
    takes,
    unit_price,
)
from kling_mcp.ledger.sqlite import SqliteEngine
from kling_mcp.providers.task import Task
from kling_tools.errors import NotConfigured, ProviderError
from kling_tools.products import FILM, Made, Product

__all__ = ["FILE_NAME", "LEASE_S", "Ledger", "Seen", "ignored"]

logger = logging.getLogger(__name__)

FILE_NAME = "ledger.sqlite3"

LEASE_S = 15.0
"""Seconds after which a process that has not renewed its lease counts as dead."""

LONGEST_WATCH_S = 300.0
"""Seconds that a claim to ask may reach into the future; see LONGEST_LEASE_S."""

RETIRED_READ_S = 60.0
"""Seconds for which the retired models are not read again: a request for one that another server
knows is refused by its provider, and costs nothing."""

IN_ONE_READ = 500
"""Ids in one statement; SQLite takes 32,766 values at most."""

LEFT_UNANSWERED = (
    "status_at = CASE WHEN status = 'sending' AND lease_owner <> ? THEN ? ELSE status_at END, "
    "status = CASE WHEN status = 'sending' AND lease_owner <> ? THEN 'unknown' ELSE status END"
)
"""Marks a row that was being sent as `unknown`, in SQL: takes the new owner, the time now, and the
new owner. Its owner may renew the lease."""

CURRENCY = "CASE WHEN money IS NULL THEN '' ELSE currency END"
"""The currency of a row's money, in SQL; empty without money, or when it was not told."""


def _of_one_balance(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The sums by provider and currency; those without a currency are a part of the provider's only
    one: Kling names it on the new standard alone."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    currencies: dict[str, list[str]] = {}
    for row in rows:
        if row["currency"]:
            currencies.setdefault(row["provider"], []).append(row["currency"])
    for row in rows:
        known = currencies.get(row["provider"], [])
        currency = known[0] if len(known) == 1 else row["currency"]
        sums = found.setdefault((row["provider"], currency), {})
        for name, value in dict(row).items():
            if name not in ("provider", "currency") and value is not None:
                sums[name] = (sums.get(name) or 0) + value
            else:
                sums.setdefault(name, value)
        sums["currency"] = currency
    return [*found.values()]


NO_CAPS = DayCaps()

Seen = Callable[[Record, bool], None]
"""Hears of each row that is read or written, and whether it was written."""


def ignored(record: Record, written: bool) -> None:
    """Hears of rows and does nothing."""


class Ledger:
    """The rows of one user, or of a team. Methods run off the event loop, and raise NotConfigured
    with the reason when the database cannot be used.

    `place` is a folder for one SQLite file, or an engine. The first call opens or creates it.
    `clock` tells the seconds since the epoch. A lease ends after `lease_s` seconds unless it is
    renewed. `seen` hears of each row that is read or written, and whether it was written.
    """

    def __init__(
        self,
        place: Path | Engine,
        clock: Callable[[], float] = time.time,
        *,
        lease_s: float = LEASE_S,
        seen: Seen = ignored,
    ) -> None:
        self._engine = SqliteEngine(place / FILE_NAME) if isinstance(place, Path) else place
        self.lease_s = lease_s
        self._own_clock = clock
        self._seen = seen
        self._untidy = UntidyRows()
        self._retired: tuple[float, Sequence[Mapping[str, Any]]] | None = None
        self._asked_together = _AskedTogether(self._engine)

    def now(self) -> float:
        """Seconds since the epoch, by the one clock of all servers that share this ledger."""
        return self._own_clock() + self._engine.ahead_s

    @property
    def place(self) -> str:
        """The place of the database, for people to read."""
        return self._engine.place

    @property
    def engine(self) -> Engine:
        """The database behind the ledger."""
        return self._engine

    @cached_property
    def films(self) -> Films:
        """The films."""
        return Films(self._engine, self.now, self.lease_s, partial(self._tell, written=True))

    @property
    def exists(self) -> bool:
        """Whether the ledger may have rows."""
        return self._engine.exists

    @property
    def is_shared(self) -> bool:
        """Whether servers on several machines may use the ledger at once."""
        return self._engine.is_shared

    async def reserve(
        self, new_row: NewRow, *, caps: DayCaps = NO_CAPS, owner: str = ""
    ) -> tuple[Record, bool]:
        """The row of a request, and whether it is new.

        The same request with the same take has one row until it fails, or what it made is gone;
        then it gets another row, a new attempt. A new row is `sending`, leased to `owner` who is
        about to send it; without an owner it is `unknown`.
        Raises SpendCapReached when the units of the last 24 hours would pass a cap, and KlingError
        when another request has the external_task_id.
        """
        record_id = uuid.uuid4().hex
        record, new = await self._engine.alone(
            lambda db: reserve(db, new_row, caps, owner, record_id, self.now, self.lease_s)
        )
        self._tell(record, written=new)
        return record, new

    async def peek(self, new_row: NewRow) -> Record | None:
        """The row that `reserve` would find; None without one. It writes nothing."""
        return await self._engine.read(lambda db: latest(db, new_row))

    async def equals(self, new_row: NewRow, *, chosen: bool = False) -> Equals:
        """What there is of this request already, here and elsewhere; see `reserving.equals`."""
        if not self.exists:
            return Equals()
        return await self._engine.read(
            partial(equals, new_row=new_row, untidy=self._untidy, chosen=chosen)
        )

    async def last_made(self, new_row: NewRow) -> Record | None:
        """What equal requests made last, in any take; see `reserving.last_made`."""
        return await self._engine.read(lambda db: last_made(db, new_row)) if self.exists else None

    async def set_aside(self, record_id: str) -> None:
        """Note that what a step made is used no longer: the same step is then made anew."""
        now = self.now()
        await self._engine.write(
            lambda db: db.execute(
                f"UPDATE tasks SET file_note = ?, updated_at = ? WHERE id = ? AND {OF_STEPS}",  # noqa: S608
                (DELETED, now, record_id),
            )
        )

    async def next_take(self, new_row: NewRow, earlier: Record) -> int:
        """The take for another take of an `earlier` row; see `reserving.next_take`."""
        return await self._engine.read(lambda db: next_take(db, new_row, earlier))

    async def takes(self, request: NewRow | Record) -> list[int]:
        """The takes of a request that exist or are being made, in their order."""
        return await self._engine.glance(lambda db: takes(db, request))

    async def check_external_id(self, new_row: NewRow) -> None:
        """Raises KlingError when another request has the external_task_id. It writes nothing."""
        if self.exists and new_row.external_task_id:
            await self._engine.read(lambda db: check_external_id(db, new_row))

    async def check_day(self, new_row: NewRow, caps: DayCaps) -> None:
        """Raises SpendCapReached when the request would pass a cap. It writes nothing."""
        now = self.now()
        if not self.exists:
            check_day(None, new_row, caps, now)
        elif caps.all():
            await self._engine.read(lambda db: check_day(db, new_row, caps, now))

    async def unit_price(self, new_row: NewRow) -> UnitPrice:
        """The price of a unit at the account that would pay. It writes nothing."""
        if not self.exists:
            return unit_price(None, new_row)
        return await self._engine.read(lambda db: unit_price(db, new_row))

    async def left_of_day(self, new_row: NewRow, caps: DayCaps) -> float | None:
        """The units that a request like this one may cost now; None without any cap. It writes
        nothing."""
        if not caps.all():
            return None
        now = self.now()
        if not self.exists:
            return left_of_day(None, new_row, caps, now)
        return await self._engine.read(lambda db: left_of_day(db, new_row, caps, now))

    async def claim(self, record_id: str, owner: str) -> bool:
        """Take or renew the lease of an open row. Returns False while somebody else holds it."""
        now = self.now()
        changed = await self._engine.write(
            lambda db: (
                db.execute(
                    f"UPDATE tasks SET {LEFT_UNANSWERED}, lease_owner = ?, lease_until = ? "  # noqa: S608
                    f"WHERE id = ? AND {OPEN} "
                    "AND (lease_owner IN ('', ?) OR lease_until <= ? OR lease_until > ?)",
                    (
                        *(owner, now, owner, owner, now + self.lease_s, record_id),
                        *(owner, now, now + LONGEST_LEASE_S),
                    ),
                ).rowcount
            )
        )
        return changed == 1

    async def release(self, record_id: str, owner: str) -> None:
        """Release a lease of `owner`. A row that was being sent is `unknown` then: its answer is
        lost."""
        now = self.now()
        await self._engine.write(
            lambda db: db.execute(
                f"UPDATE tasks SET {LEFT_UNANSWERED}, lease_owner = '', lease_until = 0 "  # noqa: S608
                "WHERE id = ? AND lease_owner = ?",
                ("", now, "", record_id, owner),
            )
        )

    async def queue(
        self,
        record_id: str,
        message: str,
        due_at: float,
        owner: str | None = None,
        kept_sha256: str = "",
        *,
        in_doubt: bool = False,
    ) -> Record:
        """Queue a row until a slot is free; it may be sent again from `due_at` on (seconds since
        the epoch), with the body that was kept with this SHA-256 (hex). Returns the row.

        A row `in_doubt` may have been made by an earlier create, so it is `unknown` instead of
        `queued`. Like `refused`, this changes nothing when another process knows better.
        """
        status, now = "unknown" if in_doubt else "queued", self.now()
        return await self._written(
            lambda db: change_open_row(
                db,
                record_id,
                f"lease_owner = '', lease_until = 0, {AT}, status = ?, message = ?, due_at = ?, "
                "tries = tries + 1, updated_at = ?, kept_sha256 = ?",
                (status, now, status, message, due_at, now, kept_sha256),
                owner,
            )
        )

    async def reopen(self, record_id: str, owner: str | None = None) -> Record:
        """Mark a queued row as `sending`, or `unknown` without an owner: it is about to be sent,
        and its answer may be lost."""
        status, now = "sending" if owner else "unknown", self.now()
        return await self._written(
            lambda db: change_open_row(
                db,
                record_id,
                f"{AT}, status = ?, updated_at = ?",
                (status, now, status, now),
                owner,
            )
        )

    async def open_rows(self) -> list[Record]:
        """All rows that are queued, or were sent without an answer; the oldest first. A step is
        made again by its create alone."""
        return await self._engine.read(
            lambda db: records(
                db,
                f"WHERE {OPEN} AND NOT {OF_STEPS} ORDER BY created_at, rowid",
                (),
            )
        )

    async def overdue(
        self, principal: str | None, before: float, most: int
    ) -> tuple[list[Record], float | None]:
        """The rows of a principal, or of all (None), that are queued and were made before this time
        (seconds since the epoch), the oldest first, and when the oldest open row of anybody was
        made; None without any."""

        def work(db: Database) -> tuple[list[Record], float | None]:
            oldest = f"SELECT min(created_at) AS made FROM tasks WHERE {OPEN}"  # noqa: S608
            made = db.execute(oldest).fetchone()["made"]
            if made is None or made > before:
                return [], made
            found = records(
                db,
                f"WHERE {OPEN} AND status = 'queued' AND created_at <= ? AND NOT {OF_STEPS} "
                "AND principal = coalesce(?, principal) ORDER BY created_at, rowid LIMIT ?",
                (before, principal, most),
            )
            return found, made

        return await self._engine.glance(work)

    async def is_first_in_line(
        self,
        record: Record,
        besides: Collection[str] = (),
        sent_here: Callable[[Record], bool] = lambda _: True,
    ) -> bool:
        """Whether no older request of the same line waits or is being sent. Rows with ids in
        `besides` hold nobody up, nor do queued rows that are not `sent_here`."""
        left_out = [*besides] or [""]
        marks = ", ".join("?" * len(left_out))
        now = self.now()
        older = await self._engine.read(
            lambda db: records(
                db,
                "WHERE provider = ? AND base_url = ? AND product = ? AND principal = ? "  # noqa: S608
                f"AND {OPEN} "
                "AND tries > 0 AND (status = 'queued' OR lease_until > ?) AND (created_at, rowid) "
                f"< (SELECT created_at, rowid FROM tasks WHERE id = ?) AND NOT (id IN ({marks}))",
                (*record.line, now, record.id, *left_out),
            )
        )
        return all(
            row.is_beyond_use
            or not (row.is_leased(now) or (row.status == "queued" and sent_here(row)))
            for row in older
        )

    async def record(self, record_id: str, task: Task, *, again: bool = False) -> Record:
        """Write the provider's answer about a task into the row and return the row. A task that has
        ended frees a slot, so queued rows become due at once. A task that was seen to have ended
        does not run again: such an answer is older than the row.

        `again` says that our own id gets the same answer from the provider once more. The write
        then does not wait for the disk, and a power cut may lose it.
        """
        now = self.now()
        return await self._written(lambda db: write_task(db, record_id, task, now), relaxed=again)

    async def refused(
        self, record_id: str, message: str, owner: str | None = None, *, quoted: bool = False
    ) -> None:
        """Mark a row as failed: the provider did not create the task. `quoted` says that the
        message is in the provider's words.

        The external_task_id is free again. The row stays as it is when it has a task by now, as
        another process has sent the same request with success. It also stays when its lease is no
        longer `owner`'s, as another process may be sending it after this one seemed dead.
        """
        now = self.now()
        await self._written(
            lambda db: change_open_row(
                db,
                record_id,
                f"lease_owner = '', lease_until = 0, {AT}, status = 'failed', message = ?, "
                "quoted = ?, units = 0, updated_at = ?",
                ("failed", now, message, int(quoted), now),
                owner,
            )
        )

    async def withdraw(self, record_id: str, message: str = "") -> bool:
        """Withdraw a queued row: it becomes `cancelled` and is never sent. Returns False, and
        changes nothing, when the row is not queued or when somebody holds its lease and may be
        sending it. `message` says why it was withdrawn."""
        now = self.now()
        changed = await self._engine.write(
            lambda db: (
                db.execute(
                    "UPDATE tasks SET lease_owner = '', lease_until = 0, status = 'cancelled', "
                    "message = ?, units = 0, updated_at = ?, status_at = ? "
                    "WHERE id = ? AND status = 'queued' AND task_id IS NULL "
                    "AND (lease_until <= ? OR lease_until > ?)",
                    (message, now, now, record_id, now, now + LONGEST_LEASE_S),
                ).rowcount
            ),
            again=False,
        )
        if changed == 1:
            self._tell(await self._engine.read(lambda db: record_of(db, record_id)), written=True)
        return changed == 1

    async def saved(
        self,
        record_id: str,
        path: Path | str,
        size_bytes: int,
        sha256: str,
        note: str = "",
        files: Sequence[SavedFile] = (),
    ) -> Record:
        """Write the path of a saved video, its size, its SHA-256 (hex) and what is odd about it
        into the row, and the further `files` of a task with several results. Returns the row."""
        columns = "path = ?, bytes = ?, sha256 = ?, file_note = ?, files = ?"
        further = json.dumps([asdict(file) for file in files], ensure_ascii=False)
        values = (str(path), size_bytes, sha256, note, further)
        return await self._written(lambda db: change(db, record_id, columns, values))

    async def asset_deleted(self, provider: str, base_url: str, asset_id: str) -> None:
        """Note in the rows that made this element or voice that it is deleted: the same request
        makes it anew."""
        now = self.now()
        await self._engine.write(
            lambda db: db.execute(
                "UPDATE tasks SET file_note = ?, updated_at = ? "
                "WHERE provider = ? AND base_url = ? AND asset_id = ? AND asset_id <> ''",
                (DELETED, now, provider, base_url, asset_id),
            )
        )

    async def deleted_assets(self, provider: str, base_url: str, product: Made) -> dict[str, str]:
        """The names of the deleted elements or voices that were made here, by their ids, the newest
        first."""
        rows = await self._engine.read(
            lambda db: db.execute(
                "SELECT asset_id, prompt FROM tasks WHERE provider = ? AND base_url = ? "
                "AND product = ? AND asset_id <> '' AND file_note = ? ORDER BY created_at DESC",
                (provider, base_url, product, DELETED),
            ).fetchall()
        )
        return {row["asset_id"]: row["prompt"] for row in rows}

    async def own_assets(self, principal: str) -> set[str]:
        """The ids of the elements and voices that this principal's requests made."""
        rows = await self._engine.read(
            lambda db: db.execute(
                "SELECT asset_id FROM tasks WHERE asset_id <> '' AND principal = ?", (principal,)
            ).fetchall()
        )
        return {row["asset_id"] for row in rows}

    async def retire(self, record: Record) -> None:
        """Keep for a day that the provider refused the row's model as retired."""
        until = self.now() + DAY_S
        await self._engine.write(
            lambda db: db.execute(
                "INSERT INTO retired_models VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (provider, base_url, product, model_name) "
                "DO UPDATE SET until = excluded.until",
                (record.provider, record.base_url, record.product, record.model_name, until),
            )
        )
        self._retired = None

    async def retired_models(self) -> Mapping[tuple[str, str], frozenset[tuple[Product, str]]]:
        """By provider and base URL, the products and models that it refused as retired within the
        last day. What other servers learn is known here within a minute."""
        if not self.exists:
            return {}
        now = self.now()
        if self._retired is None or not 0 <= now - self._retired[0] < RETIRED_READ_S:
            rows = await self._engine.read(
                lambda db: db.execute("SELECT * FROM retired_models").fetchall()
            )
            self._retired = now, rows
        found: dict[tuple[str, str], frozenset[tuple[Product, str]]] = {}
        for row in self._retired[1]:
            if row["until"] <= now:
                continue
            place = row["provider"], row["base_url"]
            found[place] = found.get(place, frozenset()) | {(row["product"], row["model_name"])}
        return found

    async def find(self, any_id: str, *, principal: str | None = None) -> Record | None:
        """The row with this ledger id, which is unique; else the oldest row with this task_id, as
        newer ones have another handle; else the newest row with this external_task_id. A
        `principal` sees their own rows only. Returns None without such a row."""
        if self.is_shared:
            rows = await self._asked_together.rows(any_id)
        else:
            rows = await self._engine.glance(partial(_with_ids, ids=[any_id]))
        seen = [row for row in rows if principal is None or row.principal == principal]
        record = _by_id(seen).get(any_id)
        if record is not None:
            self._tell(record, written=False)
        return record

    async def by_video(
        self, *, path: str = "", url: str = "", principal: str | None = None
    ) -> Record | None:
        """The newest row whose video is saved at this path, or at one that ends like it, or whose
        result has this address before its query. None without one, and for empty texts."""
        tail, part = like_part(path), like_part(url.partition("?")[0])
        return await self._engine.read(
            lambda db: first_record(
                db,
                "WHERE ((? <> '' AND (path = ? OR path LIKE ? ESCAPE '!')) "
                "OR (? <> '' AND videos LIKE ? ESCAPE '!')) "
                "AND principal = coalesce(?, principal) ORDER BY created_at DESC, rowid DESC",
                (path, path, f"%/{tail}", url, f"%{part}%", principal),
            )
        )

    async def known(self, provider: str, task_ids: Collection[str]) -> dict[str, list[str]]:
        """The provider's task ids that have rows, each with the ledger ids of its rows."""
        if not task_ids:
            return {}
        marks = ", ".join("?" * len(task_ids))
        found = await self._engine.read(
            lambda db: db.execute(
                f"SELECT task_id, id FROM tasks WHERE provider = ? AND task_id IN ({marks})",  # noqa: S608
                (provider, *task_ids),
            ).fetchall()
        )
        known: dict[str, list[str]] = {}
        for row in found:
            known.setdefault(row["task_id"], []).append(row["id"])
        return known

    async def page(self, *, limit: int, offset: int, **wanted: Unpack[Wanted]) -> list[Record]:
        """Rows, the newest first, that match all arguments which are not empty, without steps."""
        where, values = matching(wanted)
        return await self._engine.read(
            lambda db: records(
                db,
                f"WHERE {where} AND NOT {OF_STEPS} "
                "ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?",
                (*values, limit, offset),
            )
        )

    async def unsaved(
        self, principal: str | None, limit: int, providers: Collection[str]
    ) -> list[Record]:
        """Finished tasks of these providers whose videos have no file and can still be fetched, the
        newest first: of one principal, or of all (None)."""
        marks = ", ".join("?" * len(providers))
        return await self._engine.read(
            lambda db: records(
                db,
                "WHERE status = 'succeed' AND path IS NULL AND videos <> '[]' "
                f"AND provider IN ({marks}) AND coalesce(expires_at, ?) >= ? "
                "AND principal = coalesce(?, principal) "
                "ORDER BY created_at DESC, rowid DESC LIMIT ?",
                (*providers, self.now(), self.now(), principal, limit),
            )
        )

    async def sums(self, **wanted: Unpack[Wanted]) -> list[Mapping[str, Any]]:
        """For each provider, and each `currency` of its money, of all rows that match: the number
        of `tasks`, the `units` and the `money` that they cost as far as it is known, the
        `estimated_units` of the others, and the `play_units` of the sandbox. Queued rows are apart:
        `queued_units`, `play_queued_units`. Image units are never among them: `image_units`, known
        or estimated, and `play_image_units`. `step_units` and `play_step_units` are what of all
        these was for steps before a create. `play_money` is what the sandbox told in money.

        What a film cost is what was paid for it: where films are asked for, or words that may be
        their names, the tasks that were made for those that match are summed, and not counted."""
        where, values = matching(wanted)
        rows, of_rows = where, values
        if wanted.get("product") == (FILM.name,) or wanted.get("text"):
            rows = f"(({where}) OR {FOR_FILMS.format(where=where)})"
            of_rows = [*values, *values]
        known = "(units IS NOT NULL OR money IS NOT NULL)"
        sent = "status NOT IN ('queued', 'cancelled')"
        real, played = f"sandbox = 0 AND NOT {OF_PICTURES}", f"sandbox = 1 AND NOT {OF_PICTURES}"
        columns = {
            "units": f"{real} THEN units",
            "step_units": f"{OF_STEPS} AND sandbox = 0 AND money IS NULL THEN {COUNTED}",
            "play_step_units": f"{OF_STEPS} AND sandbox = 1 AND money IS NULL THEN {COUNTED}",
            "money": "sandbox = 0 THEN money",
            "estimated_units": f"{real} AND {sent} AND NOT {known} THEN estimate_units",
            "queued_units": f"{real} AND status = 'queued' THEN estimate_units",
            "play_units": f"{played} AND {sent} AND money IS NULL THEN {COUNTED}",
            "play_money": "sandbox = 1 THEN money",
            "play_queued_units": f"{played} AND status = 'queued' THEN estimate_units",
            "image_units": f"sandbox = 0 AND {OF_PICTURES} AND {sent} AND money IS NULL "
            f"THEN {COUNTED}",
            "play_image_units": f"sandbox = 1 AND {OF_PICTURES} AND {sent} AND money IS NULL "
            f"THEN {COUNTED}",
        }
        summed = ", ".join(f"sum(CASE WHEN {case} END) AS {name}" for name, case in columns.items())
        return _of_one_balance(
            await self._engine.read(
                lambda db: db.execute(
                    f"SELECT provider, {CURRENCY} AS currency, "  # noqa: S608
                    f"sum(CASE WHEN {OF_STEPS} THEN 0 WHEN {where} THEN 1 ELSE 0 END) AS tasks, "
                    f"{summed} FROM tasks WHERE {rows} "
                    f"GROUP BY provider, {CURRENCY} ORDER BY 1, 2",
                    [*values, *of_rows],
                ).fetchall()
            )
        )

    async def several(
        self, any_ids: Collection[str], *, changed: bool = False
    ) -> dict[str, Record]:
        """The row that `find` would find for each id, in few reads; ids without a row are left out.
        `changed` says that somebody has just written these rows."""
        wanted = list(dict.fromkeys(any_ids))
        rows = await _in_few_reads(self._engine, wanted)
        for row in rows:
            self._tell(row, written=changed)
        by_id = _by_id(rows)
        return {any_id: by_id[any_id] for any_id in wanted if any_id in by_id}

    async def keep_answer(self, record_id: str, error: ProviderError) -> None:
        """Keep what a provider answered in place of a task. Other errors of its are not kept."""
        told = {
            "http_status": error.http_status,
            "code": error.code,
            "request_id": error.request_id,
            "message": error.provider_says,
        }
        answer = {name: said for name, said in told.items() if said}
        status, now = "refused" if error.charged == "no" else "unknown", self.now()
        if answer:
            await self._engine.write(lambda db: keep_answer(db, record_id, status, answer, now))

    async def answers(self, record_id: str) -> list[Mapping[str, Any]]:
        """The provider's answers that a row keeps: when each came (`at`), the `status` that it
        told, and the `answer` itself; as text when it was too long."""
        row = await self._engine.read(
            lambda db: db.execute("SELECT answers FROM tasks WHERE id = ?", (record_id,)).fetchone()
        )
        return kept_answers(row["answers"] if row else "[]")

    async def by_callback_key(self, key: str) -> Record | None:
        """The row with this callback key; None without one."""
        if not key:
            return None
        return await self._engine.read(
            lambda db: first_record(db, "WHERE callback_key = ?", (key,))
        )

    async def claim_polling(
        self, record_ids: Collection[str], owner: str, lasts_s: float
    ) -> set[str]:
        """Take or renew, for `lasts_s` seconds, the claim to ask providers for these rows. Returns
        the ids that `owner` has now; somebody else has the others."""
        ids, now = list(record_ids), self.now()
        if not ids:
            return set()
        marks = ", ".join("?" * len(ids))
        mine = await self._engine.write(
            lambda db: db.execute(
                "UPDATE tasks SET watch_owner = ?, watch_until = ? "  # noqa: S608
                f"WHERE id IN ({marks}) AND (watch_owner IN ('', ?) OR watch_until <= ? "
                "OR watch_until > ?) RETURNING id",
                (owner, now + lasts_s, *ids, owner, now, now + LONGEST_WATCH_S),
            ).fetchall(),
            relaxed=True,
        )
        return {row["id"] for row in mine}

    async def release_polling(self, record_ids: Collection[str], owner: str) -> None:
        """Release the claims of `owner` to ask for these rows."""
        ids = list(record_ids)
        if not ids:
            return
        marks = ", ".join("?" * len(ids))
        await self._engine.write(
            lambda db: db.execute(
                "UPDATE tasks SET watch_owner = '', watch_until = 0 "  # noqa: S608
                f"WHERE id IN ({marks}) AND watch_owner = ?",
                (*ids, owner),
            ),
            relaxed=True,
        )

    async def spent_in_a_day(
        self,
        principal: str | None,
        *,
        sandbox: bool,
        usd_per_unit: float | None = None,
        pictures: bool = False,
    ) -> float:
        """What the last 24 hours count against a cap, of one principal or of all: units, or US
        dollars where the public price of a unit is given; of `pictures` alone image units."""
        counted = partial(
            spent_in_a_day,
            whose=principal,
            now=self.now(),
            sandbox=sandbox,
            usd_per_unit=usd_per_unit,
            pictures=pictures,
        )
        return await self._engine.read(counted)

    async def frees_next(
        self,
        principal: str | None,
        *,
        sandbox: bool,
        usd_per_unit: float | None = None,
        pictures: bool = False,
    ) -> tuple[float, float] | None:
        """How much of such a cap is free again next, and the seconds until then; None where nothing
        of it is used."""
        found = partial(
            frees_next,
            whose=principal,
            now=self.now(),
            sandbox=sandbox,
            usd_per_unit=usd_per_unit,
            pictures=pictures,
        )
        return await self._engine.read(found)

    async def spent_since(
        self, since: float, *, principal: str | None = None, sandbox: bool = False
    ) -> list[Mapping[str, Any]]:
        """What was spent for requests from `since` on (seconds since the epoch), real ones or those
        of the `sandbox`, without those that wait here, and those that failed without a known price.
        For each provider, and each `currency` of its money: the number of `videos`, the `units` and
        the `money` that it told, the `estimated_units` of the others, and how many have no
        `unpriced` estimate either; apart from them the number of tasks for `pictures`, and their
        `image_units`, known or estimated; and the number of `assets`, elements and voices."""
        told = "(units IS NOT NULL OR money IS NOT NULL) AND status IN ('succeed', 'failed')"
        return _of_one_balance(
            await self._engine.read(
                lambda db: db.execute(
                    f"SELECT provider, {CURRENCY} AS currency, "  # noqa: S608
                    f"coalesce(sum(CASE WHEN {OF_PICTURES} OR {OF_ASSETS} OR {OF_STEPS} "
                    "THEN 0 ELSE 1 END), 0) AS videos, "
                    f"coalesce(sum(CASE WHEN {OF_ASSETS} THEN 1 ELSE 0 END), 0) AS assets, "
                    f"coalesce(sum(CASE WHEN {OF_PICTURES} THEN 1 ELSE 0 END), 0) AS pictures, "
                    f"coalesce(sum(CASE WHEN {OF_PICTURES} AND NOT (money IS NOT NULL AND {told}) "
                    f"THEN {COUNTED} END), 0) AS image_units, "
                    f"coalesce(sum(CASE WHEN {told} AND NOT {OF_PICTURES} THEN units END), 0) "
                    "AS units, "
                    f"coalesce(sum(CASE WHEN {told} THEN money END), 0) AS money, "
                    f"coalesce(sum(CASE WHEN {told} OR {OF_PICTURES} THEN 0 ELSE estimate_units "
                    "END), 0) "
                    "AS estimated_units, "
                    f"coalesce(sum(CASE WHEN {told} OR estimate_units IS NOT NULL THEN 0 ELSE 1 "
                    "END), 0) AS unpriced FROM tasks "
                    "WHERE sandbox = ? AND created_at >= ? AND principal = coalesce(?, principal) "
                    "AND product <> 'film' AND NOT (status IN ('queued', 'cancelled') "
                    "OR (status = 'failed' "
                    "AND coalesce(units, 0) = 0 AND coalesce(money, 0) = 0)) "
                    f"GROUP BY provider, {CURRENCY} ORDER BY 1, 2",
                    (int(sandbox), since, principal),
                ).fetchall()
            )
        )

    async def counts(self) -> list[Mapping[str, Any]]:
        """One mapping for each provider and status: `provider`, `status`, the number of `tasks`,
        and the `units` that they cost or are estimated to cost."""
        return list(
            await self._engine.read(
                lambda db: db.execute(
                    "SELECT provider, status, count(*) AS tasks, "  # noqa: S608
                    f"coalesce(sum({COUNTED_TOGETHER}), 0) AS units "
                    "FROM tasks GROUP BY provider, status ORDER BY provider, status"
                ).fetchall()
            )
        )

    def _tell(self, record: Record, *, written: bool) -> None:
        """Tell the listener of a row. A listener that breaks changes nothing for the caller."""
        try:
            self._seen(record, written)
        except Exception:
            logger.exception("The answer goes out without the news of a row.")

    async def _written(
        self, work: Callable[[Database], Record], *, relaxed: bool = False
    ) -> Record:
        record = await self._engine.write(work, relaxed=relaxed)
        self._tell(record, written=True)
        return record

    def changed_rows(self) -> AsyncGenerator[list[str], None]:
        """Yields the ids of changed rows; see `Engine.changed_rows`."""
        return self._engine.changed_rows()

    async def close(self) -> None:
        """Close the database if it is open."""
        await self._engine.close()


async def _in_few_reads(engine: Engine, ids: Sequence[str]) -> list[Record]:
    """The rows with one of these ids of any kind, the oldest first."""
    rows: list[Record] = []
    for place in range(0, len(ids), IN_ONE_READ):
        rows += await engine.read(partial(_with_ids, ids=ids[place : place + IN_ONE_READ]))
    return sorted(rows, key=lambda row: row.created_at)


def _with_ids(db: Database, ids: Sequence[str]) -> list[Record]:
    """The same in one statement. It has one of few lengths, so that a database may prepare it."""
    known = [*filter(_can_be_held, ids)]
    if not known:
        return []
    some = [*known, *[known[-1]] * ((1 << (len(known) - 1).bit_length()) - len(known))]
    marks = ", ".join("?" * len(some))
    return records(
        db,
        f"WHERE task_id IN ({marks}) OR external_task_id IN ({marks}) OR id IN ({marks}) "
        "ORDER BY created_at, rowid",
        some * 3,
    )


def _can_be_held(text: str) -> bool:
    """Whether a database can hold it: none holds half a character, PostgreSQL no NUL."""
    return "\0" not in text and text == text.encode("utf-8", "ignore").decode()


@dataclass(slots=True)
class _OneRead:
    """Ids that are read together, and the rows or the error that came of it."""

    ids: dict[str, None] = field(default_factory=dict)
    found: list[Record] | Exception | None = None


class _AskedTogether:
    """Looks ids up in a database that is elsewhere. Whoever asks while one read is under way shares
    the next one: many callers cost few round trips, and no read begins before its caller asks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = anyio.Lock(fast_acquire=True)
        self._next = _OneRead()

    async def rows(self, any_id: str) -> list[Record]:
        """The rows with this id, among others. Raises NotConfigured. After any other error of the
        shared read each reads alone, as the id of one may have broken it."""
        mine = self._next
        mine.ids[any_id] = None
        async with self._reading:
            if mine.found is None:
                self._next = _OneRead()
                mine.found = await self._read([*mine.ids])
        if isinstance(mine.found, NotConfigured):
            raise copy(mine.found) from mine.found
        if isinstance(mine.found, Exception):
            return await _in_few_reads(self._engine, [any_id])
        return mine.found

    async def _read(self, ids: Sequence[str]) -> list[Record] | Exception:
        try:
            return await _in_few_reads(self._engine, ids)
        except Exception as error:
            return error


def _by_id(rows: Sequence[Record]) -> dict[str, Record]:
    """The row for each id, as `Ledger.find` chooses it; the oldest of `rows` comes first."""
    return {
        **{row.external_task_id: row for row in rows},
        **{row.task_id: row for row in reversed(rows) if row.task_id},
        **{row.id: row for row in rows},
    }

"""Reads and shows the rows of the ledger. No provider is asked, and no ledger file is made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from kling_mcp.ledger import Ledger, Record
from kling_mcp.principal import Principal, own_external_id
from kling_mcp.tasks.lookup import Found, is_address
from kling_mcp.tasks.views import Viewer
from kling_tools.results import TaskPage, TaskStatus, TaskView

__all__ = ["TaskReader"]

RECENT = 50
"""Rows that the list of recent tasks holds, newest first."""

RUNNING: tuple[TaskStatus, ...] = ("queued", "sending", "unknown", "submitted", "processing")
FOLLOWED = 500
"""Running rows of one status that are returned at most."""


SHORTEST_URL = 16
"""Characters of an address that may stand for a result; a shorter one is part of many."""

SHORTEST_ID = 6
MOST_IDS = 12
"""Parts of an address that may be an id: of so many characters, and so many of them."""

_URL = re.compile(r"https?://", re.IGNORECASE)
_FILE_URL = re.compile(r"file:(?://(?:localhost)?)?(?=/)", re.IGNORECASE)
_COUNTER = re.compile(r"-(?:\d{1,3}|clip\d+)$")


def local_path(text: str) -> str:
    """The path that a text means on this machine, with the home folder in the place of ~."""
    plain, urls = _FILE_URL.subn("", text)
    try:
        return str(Path(unquote(plain) if urls else plain).expanduser())
    except RuntimeError:
        return plain


def ids_in(address: str) -> list[str]:
    """The parts of a link or path that may be a task's id: the end of the file's name first, then
    the folders, the last one first."""
    *folders, name = re.split(r"[\\/]", unquote(address.partition("?")[0]).rstrip("\\/"))
    stem = name.rpartition(".")[0] or name
    found: list[str] = []
    for ending in (stem, _COUNTER.sub("", stem)):
        words = ending.split("-")
        found += ["-".join(words[place:]) for place in range(len(words))][-MOST_IDS:]
    likely = dict.fromkeys([*found, *folders[::-1]])
    return [part for part in likely if SHORTEST_ID <= len(part) <= 128][: 2 * MOST_IDS]


@dataclass(frozen=True, slots=True)
class TaskReader:
    """Reads rows and shows them: with `only`, those of one principal, whatever id is asked for."""

    ledger: Ledger
    viewer: Viewer
    only: str | None = None

    def of(self, principal: Principal) -> TaskReader:
        """The rows of this principal alone, or all where nobody logs in."""
        return self if principal.only == self.only else replace(self, only=principal.only)

    async def find(self, any_id: str) -> Record | None:
        """The row with this task_id, external_task_id or id, whose video has this path or link, or
        of the film with this name."""
        if not self.ledger.exists:
            return None
        found = await self.ledger.find(any_id, principal=self.only)
        if found is None and self.only:
            chosen = own_external_id(self.only, any_id)
            found = await self.ledger.find(chosen, principal=self.only)
        if found is None and (film := await self.ledger.films.find(any_id, self.only)):
            found = await self.ledger.find(film.id, principal=self.only)
        if found is None and is_address(any_id):
            found = await self._of_video(any_id)
        return found

    async def several(self, any_ids: Sequence[str]) -> dict[str, Record]:
        """The rows that `find` would find, in few reads; without those for which it has to look
        further."""
        rows = await self.ledger.several(any_ids) if self.ledger.exists else {}
        return {
            any_id: row
            for any_id, row in rows.items()
            if self.only is None or row.principal == self.only
        }

    async def _of_video(self, address: str) -> Record | None:
        """The row of a saved file or of a result link. A file that was moved still has the id in
        its name, and so have links of this server."""
        url = address if _URL.match(address) else ""
        path = "" if url or self.viewer.files.private else local_path(address)
        found = None
        if path or len(url) >= SHORTEST_URL:
            found = await self.ledger.by_video(path=path, url=url, principal=self.only)
        if found is not None:
            return found
        for some_id in ids_in(address):
            found = await self.ledger.find(some_id, principal=self.only)
            if found is not None:
                return found
        return None

    async def row(self, row_id: str) -> Record | None:
        """The row with this ledger id only; task_id and external_task_id are ignored because
        callers could guess them."""
        record = await self.find(row_id)
        return record if record and record.id == row_id else None

    async def examine(self, records: Sequence[Record]) -> None:
        """Find out which of the rows' files were changed, before they are shown."""
        await self.viewer.files.examine([record for record in records if record.path])

    async def running(self) -> list[Record]:
        """The rows that have not ended, as far as the ledger knows."""
        if not self.ledger.exists:
            return []
        return [
            record
            for status in RUNNING
            for record in await self.ledger.page(
                limit=FOLLOWED, offset=0, status=status, principal=self.only
            )
        ]

    async def recent(self) -> TaskPage:
        """The newest rows in their last known state."""
        rows, more = await self._newest()
        return TaskPage(tasks=[self.viewer.listed(row) for row in rows], page=1, more=more)

    async def ended(self) -> tuple[list[Record], bool]:
        """The rows among the newest whose result is there, and whether there are more rows."""
        rows, more = await self._newest()
        return [row for row in rows if row.status == "succeed"], more

    async def _newest(self) -> tuple[list[Record], bool]:
        rows: list[Record] = []
        if self.ledger.exists:
            rows = await self.ledger.page(limit=RECENT + 1, offset=0, principal=self.only)
        return rows[:RECENT], len(rows) > RECENT

    def view(self, record: Record) -> TaskView:
        """A row in its last known state."""
        return self.viewer.record(record)

    def show(self, found: Found) -> TaskView:
        """A task that was looked up: a row, or one that only its provider knows."""
        if found.record is not None:
            return self.viewer.record(found.record)
        assert found.task is not None
        return self.viewer.foreign(found.task, found.provider)

    def lost_for_good(self, record: Record) -> bool:
        """Whether it was sent, its answer was lost, and its provider cannot be asked for it. False
        while a worker holds the row, and when this process has no key for that provider."""
        known = record.provider in self.viewer.clients.names
        return (
            known and not record.is_leased(self.ledger.now()) and self.viewer.lost_for_good(record)
        )

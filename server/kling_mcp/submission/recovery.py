"""Open rows, taken up in the background: after a start, and while requests wait for a free slot.

A row is open while its request is queued, or while nothing is known of its task. Each is sent,
looked for or withdrawn (`Sender.take_up`), by one process at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.records import account_at, beyond_use
from kling_mcp.providers.pool import Clients
from kling_mcp.submission.sender import Sender
from kling_mcp.submission.waiting import WaitingRequests
from kling_tools.errors import KlingError

__all__ = ["Recovery"]

logger = logging.getLogger(__name__)

EVERY_S = 1.0
"""Seconds between two rounds over the open rows."""

LOST_TRIES = 5
"""Times that the background looks for the task of one row; after that, only calls look again."""


class Recovery:
    """Works through the open rows until there are none."""

    def __init__(
        self,
        clients: Clients,
        ledger: Ledger,
        sender: Sender,
        waiting: WaitingRequests,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._clients = clients
        self._ledger = ledger
        self._sender = sender
        self._waiting = waiting
        self._sleep = sleep
        self._looked_for: dict[str, int] = {}
        self._logged: set[str] = set()
        self._running = False

    async def run(self) -> None:
        """Take up open rows until this process can do nothing more for any row.

        A second call while the first one runs returns at once. Raises nothing.
        """
        if self._running:
            return
        self._running = True
        try:
            await self._sender.take_over_notes()
            await self._sender.tidy()
            await self._work()
        except KlingError as error:
            logger.warning("Open rows cannot be taken up: %s", error)
        finally:
            self._running = False

    async def _work(self) -> None:
        while rows := await self._rows():
            waiting_lines = set()
            for row in rows:
                if row.status != "queued":
                    await self._take_up(row)
                elif row.line not in waiting_lines and await self._take_up(row):
                    waiting_lines.add(row.line)
            await self._sleep(EVERY_S)

    async def _rows(self) -> list[Record]:
        """The open rows that can be taken up, without those that have waited for too long."""
        rows = await self._ledger.open_rows()
        await self._waiting.withdraw_old(rows)
        return [row for row in rows if self._can_be_taken_up(row)]

    def _can_be_taken_up(self, row: Record) -> bool:
        if row.is_beyond_use:
            if row.id not in self._logged:
                self._logged.add(row.id)
                logger.error("%s", beyond_use(row))
            return False
        return (
            row.provider in self._clients.names
            and account_at(self._clients.configured(row.provider).base_url)
            == account_at(row.base_url)
            and self._looked_for.get(row.id, 0) < LOST_TRIES
            and (row.status != "queued" or self._sender.may_send(row))
        )

    async def _take_up(self, row: Record) -> bool:
        """Work on one row, unless another process holds it or it is not due yet. Returns whether
        the row is queued after that."""
        now = self._ledger.now()
        if row.is_leased(now) or not row.is_due(now):
            return row.status == "queued"
        if row.is_unanswered:
            self._looked_for[row.id] = self._looked_for.get(row.id, 0) + 1
        try:
            row = await self._sender.take_up(row, await self._clients.get(row.provider))
            if not row.is_due(self._ledger.now()):
                self._looked_for.pop(row.id, None)
        except KlingError as error:
            logger.info("An open row could not be taken up: %s", error)
        except Exception:
            self._looked_for[row.id] = LOST_TRIES
            logger.exception("Row %s is left alone until the server starts again.", row.id)
        return row.status == "queued"

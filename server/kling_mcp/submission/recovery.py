"""Open rows are taken up by whichever process is alive: queued ones sent, lost ones looked for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.records import beyond_use
from kling_mcp.providers.pool import Clients
from kling_mcp.submission.sender import Sender
from kling_tools.errors import KlingError

__all__ = ["Recovery"]

logger = logging.getLogger(__name__)

EVERY_S = 1.0
"""Seconds between two looks at the open rows while there are any."""

LOST_TRIES = 5
"""Times that a row without an answer is looked for in the background; each call looks again."""


class Recovery:
    """Works through the open rows in the background, and ends when there are none."""

    def __init__(
        self,
        clients: Clients,
        ledger: Ledger,
        sender: Sender,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._clients = clients
        self._ledger = ledger
        self._sender = sender
        self._sleep = sleep
        self._looked_for: dict[str, int] = {}
        self._told: set[str] = set()
        self._running = False

    async def run(self) -> None:
        """Take up open rows until none is left that this process can do something about.

        A second call while the first one runs returns at once.
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
        while rows := [row for row in await self._ledger.open_rows() if self._is_ours(row)]:
            lines_that_wait = set()
            for row in rows:
                if row.status != "queued":
                    await self._take_up(row)
                elif row.line not in lines_that_wait and await self._take_up(row):
                    lines_that_wait.add(row.line)
            await self._sleep(EVERY_S)

    def _is_ours(self, row: Record) -> bool:
        if row.is_beyond_use:
            if row.id not in self._told:
                self._told.add(row.id)
                logger.error("%s", beyond_use(row))
            return False
        return (
            row.provider in self._clients.names
            and self._clients.configured(row.provider).base_url == row.base_url
            and self._looked_for.get(row.id, 0) < LOST_TRIES
        )

    async def _take_up(self, row: Record) -> bool:
        """Work on one row, and whether it is queued after that; one that another process holds is
        left to it for as long as it lives, and one that is not due yet to its time."""
        now = self._ledger.now()
        if row.is_leased(now) or not row.is_due(now):
            return row.status == "queued"
        if row.status == "unknown":
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

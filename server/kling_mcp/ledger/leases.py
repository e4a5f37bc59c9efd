"""Leases on rows: one call of one process at a time works on a row."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio

from kling_mcp.ledger import Ledger, Record
from kling_tools.decorations import decoration
from kling_tools.errors import KlingError

__all__ = ["Leases"]


logger = logging.getLogger(__name__)


class Leases:
    """Renews and releases the leases of a ledger's rows."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @asynccontextmanager
    async def renewed(self, record: Record, owner: str) -> AsyncIterator[None]:
        """Renew the row's lease for as long as the context is held. The ledger ends the lease when
        it writes the result of the work; an error in the context releases it."""
        raised: BaseException | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._renew, record.id, owner)
            try:
                yield
            except BaseException as error:  # the group would wrap it
                raised = error
            group.cancel_scope.cancel()
        if raised is not None:
            with anyio.CancelScope(shield=True):
                await self.let_go(record, owner)
            raise raised

    async def let_go(self, record: Record, owner: str) -> None:
        """Release the lease. It ends by itself when the ledger cannot be written now."""
        with decoration("the lease given back"), suppress(KlingError):
            await self._ledger.release(record.id, owner)

    async def _renew(self, record_id: str, owner: str) -> None:
        """Renew until cancelled, also after errors of the ledger: the create must not end here."""
        while True:
            await anyio.sleep(self._ledger.lease_s / 3)
            try:
                await self._ledger.claim(record_id, owner)
            except KlingError:
                continue
            except Exception:
                logger.exception("The lease of row %s could not be renewed.", record_id)

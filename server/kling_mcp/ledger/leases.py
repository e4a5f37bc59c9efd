"""Leases on rows: one call of one process at a time works on a row."""

from __future__ import annotations

import asyncio
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
        scope, renewing = anyio.CancelScope(), set[asyncio.Task[None]]()

        def begin() -> None:
            renewing.add(asyncio.ensure_future(self._renew(record.id, owner, scope)))

        async def stop() -> None:
            first.cancel()
            if renewing:
                scope.cancel()
                await asyncio.wait(renewing)  # a claim on its way ends before a release

        # a timer, as most work ends before its lease has to be renewed for the first time
        first = asyncio.get_running_loop().call_later(self._ledger.lease_s / 3, begin)
        try:
            yield
        except BaseException:
            with anyio.CancelScope(shield=True):
                await stop()
                await self.let_go(record, owner)
            raise
        with anyio.CancelScope(shield=True):
            await stop()

    async def let_go(self, record: Record, owner: str) -> None:
        """Release the lease. It ends by itself when the ledger cannot be written now."""
        with decoration("the lease given back"), suppress(KlingError):
            await self._ledger.release(record.id, owner)

    async def _renew(self, record_id: str, owner: str, scope: anyio.CancelScope) -> None:
        """Renew until the scope is cancelled, also after errors of the ledger: the create must not
        end here."""
        with scope:
            while True:
                try:
                    await self._ledger.claim(record_id, owner)
                except KlingError:
                    pass
                except Exception:
                    logger.exception("The lease of row %s could not be renewed.", record_id)
                await anyio.sleep(self._ledger.lease_s / 3)

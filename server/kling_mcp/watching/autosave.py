"""Videos that are saved by themselves when their task is seen done."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from kling_mcp.background import Background
    from kling_mcp.keeping import Keeper
    from kling_mcp.ledger import Record

__all__ = ["AutoSave"]

logger = logging.getLogger(__name__)

AT_ONCE = 4
"""Videos that are written side by side."""


class AutoSave:
    """Has the keeper write videos in the background, where a cancelled call does not stop it."""

    def __init__(self, keeper: Keeper, background: Background, *, wanted: bool) -> None:
        self._keeper = keeper
        self._background = background
        self._wanted = wanted
        self._limiter: anyio.CapacityLimiter | None = None

    def is_due(self, record: Record) -> bool:
        """Whether the row's video is there to be saved and is not saved yet."""
        return self._wanted and record.status == "succeed" and record.path is None

    async def kept(self, record: Record) -> Record | KlingError:
        """The row once its file is there, or why it has none.

        A file that takes longer than a call may is written on in the background; the row is then
        returned as it is.
        """
        from kling_mcp.keeping import IN_THE_CALL_S

        outcome: list[Record | KlingError] = []
        done = anyio.Event()

        async def keep() -> None:
            try:
                async with self._slot():
                    outcome.append(await self._keeper.keep(record))
            except KlingError as error:
                outcome.append(error)
            except Exception as error:
                logger.exception("The video of %s could not be saved.", record.handle)
                outcome.append(_mistake(error))
            finally:
                done.set()

        self._background.start_soon(keep)
        with anyio.move_on_after(IN_THE_CALL_S):
            await done.wait()
        return outcome[0] if outcome else record

    def _slot(self) -> anyio.CapacityLimiter:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(AT_ONCE)
        return self._limiter


def _mistake(error: Exception) -> KlingError:
    return KlingError(
        f"This server made a mistake of its own ({type(error).__name__}).",
        charged="no",
        advice="Its log says more. The video still exists at the provider.",
    )

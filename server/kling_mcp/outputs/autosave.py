"""Videos that are saved by themselves when their task is seen done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from kling_mcp.ledger import Record
    from kling_mcp.outputs.downloads import Keeper

__all__ = ["AutoSave"]


class AutoSave:
    """Has the keeper write videos in the background, where a cancelled call does not stop it."""

    def __init__(self, keeper: Keeper, *, wanted: bool) -> None:
        self._keeper = keeper
        self._wanted = wanted

    def is_due(self, record: Record) -> bool:
        """Whether the row's video is there to be saved and is not saved yet, and did not fail to be
        saved just now."""
        there = record.status == "succeed" and bool(record.videos) and record.path is None
        return self._wanted and there and not self._keeper.rests(record)

    async def kept(self, record: Record, within_s: float) -> Record | KlingError:
        """The row once its file is there, or why it has none.

        A file that takes longer is written on in the background; the row is then returned as it
        is.
        """
        try:
            return await self._keeper.keep(record, within_s)
        except KlingError as error:
            return error

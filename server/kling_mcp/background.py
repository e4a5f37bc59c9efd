"""Work that runs beside the calls of a server, and cannot end it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ["Background"]

logger = logging.getLogger(__name__)

PAUSES_S = (1.0, 5.0, 30.0, 300.0)
"""Seconds before work that broke begins anew: longer each time, the last one again and again."""

Work = Callable[..., Awaitable[None]]


class Background:
    """Starts work in the task group that holds the server. No error gets from the work to the
    group: it is written to the log. `sleep` waits between two tries, `pauses_s` says how long."""

    def __init__(
        self,
        group: TaskGroup,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._group = group
        self._sleep = sleep
        self._pauses_s = pauses_s

    def start_soon(self, work: Work, *args: object) -> None:
        """Run the work once."""
        self._group.start_soon(_went_well, work, args)

    def keep_up(self, work: Work, *args: object) -> None:
        """Run the work until it ends by itself: when it breaks it begins anew, after a pause."""
        self._group.start_soon(self._again_and_again, work, args)

    async def _again_and_again(self, work: Work, args: tuple[object, ...]) -> None:
        failures, longest_s = 0, self._pauses_s[-1]
        while True:
            began = anyio.current_time()
            if await _went_well(work, args):
                return
            if anyio.current_time() - began > longest_s:
                failures = 0
            await self._sleep(self._pauses_s[min(failures, len(self._pauses_s) - 1)])
            failures += 1


async def _went_well(work: Work, args: tuple[object, ...]) -> bool:
    """Whether the work came to its end. What it raises is logged; a cancellation passes."""
    try:
        await work(*args)
    except Exception:
        logger.exception("%s broke; the server goes on.", getattr(work, "__qualname__", work))
        return False
    return True

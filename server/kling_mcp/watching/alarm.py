"""Sleeping until something may be due, or until something happens."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import anyio

__all__ = ["Alarm"]


class Alarm:
    """`clock` gives seconds since the epoch, `sleep` waits; a sleep that is over has taken its
    time, whatever the clock says, so that clocks which are set back delay nothing."""

    def __init__(
        self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._reached = 0.0
        self._rung = False
        self._sleeping: anyio.CancelScope | None = None

    def now(self) -> float:
        """The clock's time, or the one up to which was slept, if that is later."""
        return max(self._clock(), self._reached)

    def ring(self) -> None:
        """Something happened: the sleep is over, or the next one will not begin."""
        self._rung = True
        if self._sleeping is not None:
            self._sleeping.cancel()

    def hush(self) -> None:
        """What happened so far is being seen to."""
        self._rung = False

    async def until(self, when: float) -> None:
        """Returns at that time, or when somebody rings; infinity is no time at all."""
        if self._rung:
            return
        now = self.now()
        with anyio.CancelScope() as self._sleeping:
            if when == math.inf:
                await anyio.sleep_forever()
            await self._sleep(max(when - now, 0.0))
            self._reached = max(when, now)
        self._sleeping = None

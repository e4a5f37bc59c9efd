"""An event loop whose clock jumps: sleeping takes no time, and everything happens in order."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

from anyio import to_thread

# Threads are borrowed from several limiters; only anyio's own books know them all.
from anyio._backends._asyncio import _threadpool_idle_workers, _threadpool_workers

__all__ = ["VirtualTimeLoop", "virtual_clock"]

EPOCH = 1_800_000_000.0
"""Seconds since the epoch at which every virtual time begins."""

LOOK_S = 0.02
"""Real seconds that are waited at once for a thread that works."""


class _JumpingSelector(selectors.DefaultSelector):
    """Where a loop would block until its next timer, the time of that timer has come, unless a
    thread still works: what it does takes no virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.is_busy: Callable[[], bool] = lambda: True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None or self.is_busy():
            return super().select(LOOK_S)
        self.now += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Timers and timeouts run by the virtual time; sockets have no place here."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now

    def run_until_complete(self, future: Any) -> Any:
        """See `asyncio.AbstractEventLoop.run_until_complete`."""

        async def attached() -> Any:
            await to_thread.run_sync(bool)
            workers, idle = _threadpool_workers.get(), _threadpool_idle_workers.get()
            self._jumping.is_busy = lambda: len(workers) > len(idle)
            return await future

        return super().run_until_complete(attached())


def virtual_clock() -> Callable[[], float]:
    """A clock of the running loop's virtual time, in seconds since the epoch, for any thread."""
    loop = asyncio.get_running_loop()
    return lambda: EPOCH + loop.time()

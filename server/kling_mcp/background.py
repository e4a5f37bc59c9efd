"""Work that runs beside the calls of a server. Its errors go to the log and end nothing else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ["Background", "BackgroundWork"]


logger = logging.getLogger(__name__)

PAUSES_S = (1.0, 5.0, 30.0, 300.0)
"""Seconds before broken work starts again: longer after each failure; the last one repeats."""

Work = Callable[..., Awaitable[None]]


class Background:
    """Starts work in the server's task group. The log gets the errors of the work; the group gets
    none. `sleep` waits between two tries, for `pauses_s` seconds."""

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
        """Start the work once. Returns at once."""
        self._group.start_soon(_has_ended, work, args)

    def keep_up(self, work: Work, *args: object) -> None:
        """Start the work, and start it again after a pause whenever it breaks. Returns at once."""
        self._group.start_soon(self._repeat, work, args)

    async def _repeat(self, work: Work, args: tuple[object, ...]) -> None:
        failures, longest_s = 0, self._pauses_s[-1]
        while True:
            began = anyio.current_time()
            if await _has_ended(work, args):
                return
            if anyio.current_time() - began > longest_s:
                failures = 0
            await self._sleep(self._pauses_s[min(failures, len(self._pauses_s) - 1)])
            failures += 1


async def _has_ended(work: Work, args: tuple[object, ...]) -> bool:
    """Run the work. Returns True when it ended, False when it broke, which is logged. A
    cancellation passes."""
    try:
        await work(*args)
    except Exception:
        logger.exception("%s broke; the server goes on.", getattr(work, "__qualname__", work))
        return False
    return True


ResultT = TypeVar("ResultT")


class BackgroundWork:
    """Runs work in the background, and lets callers wait for its result for a while."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._joined: dict[Hashable, _Job[Any]] = {}

    async def run(
        self,
        work: Callable[[], Awaitable[ResultT]],
        within_s: float,
        *,
        key: Hashable | None = None,
        stays: bool = False,
    ) -> ResultT:
        """Start the work, wait for it, and return its result or raise its error. With a `key`, wait
        for the work of that key if it is already running.

        Raises TimeoutError after `within_s` seconds; the work then goes on. If all callers are
        cancelled before, the work is cancelled too, except what it shields; with `stays` it goes
        on.
        """
        job: _Job[ResultT] | None = self._joined.get(key)
        if job is None:
            job = _Job(work)
            self._background.start_soon(self._go, job, key)
            if key is not None:
                self._joined[key] = job
        job.waiting += 1
        job.stays |= stays
        try:
            with anyio.fail_after(within_s):
                await job.done.wait()
        except TimeoutError:
            job.outlives_calls = job.stays = True
            raise
        except BaseException:
            if job.waiting == 1 and not job.stays:
                job.scope.cancel()
                self._forget(job, key)
            raise
        finally:
            job.waiting -= 1
        if job.raised is not None:
            raise job.raised
        return job.results[0]

    def start_soon(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        """Start work whose result nobody waits for. Returns at once."""

        async def alone() -> None:
            await work(*args)

        self._background.start_soon(alone)

    def has(self, key: Hashable) -> bool:
        """Whether work of that key is running."""
        return key in self._joined

    async def _go(self, job: _Job[Any], key: Hashable | None) -> None:
        try:
            await job.go()
        finally:
            self._forget(job, key)

    def _forget(self, job: _Job[Any], key: Hashable | None) -> None:
        if self._joined.get(key) is job:
            del self._joined[key]


class _Job(Generic[ResultT]):
    def __init__(self, work: Callable[[], Awaitable[ResultT]]) -> None:
        self._work = work
        self.scope = anyio.CancelScope()
        self.done = anyio.Event()
        self.results: list[ResultT] = []
        self.raised: Exception | None = None
        self.outlives_calls = False
        self.stays = False
        self.waiting = 0

    async def go(self) -> None:
        try:
            with self.scope:
                self.results.append(await self._work())
        except KlingError as error:
            self.raised = error
            if self.outlives_calls:
                logger.warning("Work that went on after its call was answered failed: %s", error)
        except Exception as error:
            self.raised = error
            if self.outlives_calls:
                logger.exception("Work that went on after its call was answered broke.")
        finally:
            self.done.set()

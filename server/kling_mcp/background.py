"""Work that runs beside the calls of a server, and cannot end it."""

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


ResultT = TypeVar("ResultT")


class BackgroundWork:
    """Runs work in the background of the process, and waits for it for a while."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._joined: dict[Hashable, _Errand[Any]] = {}

    async def run(
        self,
        work: Callable[[], Awaitable[ResultT]],
        within_s: float,
        *,
        key: Hashable | None = None,
        stays: bool = False,
    ) -> ResultT:
        """What the work returns or raises; with a `key`, what the work under way of that key does.

        Raises TimeoutError when it is not done within that many seconds; it goes on then. When
        all callers are cancelled before, the work is too, up to what it shields, unless it `stays`.
        """
        errand: _Errand[ResultT] | None = self._joined.get(key)
        if errand is None:
            errand = _Errand(work)
            self._background.start_soon(self._go, errand, key)
            if key is not None:
                self._joined[key] = errand
        errand.waiting += 1
        errand.stays |= stays
        try:
            with anyio.fail_after(within_s):
                await errand.done.wait()
        except TimeoutError:
            errand.alone = errand.stays = True
            raise
        except BaseException:
            if errand.waiting == 1 and not errand.stays:
                errand.scope.cancel()
                self._forget(errand, key)
            raise
        finally:
            errand.waiting -= 1
        if errand.raised is not None:
            raise errand.raised
        return errand.results[0]

    def has(self, key: Hashable) -> bool:
        """Whether work of that key is under way."""
        return key in self._joined

    async def _go(self, errand: _Errand[Any], key: Hashable | None) -> None:
        try:
            await errand.go()
        finally:
            self._forget(errand, key)

    def _forget(self, errand: _Errand[Any], key: Hashable | None) -> None:
        if self._joined.get(key) is errand:
            del self._joined[key]


class _Errand(Generic[ResultT]):
    def __init__(self, work: Callable[[], Awaitable[ResultT]]) -> None:
        self._work = work
        self.scope = anyio.CancelScope()
        self.done = anyio.Event()
        self.results: list[ResultT] = []
        self.raised: Exception | None = None
        self.alone = False
        self.stays = False
        self.waiting = 0

    async def go(self) -> None:
        try:
            with self.scope:
                self.results.append(await self._work())
        except KlingError as error:
            self.raised = error
            if self.alone:
                logger.warning("What went on after its call was answered failed: %s", error)
        except Exception as error:
            self.raised = error
            if self.alone:
                logger.exception("What went on after its call was answered broke.")
        finally:
            self.done.set()

"""Work that goes on when its caller has to be answered before it is done."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from kling_mcp.background import Background
__all__ = ["Errands"]

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")


class Errands:
    """Runs work in the background of the process, and waits for it for a while."""

    def __init__(self, background: Background) -> None:
        self._background = background

    async def run(self, work: Callable[[], Awaitable[ResultT]], within_s: float) -> ResultT:
        """What the work returns or raises.

        Raises TimeoutError when it is not done within that many seconds; it goes on then. When
        the caller is cancelled the work is too, up to what it shields.
        """
        errand = _Errand(work)
        self._background.start_soon(errand.go)
        try:
            with anyio.fail_after(within_s):
                await errand.done.wait()
        except TimeoutError:
            errand.alone = True
            raise
        except BaseException:
            errand.scope.cancel()
            raise
        if errand.raised is not None:
            raise errand.raised
        return errand.results[0]


class _Errand(Generic[ResultT]):
    def __init__(self, work: Callable[[], Awaitable[ResultT]]) -> None:
        self._work = work
        self.scope = anyio.CancelScope()
        self.done = anyio.Event()
        self.results: list[ResultT] = []
        self.raised: Exception | None = None
        self.alone = False

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

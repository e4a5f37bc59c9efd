"""A database whose troubles are its owner's business, where callers are somebody else."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager

from kling_mcp.ledger.engine import Database, Engine, ResultT
from kling_tools.errors import NotConfigured

__all__ = ["DiscreetEngine"]

logger = logging.getLogger(__name__)


class DiscreetEngine:
    """The same engine; what stands in its way is written to the log. Callers are told that
    something does: the words of a database name folders, hosts, addresses and users."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.place = engine.place
        self.is_shared = engine.is_shared

    @property
    def exists(self) -> bool:
        """See `Engine`."""
        return self._engine.exists

    @property
    def ahead_s(self) -> float:
        """See `Engine`."""
        return self._engine.ahead_s

    async def read(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`."""
        with _quietly():
            return await self._engine.read(work)

    async def write(
        self, work: Callable[[Database], ResultT], *, relaxed: bool = False, again: bool = True
    ) -> ResultT:
        """See `Engine`."""
        with _quietly():
            return await self._engine.write(work, relaxed=relaxed, again=again)

    async def alone(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`."""
        with _quietly():
            return await self._engine.alone(work)

    def told(self) -> AsyncGenerator[list[str], None]:
        """See `Engine`."""
        return self._engine.told()

    async def close(self) -> None:
        """See `Engine`."""
        await self._engine.close()


@contextmanager
def _quietly() -> Iterator[None]:
    try:
        yield
    except NotConfigured as error:
        logger.error("%s", error)
        raise NotConfigured(
            "The ledger of this server cannot be used now.",
            advice="Try again in a moment, or tell whoever runs the server: its log says why.",
        ) from error

"""What all callers of a server share: the providers' clients, one ledger, the work behind calls.

Nothing is opened before the first call needs it, so that a server which is only asked for its list
of tools costs nothing and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from typing import TYPE_CHECKING

import anyio

from kling_mcp.ledger.changes import Changes, Noticing
from kling_mcp.providers.pool import Clients
from kling_mcp.providers.retries import TIME_LIMITS, TimeLimits
from kling_mcp.settings.redaction import redactor_of
from kling_tools.errors import KlingError
from kling_tools.rules.capabilities import Capabilities

if TYPE_CHECKING:
    from kling_mcp.background import Background
    from kling_mcp.hosting.team import Hosting
    from kling_mcp.ledger import Ledger
    from kling_mcp.parts import Parts
    from kling_mcp.providers.configured import Configured
    from kling_mcp.settings.settings import Settings

__all__ = ["Sleep", "Works"]

HEARS_WITHIN_S = 5.0
"""Seconds that the first listener waits for the database; then what is missed is seen later."""

LEFT_BEHIND_S = 15.0
"""Seconds between two looks for rows that other servers have left behind."""

Sleep = Callable[[float], Awaitable[None]]
"""Waits some seconds; tests give one that does not."""


class Works:
    """Made once for the life of a server. `clock` tells the seconds since the epoch."""

    def __init__(
        self,
        settings: Settings,
        capabilities: Capabilities,
        providers: Mapping[str, Configured],
        stack: AsyncExitStack,
        background: Background,
        clock: Callable[[], float],
        sleep: Sleep,
        hosting: Hosting | None = None,
        limits: TimeLimits = TIME_LIMITS,
    ) -> None:
        self.hosting = hosting
        self.limits = limits
        self.exchange = hosting.exchange if hosting else None
        self.settings = settings
        observe = hosting.metrics.asked if hosting and hosting.metrics else None
        redactor = redactor_of(settings, providers.values(), hosting)
        self.clients = Clients(providers, settings, stack, self.exchange, observe, redactor)
        self.changes = Changes()
        self.background = background
        self.clock = clock
        self.sleep = sleep
        self._capabilities = capabilities
        self._stack = stack
        self._noticing = Noticing(self.changes)
        self._hears = anyio.Event()
        self._parts: Parts | None = None

    def open(self) -> Parts:
        """What a call needs, made when the first one comes; open rows are then taken up."""
        from kling_mcp.parts import make_parts

        if self._parts is None:
            self._parts = make_parts(
                self.settings,
                self._capabilities,
                self.clients,
                self.changes,
                self._noticing,
                self.background,
                self.clock,
                self.sleep,
                self.hosting,
                self.limits,
            )
            self._stack.push_async_callback(self._parts.ledger.close)
            self.background.keep_up(self._take_care, self._parts)
            if self._parts.ledger.is_shared:
                self.background.keep_up(self._hear, self._parts.ledger)
        return self._parts

    async def _take_care(self, parts: Parts) -> None:
        """Open rows are taken up, and later on those that servers leave which end."""
        while True:
            if parts.ledger.exists:
                await parts.caretaker.run()
            await anyio.sleep(LEFT_BEHIND_S)

    async def hears(self) -> None:
        """Returns when nothing is missed any more that other servers write from now on."""
        if self.open().ledger.is_shared:
            with anyio.move_on_after(HEARS_WITHIN_S):
                await self._hears.wait()

    async def _hear(self, ledger: Ledger) -> None:
        """What other servers write is news here too."""
        async with aclosing(ledger.told()) as told:
            async for ids in told:
                self._hears.set()
                if self.changes.are_heard:
                    with suppress(KlingError):
                        await ledger.several(ids or self._noticing.unfinished, changed=bool(ids))

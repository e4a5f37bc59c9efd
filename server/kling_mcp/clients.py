"""The clients of all configured providers, each opened when it is first needed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio

from kling_mcp.configuration import Configured
from kling_tools.errors import NotConfigured
from kling_tools.quoting import token

if TYPE_CHECKING:
    from kling_mcp.client import KlingClient, Observe
    from kling_mcp.hosting.exchange import Exchange
    from kling_mcp.redaction import Redactor
    from kling_mcp.settings import Settings

__all__ = ["Clients"]


class Clients:
    """Providers by name, the default first; connections live as long as `stack`. The embedded
    sandbox calls back at the `exchange` of a hosted server that it is part of. `observe` hears of
    each request to a provider, `redactor` takes secrets out of what it says."""

    def __init__(
        self,
        configured: Mapping[str, Configured],
        settings: Settings,
        stack: AsyncExitStack,
        exchange: Exchange | None = None,
        observe: Observe | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._configured = configured
        self._settings = settings
        self._stack = stack
        self._exchange = exchange
        self._observe = observe
        self._redactor = redactor
        self._open: dict[str, KlingClient] = {}
        self._opening = anyio.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The configured providers, the default first."""
        return tuple(self._configured)

    @property
    def default(self) -> Configured:
        """The provider of requests that name none."""
        return next(iter(self._configured.values()))

    @property
    def several(self) -> bool:
        """Whether answers have to say which provider they speak of."""
        return len(self._configured) > 1

    @property
    def poll_s(self) -> float:
        """Seconds between two looks at running tasks: those of the most patient provider."""
        return max(provider.row.poll_s for provider in self._configured.values())

    def configured(self, name: str) -> Configured:
        """A provider by name; raises NotConfigured when this process has no key for it."""
        try:
            return self._configured[name]
        except KeyError:
            shown = token(name)
            raise NotConfigured(
                f"This needs the provider {shown}, which is not configured now. Configured: "
                f"{', '.join(self._configured)}.",
                advice=f"Set {shown.upper()}_API_KEY again (and its base URL, if it had one).",
            ) from None

    def embedded(self, name: str) -> bool:
        """Whether the sandbox answers in this provider's place."""
        found = self._configured.get(name)
        return found is not None and found.embedded

    async def get(self, name: str) -> KlingClient:
        """The client of a provider, opened if need be; raises NotConfigured."""
        from kling_mcp.client import KlingClient
        from kling_mcp.transport import connect

        configured = self.configured(name)
        async with self._opening:
            if name not in self._open:
                connection = await self._stack.enter_async_context(
                    connect(configured, self._settings, self._exchange)
                )
                self._open[name] = KlingClient(
                    configured.row, connection, self._observe, self._redactor
                )
            return self._open[name]

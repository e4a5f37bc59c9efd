"""The clients of all configured providers; the first use of a provider opens its client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import anyio

from kling_mcp.providers.balance import units_left
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.rows import SANDBOX, ProviderRow, read_providers
from kling_tools.errors import KlingError, NotConfigured
from kling_tools.quoting import token
from kling_tools.requests.arguments import AUTO

if TYPE_CHECKING:
    from kling_mcp.providers.client import KlingClient, Observe
    from kling_mcp.providers.redaction import Redactor
    from kling_mcp.providers.transport import Callbacks
    from kling_mcp.settings.settings import Settings

__all__ = ["Clients", "balances"]


class Clients:
    """The configured providers by name; their connections live as long as `stack`.

    `names` begins with the `default`, the provider of requests that name none. Answers name their
    provider where there are `several`; the server `chooses` it where the setting is `auto`.
    `poll_s` is the seconds between two looks at running tasks: those of the most patient provider.
    `callbacks` says where the embedded sandbox may call back, `observe` hears of each request to a
    provider, `redactor` takes secrets out of what it says.
    """

    def __init__(
        self,
        configured: Mapping[str, Configured],
        settings: Settings,
        stack: AsyncExitStack,
        callbacks: Callbacks | None = None,
        observe: Observe | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self.names = tuple(configured)
        self.default = configured[self.names[0]]
        self.several = len(configured) > 1
        self.chooses = settings.provider == AUTO
        self.poll_s = max(provider.row.poll_s for provider in configured.values())
        self._configured = configured
        self._settings = settings
        self._stack = stack
        self._callbacks = callbacks
        self._observe = observe
        self._redactor = redactor
        self._open: dict[str, KlingClient] = {}
        self._opening = anyio.Lock(fast_acquire=True)

    def configured(self, name: str) -> Configured:
        """A provider by name; raises NotConfigured for one that this process does not use."""
        try:
            return self._configured[name]
        except KeyError:
            shown = token(name)
            raise NotConfigured(
                f"This needs the provider {shown}, which is not configured now. Configured: "
                f"{', '.join(self._configured)}.",
                advice=f"Set {shown.upper()}_API_KEY again (and its base URL, if it had one).",
            ) from None

    @cached_property
    def without_key(self) -> Sequence[ProviderRow]:
        """The rows of providers that have no key, or that the sandbox could play where it plays the
        default one; none where a sandbox answers for itself: nothing for money is offered there."""
        rows: Sequence[ProviderRow] = ()
        if self.default.name != SANDBOX:
            with suppress(NotConfigured):
                rows = [*read_providers(self._settings.providers).values()]
        return [row for row in rows if row.name not in (*self.names, SANDBOX)]

    def sandbox(self, name: str) -> bool:
        """Whether a sandbox answers for this provider, so that nothing is charged."""
        found = self._configured.get(name)
        return found is not None and found.sandbox

    async def get(self, name: str) -> KlingClient:
        """The client of a provider, opened by the first call; raises NotConfigured."""
        from kling_mcp.providers.client import KlingClient
        from kling_mcp.providers.transport import Callbacks, connect

        configured = self.configured(name)
        async with self._opening:
            if name not in self._open:
                connection = await self._stack.enter_async_context(
                    connect(configured, self._settings, self._callbacks or Callbacks())
                )
                self._open[name] = KlingClient(
                    configured.row, connection, self._observe, self._redactor
                )
            return self._open[name]


NOT_IN_TIME = "It has not answered in time. Ask again in a moment."
SILENT = "This provider does not tell what is left: see its web page."


async def balances(clients: Clients, now: float, within_s: float) -> dict[str, Any]:
    """`providers`: for each name its `units_left` and `packs`, or a `note` about the reason why
    they are unknown.

    `now` and the ends of packs are seconds since the epoch. The note also tells of a provider that
    fails, or does not answer within `within_s` seconds. Raises nothing.
    """
    found = {name: {"units_left": None, "note": NOT_IN_TIME} for name in clients.names}

    async def ask(name: str) -> None:
        found[name] = await _balance(clients, name, now)

    with anyio.move_on_after(within_s):
        async with anyio.create_task_group() as group:
            for name in clients.names:
                group.start_soon(ask, name)
    return {"providers": found}


async def _balance(clients: Clients, name: str, now: float) -> dict[str, Any]:
    if not clients.configured(name).row.tells_units:
        return {"units_left": None, "note": SILENT}
    try:
        packs = await (await clients.get(name)).account(now)
    except KlingError as error:
        return {"units_left": None, "note": str(error)}
    found: dict[str, Any] = {
        "units_left": units_left(packs),
        "packs": [asdict(pack) for pack in packs],
    }
    if not packs:
        found["note"] = "No resource pack: the account pays from its balance."
    if clients.sandbox(name):
        found["note"] = "Play money of the sandbox."
    return found

"""Checks of a provider: the connection, the key, the account, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from kling_mcp.doctor.findings import Finding, Level
from kling_mcp.providers.auth import LIFETIME_S, NOT_BEFORE_S
from kling_mcp.providers.balance import ResourcePack, units_left
from kling_mcp.providers.network import certificate_store, proxy_of
from kling_tools.errors import (
    AuthFailed,
    KlingError,
    PaymentRequired,
    ProviderDown,
    ProviderError,
    RateLimited,
    TaskNotFound,
)
from kling_tools.quoting import counted

if TYPE_CHECKING:
    from kling_mcp.providers.client import KlingClient
    from kling_mcp.providers.configured import Configured
    from kling_mcp.settings.settings import Settings

__all__ = ["ask", "clock_finding", "server_ahead_s", "way_to"]


HALF_A_SECOND = 0.5
"""A Date header is truncated to whole seconds: on average half a second is missing."""

NOTABLE_S = 60.0
"""Least difference of the clocks (s) to report when no token depends on the clock."""


def server_ahead_s(date: str, asked_at: float, answered_at: float) -> float | None:
    """Seconds by which the provider's clock is ahead of ours, accurate to half the response time;
    None for an unreadable header. `asked_at` and `answered_at` are seconds since the epoch."""
    try:
        said = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return said + HALF_A_SECOND - (asked_at + answered_at) / 2


def clock_finding(name: str, ahead_s: float, *, signs_tokens: bool) -> Finding:
    """The finding about a clock difference. A token is valid from 5 s before to 30 min after it is
    made."""
    facts = {"provider": name, "server_ahead_s": round(ahead_s, 1)}
    off = f"this machine's clock is {abs(ahead_s):.0f} s {'behind' if ahead_s > 0 else 'ahead'}"
    refused = ahead_s < -NOT_BEFORE_S or ahead_s > LIFETIME_S
    if signs_tokens and refused:
        why = "not valid yet" if ahead_s < 0 else "expired"
        return Finding(
            "clock",
            "wrong",
            f"{name}: {off}, so the provider sees our tokens as {why}.",
            "Let the system set its clock from the network.",
            facts,
        )
    if abs(ahead_s) > NOTABLE_S:
        advice = "Let the system set its clock from the network."
        return Finding("clock", "warning", f"{name}: {off}.", advice, facts)
    return Finding("clock", "good", f"{name}: the clocks agree ({ahead_s:+.1f} s).", "", facts)


def way_to(base_url: str) -> dict[str, str | None]:
    """The `proxy` (without user and password; None without a proxy) and the `certificates` (None
    over plain http) of requests to that address."""
    proxy = proxy_of(base_url)
    return {
        "proxy": _bare(proxy) if proxy else None,
        "certificates": certificate_store() if urlsplit(base_url).scheme == "https" else None,
    }


def _bare(proxy: str) -> str:
    parts = urlsplit(proxy)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{parts.hostname or '?'}{port}"


DEADLINE_S = 4.0
"""Seconds for all requests to one provider, so that a wrong key is reported within five."""

NO_TASK = "kling-mcp-doctor-no-such-task"
"""The id of a task that does not exist: asking for it costs nothing and requires a valid key."""


async def ask(
    provider: Configured, settings: Settings, clock: Callable[[], float] = time.time
) -> list[Finding]:
    """Findings from a provider's answers. Sends nothing that could cost money."""
    if provider.embedded:
        return [
            Finding(
                "provider",
                "good",
                f"{provider.name}: the sandbox in this program answers; nothing is charged.",
            )
        ]
    asked = _Asked(provider, clock)
    with anyio.move_on_after(DEADLINE_S) as scope:
        try:
            await asked.go(settings)
        except KlingError as error:
            asked.add("provider", "wrong", error.message, error.advice)
    if scope.cancelled_caught:
        asked.add(
            "provider",
            "wrong",
            f"{provider.name} ({asked.host}) did not answer within {DEADLINE_S:g} s{asked.way}.",
            f"Check the network, a proxy, and {provider.row.base_url_setting}.",
        )
    return asked.found


NO_API = (None, "1202", "1203")
"""Codes of an address without the API: no code at all, no such method, no such path."""


class _Asked:
    """The check of one provider: its findings so far, and the time of the first answer."""

    def __init__(self, provider: Configured, clock: Callable[[], float]) -> None:
        from urllib.parse import urlsplit

        self.found: list[Finding] = []
        self.host = urlsplit(provider.base_url).hostname or ""
        self._provider = provider
        self._clock = clock
        self._asked_at = 0.0
        self._date: tuple[str, float] | None = None
        self._facts: dict[str, Any] = {
            "provider": provider.name,
            "base_url": provider.base_url,
            **way_to(provider.base_url),
        }

    @property
    def way(self) -> str:
        """The proxy and the certificates in parentheses, for a sentence."""
        proxy, store = self._facts["proxy"], self._facts["certificates"]
        judged = f"; certificates: {store}" if store else ""
        return f" (proxy: {proxy or 'none'}{judged})"

    def add(self, area: str, level: Level, text: str, advice: str = "", **facts: Any) -> None:
        about = self._facts if area == "provider" else {"provider": self._provider.name}
        self.found.append(Finding(area, level, text, advice, {**about, **facts}))

    async def go(self, settings: Settings) -> None:
        from kling_mcp.providers.client import KlingClient
        from kling_mcp.providers.transport import connect

        async with connect(self._provider, settings) as connection:
            connection.api.event_hooks["response"].append(self._note_date)
            client = KlingClient(self._provider.row, connection, attempts=1)
            good = await self._try_key(client)
            if good and self._provider.row.tells_units:
                await self._ask_account(client)

    async def _note_date(self, response: Any) -> None:
        if self._date is None and response.headers.get("Date"):
            self._date = response.headers["Date"], self._clock()

    async def _try_key(self, client: KlingClient) -> bool:
        self._asked_at = self._clock()
        began = time.monotonic()
        failure: KlingError | None = None
        try:
            await client.task(self._provider.row.products[0], NO_TASK)
        except KlingError as error:
            failure = error
        took_ms = round((time.monotonic() - began) * 1000)
        name = self._provider.name
        down = isinstance(failure, ProviderDown)
        if down and failure is not None:
            self.add("provider", "wrong", f"{failure.message[:-1]}{self.way}.", failure.advice)
        else:
            reached = f"{name} ({self.host}) answers in {took_ms} ms{self.way}."
            self.add("provider", "good", reached, took_ms=took_ms)
        self._judge_clock()
        return not down and self._judge_key(name, failure)

    def _judge_clock(self) -> None:
        from kling_mcp.providers.auth import SignedToken

        if self._date is None:
            return
        ahead_s = server_ahead_s(self._date[0], self._asked_at, self._date[1])
        if ahead_s is not None:
            signs = isinstance(self._provider.credentials, SignedToken)
            self.found.append(clock_finding(self._provider.name, ahead_s, signs_tokens=signs))

    def _judge_key(self, name: str, failure: KlingError | None) -> bool:
        if failure is None or isinstance(failure, TaskNotFound):
            self.add("key", "good", f"{name} accepts the key.", accepted=True)
            return True
        if isinstance(failure, AuthFailed | PaymentRequired):
            said = failure.code if isinstance(failure, ProviderError) else None
            self.add(
                "key",
                "wrong",
                f"{failure.message[:-1]}{f' (code {said})' if said else ''}.",
                failure.advice,
                accepted=isinstance(failure, PaymentRequired),
                code=said,
            )
        elif isinstance(failure, RateLimited):
            self.add("key", "note", f"{name} is too busy to check the key now.")
        else:
            text = f"{name} answers a query for a task that does not exist with: "
            code = failure.code if isinstance(failure, ProviderError) else None
            level: Level = "wrong" if code in NO_API else "warning"
            self.add("key", level, text + failure.message, failure.advice, code=code)
        return False

    async def _ask_account(self, client: KlingClient) -> None:
        name = self._provider.name
        try:
            packs = await client.account(self._clock())
        except KlingError as error:
            self.add(
                "account", "note", f"{name} does not say how many units are left: {error.message}"
            )
            return
        left = units_left(packs)
        facts: dict[str, Any] = {"units_left": left, "packs": [_facts(pack) for pack in packs]}
        if left is None:
            text = f"{name} lists no resource pack of the last year; without one its balance pays."
            self.add("account", "note", text, **facts)
        elif left <= 0:
            advice = "Buy a pack at Kling: without one or a balance, creates are refused."
            self.add("account", "warning", f"{name} says that no units are left.", advice, **facts)
        else:
            self.add(
                "account",
                "good",
                f"{name} says that {counted(left, 'unit is', 'units are')} left.",
                **facts,
            )


def _facts(pack: ResourcePack) -> dict[str, Any]:
    return {
        "name": pack.name,
        "total": pack.total,
        "remaining": pack.remaining,
        "ends_at": pack.ends_at,
        "status": pack.status,
    }

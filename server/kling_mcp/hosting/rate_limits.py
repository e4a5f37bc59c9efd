"""How often one login may ask, and how much at once."""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["RateLimited"]

REMEMBERED = 10_000
"""Logins and addresses whose requests are counted; the one that was silent longest is forgotten."""


MOST_OPEN = 64
"""Requests of one login that are answered at one time: streams, and calls that wait."""

OPEN_WAIT_S = 5


class RateLimited:
    """An ASGI application behind a token bucket for each login, or each address where there is
    none: `per_minute` requests at once, and as many a minute; 0 for any number. A stream counts
    once, and for as long as it is open as one of `most_open`. What is too much is answered with 429
    and Retry-After (seconds). Each server counts for itself."""

    def __init__(
        self,
        app: ASGIApp,
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
        most_open: int = MOST_OPEN,
    ) -> None:
        self._app = app
        self._per_minute = per_minute
        self._most_open = most_open
        self._open: Counter[str] = Counter()
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        whose = _whose(scope)
        if self._open[whose] >= self._most_open:
            words = f"{self._most_open} requests of yours are open: end a stream, or wait."
            await _refused(words, OPEN_WAIT_S)(scope, receive, send)
            return
        if wait_s := self._taken(whose) if self._per_minute else 0:
            words = f"Too many requests: {self._per_minute} a minute. Wait {wait_s} s."
            await _refused(words, wait_s)(scope, receive, send)
            return
        self._open[whose] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[whose] -= 1
            self._open += Counter()  # forgets whoever has none open

    def _taken(self, whose: str) -> int:
        """0 when the request may pass, else seconds to wait."""
        now, per_s = self._clock(), self._per_minute / 60
        left, then = self._buckets.pop(whose, (float(self._per_minute), now))
        left = min(left + (now - then) * per_s, self._per_minute)
        passes = left >= 1
        self._buckets[whose] = (left - passes, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return 0 if passes else math.ceil((1 - left) / per_s)


def _refused(words: str, wait_s: int) -> JSONResponse:
    return JSONResponse({"error": words}, 429, headers={"Retry-After": str(wait_s)})


def _whose(scope: Scope) -> str:
    user = scope.get("user")
    if isinstance(user, AuthenticatedUser) and user.access_token.subject:
        return user.access_token.subject
    client = scope.get("client")
    return f"address:{client[0]}" if client else "address:"

"""Limits of an HTTP request: its size, its time, and how often a login may ask.

uvicorn closes a connection that idles between two requests. This module closes one that idles
before the first request or in the middle of one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import h11
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from kling_tools.errors import KlingError
from kling_tools.products import PRODUCTS_BY_TOOL

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Limits", "RateLimited", "RequestLimits", "connection_class"]


logger = logging.getLogger(__name__)

REMEMBERED = 10_000
"""Most logins and addresses whose requests are counted; the longest silent one is forgotten."""


MOST_OPEN = 64
"""Most open requests of one login: streams, and calls that wait."""

OPEN_WAIT_S = 5


class RateLimited:
    """An ASGI application behind a token bucket for each login, or for each address without a
    login: `per_minute` requests at once, and as many a minute; 0 sets no limit. A stream counts
    once, and as one of `most_open` while it is open. Requests above the limit get 429 with
    Retry-After (seconds). Each server counts for itself."""

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
            words = f"You have {self._most_open} open requests. End a stream, or wait."
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`small_bytes` is the largest body of a call without pictures. A larger body may have `marks`
    brackets, braces and commas, which bounds the number of JSON values. The head of a request must
    arrive within `head_s` seconds, its body within `body_s` plus its size at `least_rate` bytes a
    second."""

    small_bytes: int = 256 * 1024
    marks: int = 20_000
    head_s: float = 15.0
    body_s: float = 30.0
    least_rate: int = 32 * 1024


_NAMES = tuple(tool.encode() for tool in PRODUCTS_BY_TOOL)
"""The tools that take pictures."""

_LONGEST = max(map(len, _NAMES))

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_ORIGIN = re.compile(rf"[a-z][a-z0-9+.-]*://{_HOST.pattern}|null")


class _Refusal(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class RequestLimits:
    """An ASGI application that refuses ambiguous headers (400, 421, 403), slow requests (408), and
    bodies too large for the tool that is called at `path` (413). A login that cannot be judged now
    is no wrong one: 503."""

    def __init__(self, app: ASGIApp, *, path: str, limits: Limits) -> None:
        self._app = app
        self._path = path
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            _refuse_crooked(headers)
            body = _Body(receive, self._limits, headers, of_calls=scope["path"] == self._path)
            await self._app(scope, body.receive, sent)
        except _Refusal as refusal:
            if not started:
                ends = {"Connection": "close"} if refusal.status in (400, 408) else {}
                answer = PlainTextResponse(f"{refusal.text}\n", refusal.status, headers=ends)
                await answer(scope, receive, send)
        except KlingError as error:
            if started:
                raise
            logger.error("A request cannot be answered: %s", error)
            answer = PlainTextResponse("Not possible now. Try again soon.\n", 503)
            await answer(scope, receive, send)


def _refuse_crooked(headers: Headers) -> None:
    """Refuse two lengths of one body, since a proxy may believe the other one, and host names that
    begin like ours and end as another (`127.0.0.1:1@evil.example`)."""
    if "content-length" in headers and "transfer-encoding" in headers:
        raise _Refusal(400, "Content-Length and Transfer-Encoding exclude each other.")
    if (host := headers.get("host")) and not _HOST.fullmatch(host):
        raise _Refusal(421, "The Host header is not a host and a port.")
    if (origin := headers.get("origin")) and not _ORIGIN.fullmatch(origin):
        raise _Refusal(403, "The Origin header is not an origin.")


class _Body:
    """Passes a body on while it stays within the limits, and later messages unchanged."""

    def __init__(self, receive: Receive, limits: Limits, headers: Headers, *, of_calls: bool):
        self._receive = receive
        self._limits = limits
        self._of_calls = of_calls
        self._names_itself = "mcp-method" in headers
        self._takes_pictures = headers.get("mcp-name") in PRODUCTS_BY_TOOL
        self._declared = _number(headers.get("content-length"))
        self._began: float | None = None
        self._whole = False
        self._bytes = self._marks = 0
        self._end = b""

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()
        self._refuse_large(max(self._bytes, self._declared))
        if self._began is None:
            self._began = anyio.current_time()
        most_s = self._limits.body_s + self._bytes / self._limits.least_rate
        try:
            with anyio.fail_after(self._began + most_s - anyio.current_time()):
                message = await self._receive()
        except TimeoutError:
            raise _Refusal(408, "The request arrived too slowly.") from None
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        piece = message.get("body", b"")
        self._bytes += len(piece)
        if self._of_calls:
            self._read(piece)
        return message

    def _read(self, piece: bytes) -> None:
        self._marks += sum(map(piece.count, (b"[", b"{", b",")))
        if not self._names_itself and not self._takes_pictures:
            end = self._end + piece
            self._takes_pictures = any(name in end for name in _NAMES)
            self._end = end[-_LONGEST:]
        self._refuse_large(self._bytes)

    def _refuse_large(self, size: int) -> None:
        """A call names its tool in its headers or, in the older protocol, anywhere in its body."""
        if not self._of_calls or size <= self._limits.small_bytes:
            return
        if not self._takes_pictures and (self._names_itself or self._whole):
            raise _Refusal(
                413,
                f"Only calls with pictures may have more than {self._limits.small_bytes:,} bytes.",
            )
        if self._marks > self._limits.marks:
            raise _Refusal(413, f"A call may have at most {self._limits.marks:,} values.")


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 20 else 0


class _Connection(H11Protocol):
    """uvicorn's connection. It closes when the head of a request is late, or the rest of a request
    that has been answered already."""

    head_s: float
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        begun = self.conn.their_state is not h11.IDLE
        if begun and not (self.cycle and self.cycle.response_complete):
            self._forget()
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.head_s, self.transport.close)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def connection_class(head_s: float) -> type[H11Protocol]:
    """uvicorn's connection class with `head_s` seconds for the head of a request."""
    return type("Connection", (_Connection,), {"head_s": head_s})

"""Calls a `callback_url` when a task changes, as Kling does: once per change, without repeats.

The body is the bare task, without an envelope, in the shape of the standard that made it. With a
secret it is signed after the Standard Webhooks scheme, which Kling supports since 2026-08-07.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import hmac
import json
import secrets
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from kling_sandbox.orders import Task

__all__ = [
    "MayCall",
    "WebhookSender",
    "call_none",
    "only_below",
    "only_loopback",
    "signed_headers",
]

MayCall = Callable[[str], bool]
"""Whether an address may be called."""

_TIMEOUT_S = 5.0
_LINGER_S = 5.0


def call_none(url: str) -> bool:
    """No address may be called."""
    return False


def only_loopback(url: str) -> bool:
    """Addresses of this machine may be called."""
    return _host(url) in ("127.0.0.1", "localhost", "::1")


def only_below(base: str) -> MayCall:
    """Addresses below this one may be called."""
    return lambda url: url.startswith(base.rstrip("/") + "/")


class WebhookSender:
    """Sends callbacks from a thread that lives only while callbacks are due.

    `document` returns a task as it is at a time by `clock`. Callbacks that are due after the end of
    the process are never sent, nor those of a sandbox whose files are gone.
    """

    def __init__(
        self,
        may_call: MayCall,
        secret: str,
        document: Callable[[Task, float], dict[str, Any]],
        clock: Callable[[], float],
    ) -> None:
        self._may_call = may_call
        self._secret = secret
        self._document = document
        self._clock = clock
        self._due: list[tuple[float, int, str, Task]] = []
        self._news = threading.Condition()
        self._running = False
        self._number = 0

    def follow(self, task: Task) -> None:
        """Call the task's `callback_url`, if allowed, when the task starts and when it ends."""
        url = task.order.callback_url
        if not url or not self._may_call(url):
            return
        with self._news:
            for at in (task.started_at, task.ended_at):
                self._number += 1
                heapq.heappush(self._due, (at, self._number, url, task))
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="callbacks", daemon=True).start()
            self._news.notify()

    def _run(self) -> None:
        import sqlite3  # a command line that only names its options has no use for it

        while (next_one := self._next()) is not None:
            url, task = next_one
            try:
                body = json.dumps(self._document(task, self._clock())).encode()
            except (OSError, sqlite3.Error):
                continue
            _post(url, body, self._signature(body))

    def _next(self) -> tuple[str, Task] | None:
        """Wait for the next due callback; None after some seconds without one."""
        with self._news:
            while True:
                if not self._due and not self._news.wait(_LINGER_S):
                    self._running = False
                    return None
                if self._due:
                    wait_s = self._due[0][0] - self._clock()
                    if wait_s <= 0:
                        _, _, url, task = heapq.heappop(self._due)
                        return url, task
                    self._news.wait(wait_s)

    def _signature(self, body: bytes) -> dict[str, str]:
        if not self._secret:
            return {}
        return signed_headers(
            self._secret, f"msg_{secrets.token_hex(16)}", int(self._clock()), body
        )


def signed_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a callback that is signed with a secret (`whsec_…`) at a Unix second."""
    key = base64.b64decode(secret.removeprefix("whsec_") + "==")
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    """Send one POST. A failed one is not repeated."""
    import http.client  # it brings TLS and e-mail along

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.netloc, timeout=_TIMEOUT_S)
        try:
            path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
            connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
            connection.getresponse().read()
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException):
        return


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""

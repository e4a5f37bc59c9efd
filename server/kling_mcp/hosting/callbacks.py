"""Callbacks of providers. Each is a hint that a task changed; the server then queries the provider.

The body of a callback is neither believed nor stored. A sender learns nothing, and causes at most
one query every few seconds for each running task. The key in the address belongs to one row and
cannot be guessed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio

from kling_tools.errors import KlingError
from kling_tools.results import ENDED

if TYPE_CHECKING:
    from kling_mcp.ledger import Record
    from kling_mcp.runtime import Runtime

__all__ = ["AGAIN_S", "BODY_BYTES", "Callbacks", "is_signed"]

logger = logging.getLogger(__name__)

BODY_BYTES = 64 * 1024
"""The largest callback body that is read; Kling's hold one task."""

AGAIN_S = 3.0
"""Seconds between two queries for the same task."""

LOOK_S = 30.0
"""Seconds until a query is given up; polling for the task goes on."""

EARLY = 5
"""Queries for a row whose create has not been answered yet: a callback may overtake the answer."""

AT_ONCE = 16
"""Queries that run side by side."""

_KEY = re.compile(r"[A-Za-z0-9_-]{32}")


class Callbacks:
    """Receives hints, for the life of the process."""

    def __init__(self) -> None:
        self._asking: dict[str, bool] = {}
        self._limiter: anyio.CapacityLimiter | None = None

    async def hint(self, runtime: Runtime, key: str) -> bool:
        """Handle a callback to this key's address. Returns False when no row has the key.

        Returns at once. A background query then reads the task's state, once for all hints that
        arrive meanwhile. An ended task is not queried.
        """
        ledger = runtime.ledger
        if not _KEY.fullmatch(key) or not ledger.exists:
            return False
        record = await ledger.by_callback_key(key)
        if record is None:
            return False
        if record.id in self._asking:
            self._asking[record.id] = True
        elif record.status not in ENDED:
            self._asking[record.id] = False
            runtime.background.start_soon(self._ask, runtime, record)
        return True

    async def _ask(self, runtime: Runtime, record: Record) -> None:
        """Query until an answer is newer than the last hint."""
        early = EARLY
        try:
            while True:
                self._asking[record.id] = False
                record = await self._seen(runtime, record)
                if record.status in ENDED:
                    return
                early = early - 1 if record.task_id is None else 0
                await runtime.sleep(AGAIN_S)
                if not self._asking[record.id] and early <= 0:
                    return
        except KlingError as error:
            logger.info("A task that had a callback cannot be queried: %s", error)
        except Exception:
            logger.exception("A callback could not be followed up.")
        finally:
            self._asking.pop(record.id, None)

    async def _seen(self, runtime: Runtime, record: Record) -> Record:
        """The row after a query to its provider; its video is saved when the settings say so. A
        provider that asked for a pause is not queried; polling asks it later."""
        provider = record.provider
        quiet = runtime.pace.quiet(provider)
        if quiet is not None and quiet[0] > runtime.ledger.now():
            return record
        with anyio.move_on_after(LOOK_S):
            async with self._slot():
                found = await runtime.lookup.find_or_take_up(record.id)
            record = found.record or record
        if record.status in ENDED:
            runtime.pace.called_back(provider, runtime.ledger.now())
        if runtime.downloads.is_due(record):
            await runtime.downloads.save_row(record, runtime.limits.file_s)
        return record

    def _slot(self) -> anyio.CapacityLimiter:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(AT_ONCE)
        return self._limiter


def is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the secret signed this callback within the last minutes (Standard Webhooks headers:
    `webhook-id`, `webhook-timestamp`, `webhook-signature`)."""
    from standardwebhooks import Webhook, WebhookVerificationError

    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: neither text nor base64
        return False
    return True

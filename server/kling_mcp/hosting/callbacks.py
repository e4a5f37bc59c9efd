"""What a provider says of its own accord: a hint that a task changed, which is then asked for.

Nothing that stands in a callback is believed, and none of it is written down: whoever sends one
learns nothing and causes at most one question to the provider in some seconds for each task that
runs. The key in the address is made for one row and cannot be guessed.
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
"""Bytes of a callback that are read at most; Kling's hold one task."""

AGAIN_S = 3.0
"""Seconds after a question before the next one about the same task."""

LOOK_S = 30.0
"""Seconds in which a question is to be answered; whoever waits for the task asks on."""

EARLY = 5
"""Questions about a row whose create has not been answered yet: a callback may overtake it."""

AT_ONCE = 16
"""Questions that run side by side."""

_KEY = re.compile(r"[A-Za-z0-9_-]{32}")


class Callbacks:
    """Takes hints, for the life of the process."""

    def __init__(self) -> None:
        self._asking: dict[str, bool] = {}
        self._limiter: anyio.CapacityLimiter | None = None

    async def hint(self, runtime: Runtime, key: str) -> bool:
        """A callback came to this key's address; whether there is such a row.

        Returns at once: its state is asked in the background, once for all hints that come
        meanwhile. One that has ended is let be.
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
        """Ask until an answer is newer than the last hint."""
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
            logger.info("A task of which a callback came cannot be asked for: %s", error)
        except Exception:
            logger.exception("A callback could not be followed up.")
        finally:
            self._asking.pop(record.id, None)

    async def _seen(self, runtime: Runtime, record: Record) -> Record:
        """The row as its provider tells it now, its video saved where that is wanted. A provider
        that wants to be left alone is, and whoever waits for the task asks later."""
        provider = record.provider
        quiet = runtime.pace.quiet(provider)
        if quiet is not None and quiet[0] > runtime.ledger.now():
            return record
        with anyio.move_on_after(LOOK_S):
            async with self._slot():
                found = await runtime.looker.current(record.id)
            record = found.record or record
        if record.status in ENDED:
            runtime.pace.called_back(provider, runtime.ledger.now())
        if runtime.autosave.is_due(record):
            await runtime.autosave.kept(record, runtime.limits.file_s)
        return record

    def _slot(self) -> anyio.CapacityLimiter:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(AT_ONCE)
        return self._limiter


def is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the callback was signed with the secret within the last minutes (Standard Webhooks:
    `webhook-id`, `webhook-timestamp`, `webhook-signature`)."""
    from standardwebhooks import Webhook, WebhookVerificationError

    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: what is no text, no base64
        return False
    return True

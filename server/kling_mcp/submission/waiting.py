"""Requests that wait here for a free slot: withdrawn ones, and what their callers are told.

A queued request is sent only by a process that was asked to: it has sent a request itself, or it
was called to wait for this one (`Sender.may_send`). Nothing that only reads sends it. After
`queue_s` seconds it is withdrawn.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import anyio

from kling_mcp.ledger import Ledger, Record
from kling_mcp.principal import Principal
from kling_mcp.submission.sender import Sender
from kling_tools.errors import quote_provider
from kling_tools.quoting import clipped, counted
from kling_tools.results import TaskStatus
from kling_tools.rules.capabilities import Estimate

__all__ = ["WaitingRequests", "not_withdrawn"]

WITHDRAWALS = 10
BETWEEN_WITHDRAWALS_S = 0.5
"""Tries to withdraw a queued row that another worker holds, and the seconds between them."""

NAMED = 5
"""Requests that one sentence names; it counts the others."""

MOST = 500
"""Queued requests of one caller that are counted."""

PROMPT_SHOWN = 40
"""Characters of a prompt that a sentence shows."""

ATTENDED_S = 90.0
"""Seconds since the last try of a queued row for which another server counts as sending it."""


class WaitingRequests:
    """The queued requests of a ledger, as this process (begun at `began_at`) deals with them."""

    def __init__(
        self,
        ledger: Ledger,
        sender: Sender,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        *,
        began_at: float = 0.0,
    ) -> None:
        self._ledger = ledger
        self._sender = sender
        self._sleep = sleep
        self._began_at = began_at
        self._none_before = -math.inf
        self._greeted: set[str] = set()
        self._withdrawn: dict[str, list[Record]] = defaultdict(list)

    async def withdraw(self, record: Record) -> bool:
        """Withdraw a queued row for good, and return True; False when it is not queued any more. A
        row that is being sent is waited for, up to some seconds."""
        for _ in range(WITHDRAWALS):
            if await self._sender.withdraw(record):
                return True
            now = await self._ledger.find(record.id)
            if now is None or now.status not in ("queued", "sending"):
                return False
            await self._sleep(BETWEEN_WITHDRAWALS_S)
        return False

    def outlook(self, record: Record) -> str:
        """What becomes of a queued request, and what can be done with it."""
        if self._sender.may_send(record):
            return SENT_WHEN_FREE
        return f"{KEPT} {self._way.format(it='it', ids='')}"

    @property
    def _way(self) -> str:
        return ANOTHER_SENDS if self._sender.read_only else WAIT_SENDS

    def is_left(self, record: Record) -> bool:
        """Whether a queued request lies here that no server sends now."""
        queued = record.status == "queued" and not self._sender.may_send(record)
        return queued and self._is_ours(record)

    async def sweep(self, principal: Principal) -> None:
        """Withdraw those of a caller that have waited for too long. The ledger is read again when
        the oldest one of anybody may have: no row is made that is older than now."""
        now, queue_s = self._ledger.now(), self._sender.queue_s
        if self._ledger.exists and now >= self._none_before:
            rows, oldest = await self._ledger.overdue(principal.only, now - queue_s, MOST)
            self._none_before = queue_s + (now if oldest is None else min(oldest, now))
            await self.withdraw_old(rows)

    async def withdraw_old(self, rows: Sequence[Record]) -> None:
        """Withdraw those that have waited for too long; the next answer to its owner says so."""
        for row in rows:
            if self._sender.is_too_old(row) and await self._sender.withdraw(
                row, f"withdrawn {self._after} in the queue"
            ):
                self._withdrawn[row.principal].append(row)

    async def news(self, principal: Principal) -> str:
        """What a caller is told once, with the next answer: requests that were withdrawn by
        themselves, and those that still wait from before this process began. Usually empty."""
        sentences = []
        if self._withdrawn:
            sentences += self._about_withdrawn(principal)
        if principal.name not in self._greeted and self._ledger.exists:
            rows = await self._ledger.page(
                limit=MOST, offset=0, status="queued", principal=principal.only
            )
            self._greeted.add(principal.name)
            older = [row for row in rows if row.created_at < self._began_at and self._is_ours(row)]
            sentences += self._about_waiting(older)
        return " ".join(sentences)

    def _is_ours(self, row: Record) -> bool:
        """Whether no other server is likely to send the row."""
        attended = self._ledger.is_shared and row.updated_at > self._ledger.now() - ATTENDED_S
        return not attended

    @property
    def _after(self) -> str:
        hours = self._sender.queue_s / 3600
        return f"by itself after {counted(hours, 'hour')}"

    def _about_withdrawn(self, principal: Principal) -> list[str]:
        owners = [*self._withdrawn] if principal.only is None else [principal.name]
        rows = [row for owner in owners for row in self._withdrawn.pop(owner, ())]
        if not rows:
            return []
        counted = _counted(rows, "was", "were")
        they, them = ("It", "it") if len(rows) == 1 else ("They", "them")
        return [
            f"{counted} withdrawn {self._after} in the queue: {_named(rows)}. {they} cost nothing; "
            f"submit again to make {them}."
        ]

    def _about_waiting(self, rows: Sequence[Record]) -> list[str]:
        sent = [row for row in rows if self._sender.may_send(row)]
        kept = [row for row in rows if not self._sender.may_send(row)]
        sentences = []
        if sent:
            sentences.append(
                f"{_counted(sent)} still queued from before this server started: {_named(sent)}. "
                "Sent when a slot is free; kling_cancel_task withdraws."
            )
        if kept:
            sentences.append(
                f"{_counted(kept)} still queued from before this server started: {_named(kept)}. "
                f"Nothing was spent. {self._way.format(it='them', ids=' with the ids')}"
            )
        return sentences


SENT_WHEN_FREE = "Queued here; it is sent when a slot is free, while this server runs."
KEPT = "Queued here, and nothing was spent."
WAIT_SENDS = (
    "This server does not send {it} by itself: kling_wait_for_tasks{ids} sends {it}, "
    "kling_cancel_task withdraws {it}."
)
ANOTHER_SENDS = (
    "This server only reads (KLING_MCP_READ_ONLY) and does not send {it}: one without that setting "
    "does, when it waits for {it}. kling_cancel_task withdraws {it}."
)

AT_ONCE = "It is being sent at this moment and cannot be withdrawn. Ask for it in a moment."
MAYBE = "Its answer was lost: it may exist and cost {price}, and cannot be withdrawn."
RUNS_ON = "Kling cannot cancel a task: it goes on and costs {price}. Its file still comes: {file}."
OVER = "It had ended before: there was nothing to withdraw."
NOT_WITHDRAWN: dict[TaskStatus, str] = {
    "queued": AT_ONCE,
    "sending": AT_ONCE,
    "unknown": MAYBE,
    "submitted": RUNS_ON,
    "processing": RUNS_ON,
    "succeed": OVER,
    "failed": OVER,
    "cancelled": OVER,
}


def not_withdrawn(status: TaskStatus, price: Estimate, *, saves: bool) -> str:
    """Why a task in this state is not withdrawn, what it costs, and where its file will be."""
    file = "it is saved when it is done" if saves else "kling_save_video saves it when it is done"
    return NOT_WITHDRAWN[status].format(price=price, file=file)


def _counted(rows: Sequence[Record], one: str = "is", more: str = "are") -> str:
    return counted(len(rows), f"request {one}", f"requests {more}")


def _named(rows: Sequence[Record]) -> str:
    words = []
    for row in rows[:NAMED]:
        short = clipped(quote_provider(" ".join(row.prompt.split())), PROMPT_SHOWN)
        words.append(f'{row.handle} ("{short}")' if short else row.handle)
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return ", ".join(words) + more

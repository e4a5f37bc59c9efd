"""Which tasks changed: said once by whoever sees it, heard by all who listen in this process."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from kling_tools.results import ENDED, TaskStatus

if TYPE_CHECKING:
    from kling_mcp.ledger import Record

__all__ = ["Changes", "Noticing"]


class Changes:
    """A bus of task handles (`Record.handle`). It carries no state: who hears a handle looks at
    the ledger, so that a handle which somebody has not taken up yet need not be said again."""

    def __init__(self) -> None:
        self._listeners: list[_Listener] = []

    @property
    def are_heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def publish(self, handle: str) -> None:
        """Say that the task with this handle changed; never blocks."""
        for listener in self._listeners:
            listener.hear(handle)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[MemoryObjectReceiveStream[str]]:
        """Handles of tasks that change while the context is held, each once until it is taken."""
        send, receive = anyio.create_memory_object_stream[str](math.inf)
        listener = _Listener(send)
        self._listeners.append(listener)
        try:
            with send, receive:
                yield receive
        finally:
            self._listeners.remove(listener)


class _Listener:
    def __init__(self, stream: MemoryObjectSendStream[str]) -> None:
        self._stream = stream
        self._sent: deque[str] = deque()

    def hear(self, handle: str) -> None:
        """Pass it on unless it is still to be taken. A stream gives in order what it holds, so
        that the newest of what was sent is what has not been taken."""
        waiting = self._stream.statistics().current_buffer_used
        while len(self._sent) > waiting:
            self._sent.popleft()
        if handle in self._sent:
            return
        try:
            self._stream.send_nowait(handle)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
        self._sent.append(handle)


REMEMBERED = 5_000
"""Rows whose last state is remembered; one of an older row is said again at worst."""

_State = tuple[str, TaskStatus, str, float | None, str | None]


class Noticing:
    """Publishes the handle of every row that is not as it was when last seen here.

    What this process writes is noticed at once. What another process wrote is noticed when the
    database tells of it, or when somebody here looks at the row, which the scheduler does for as
    long as somebody waits.
    """

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._last: dict[str, _State] = {}

    @property
    def unfinished(self) -> list[str]:
        """The ids of the rows that had not ended when they were last seen here."""
        return [row_id for row_id, state in self._last.items() if state[1] not in ENDED]

    def __call__(self, record: Record, written: bool) -> None:
        """A row passes; one that is seen for the first time changed only if it was `written` just
        now."""
        handle = record.handle
        state = (handle, record.status, record.message, record.units, record.path)
        before = self._last.pop(record.id, None)
        self._last[record.id] = state
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]
        if before == state or (before is None and not written):
            return
        for changed in dict.fromkeys((before[0] if before else handle, handle)):
            self._changes.publish(changed)

"""The bus of changed tasks within one process, and the finding of what changed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from kling_tools.results import ENDED, TaskStatus

if TYPE_CHECKING:
    from kling_mcp.ledger import Record

__all__ = ["Changes", "Noticing"]


class Changes:
    """A bus of the handles (`Record.handle`) of changed tasks. It carries no state: a listener
    looks into the ledger, so a handle that still waits for a listener is not sent twice."""

    def __init__(self) -> None:
        self._listeners: list[_Listener] = []

    @property
    def are_heard(self) -> bool:
        """Whether the bus has a listener."""
        return bool(self._listeners)

    def publish(self, handle: str) -> None:
        """Tell all listeners that the task with this handle changed; never blocks."""
        for listener in self._listeners:
            listener.hear(handle)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[MemoryObjectReceiveStream[str]]:
        """A stream of the handles of tasks that change while the context is held. A handle that
        still waits in the stream is not sent again."""
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
        """Send the handle unless it still waits in the stream. The stream keeps the order, so the
        last handles of `_sent` are those that wait."""
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
"""Rows whose last state is remembered. An older row may be published again without a change."""

_State = tuple[str, TaskStatus, str, float | None, str | None]


class Noticing:
    """Publishes the handle of every row that differs from what this process saw of it last.

    A change by this process is noticed at once. A change by another process is noticed when the
    database tells of it, or when this process reads the row, as the scheduler does while somebody
    waits. `on_write` is called with each row that was written.
    """

    def __init__(
        self, changes: Changes, on_write: Callable[[Record], None] = lambda record: None
    ) -> None:
        self._changes = changes
        self._on_write = on_write
        self._last: dict[str, _State] = {}

    @property
    def unfinished(self) -> list[str]:
        """The ids of the rows whose task had not ended when this process last saw them."""
        return [row_id for row_id, state in self._last.items() if state[1] not in ENDED]

    def __call__(self, record: Record, written: bool) -> None:
        """Compare a row with its last state. A row without one counts as changed if this process
        has just `written` it."""
        if written:
            self._on_write(record)
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

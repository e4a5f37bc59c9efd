"""Which tasks changed: said once by whoever sees it, heard by all who listen in this process."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

__all__ = ["Changes"]


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

"""Breaking a connection on purpose."""

from __future__ import annotations

__all__ = ["ConnectionDropped"]


class ConnectionDropped(OSError):
    """The sandbox broke the connection, as a fault asked it to.

    For whoever serves the app: end the connection here and send nothing more. `serving` does that
    for uvicorn. Through `httpx.ASGITransport` it reaches the caller as it is; a transport around
    it should raise `httpx.RemoteProtocolError` when nothing was answered (`answered` false), else
    `httpx.ReadError`, which is what a client of the served form sees.
    """

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered

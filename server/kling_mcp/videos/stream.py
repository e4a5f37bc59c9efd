"""A video on its way from the provider, from whichever byte the provider chose to start at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

__all__ = ["Download", "VideoStream"]


@dataclass(frozen=True, slots=True)
class VideoStream:
    """The bytes of one answer to one download request.

    `offset` is the byte at which the provider really starts: the one that was asked for after a
    206 with that `Content-Range`, 0 after a 200, which ignores the wish. `total_bytes` is the
    length of the whole file, not of this answer, and None when the provider does not say it.
    A connection that breaks makes `chunks` raise `kling_tools.errors.ProviderDown`.
    """

    offset: int
    total_bytes: int | None
    chunks: AsyncIterator[bytes]


Download = Callable[[int], AbstractAsyncContextManager[VideoStream]]
"""Opens the video from a byte offset on; leaving the context closes the connection."""

"""A video on its way from the provider, from whichever byte the provider chose to start at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

__all__ = ["Download", "VideoStream", "extent"]


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


def extent(http_status: int, headers: Mapping[str, str], asked: int) -> tuple[int, int | None]:
    """Where an answer starts and how long the whole file is, in bytes; a 206 that does not tell
    starts where it was `asked` to."""
    if http_status != 206:
        return 0, _number(headers.get("Content-Length", ""))
    span, _, total = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    start = _number(span.partition("-")[0])
    return asked if start is None else start, _number(total)


LONGEST_NUMBER = 18
"""Digits of a byte count that is believed; Python itself refuses to read thousands of them."""


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= LONGEST_NUMBER else None

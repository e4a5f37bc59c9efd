"""The stream of a video from the provider, which may start at another byte than asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

__all__ = ["Download", "VideoStream", "extent"]


@dataclass(frozen=True, slots=True)
class VideoStream:
    """The bytes of one answer to one download request.

    `offset` is the byte at which the answer starts: the first byte of the `Content-Range` of a 206,
    or 0 for a 200, which ignores the question. `total_bytes` is the length of the whole file, None
    if the provider does not tell it. `chunks` raises `kling_tools.errors.ProviderDown` when the
    connection breaks.
    """

    offset: int
    total_bytes: int | None
    chunks: AsyncIterator[bytes]


Download = Callable[[int], AbstractAsyncContextManager[VideoStream]]
"""Opens the video at a byte offset; leaving the context closes the connection."""


def extent(http_status: int, headers: Mapping[str, str], asked: int) -> tuple[int, int | None]:
    """The byte at which an answer starts, and the length of the whole file in bytes (None if
    unknown). A 206 without a readable `Content-Range` starts at the byte that was `asked` for."""
    if http_status != 206:
        return 0, _number(headers.get("Content-Length", ""))
    span, _, total = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    start = _number(span.partition("-")[0])
    return asked if start is None else start, _number(total)


LONGEST_NUMBER = 18
"""The most digits of a byte count that is read; Python refuses thousands of them."""


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= LONGEST_NUMBER else None

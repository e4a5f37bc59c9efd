"""The body of an answer, inflated where it came compressed, and never more of it than allowed.

A few kilobytes of gzip can stand for gigabytes, so the limit holds while they are inflated.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, Iterator

__all__ = ["ENCODINGS", "UnreadableBody", "read_body"]

ENCODINGS = "gzip"
"""What an Accept-Encoding header may ask for."""

STEP_BYTES = 64 * 1024
"""Bytes that are inflated at once."""

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
_COMPRESSED = ("gzip", "x-gzip", "deflate")
_PLAIN = ("", "identity")


class UnreadableBody(Exception):
    """The body is too long, or not compressed as its header says; the text tells which."""


async def read_body(chunks: AsyncIterable[bytes], encoding: str, limit: int) -> bytes:
    """The bytes behind `chunks`, which are as the Content-Encoding header says.

    Never holds more than `limit` bytes, a chunk and a step. Raises UnreadableBody.
    """
    kind = encoding.strip().lower()
    if kind not in (*_PLAIN, *_COMPRESSED):
        raise UnreadableBody("it is compressed in a way that was not asked for")
    inflater = zlib.decompressobj(_ZLIB_OR_GZIP) if kind in _COMPRESSED else None
    body = bytearray()
    async for chunk in chunks:
        for piece in _inflated(inflater, chunk) if inflater else (chunk,):
            if len(body) + len(piece) > limit:
                body.clear()
                raise UnreadableBody("it is larger than any answer should be")
            body += piece
    if inflater and body and not inflater.eof:
        raise UnreadableBody("it ends in the middle")
    return bytes(body)


def _inflated(inflater: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    """What a chunk stands for, step by step: a step that is full may not have been the last."""
    step = b""
    while not inflater.eof and (chunk or len(step) == STEP_BYTES):
        try:
            step = inflater.decompress(chunk, STEP_BYTES)
        except zlib.error:
            raise UnreadableBody("it is not compressed as it says") from None
        chunk = inflater.unconsumed_tail
        yield step

"""Bytes as base64 text, made piece by piece, so that no picture stands in memory whole."""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Protocol

__all__ = ["CHUNK_BYTES", "ByteSource", "SourceChanged", "StreamedBase64", "size_text"]

CHUNK_BYTES = 144 * 1024
"""Bytes read at a time: a multiple of 3, which base64 turns into 192 KiB without padding."""

_MB = 1024 * 1024


def size_text(size_bytes: int) -> str:
    """A size for people: "812 bytes", "12 KB", "3.4 MB" (1 MB = 1,048,576 bytes)."""
    if size_bytes < 1024:
        return f"{size_bytes} bytes"
    if size_bytes < _MB:
        return f"{size_bytes / 1024:.0f} KB"
    return f"{size_bytes / _MB:.1f} MB"


class SourceChanged(Exception):
    """The bytes behind a `StreamedBase64` are no longer those that were checked."""


class ByteSource(Protocol):
    """Bytes of known size that can be read at any place, any number of times."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly the `length` bytes from `offset` on; raises `SourceChanged` when it cannot."""


class StreamedBase64:
    """Base64 text of a source, made in chunks each time it is iterated.

    `label` is what a person may see instead of the text. Iterating yields ASCII bytes,
    `encoded_length` of them in all, and raises `SourceChanged` when the source was altered.
    """

    def __init__(self, source: ByteSource, label: str) -> None:
        self._source = source
        self.label = label
        self.encoded_length = (source.size + 2) // 3 * 4
        self.chunks = -(-source.size // CHUNK_BYTES)

    def __iter__(self) -> Iterator[bytes]:
        size = self._source.size
        for offset in range(0, size, CHUNK_BYTES):
            piece = self._source.read_at(offset, min(CHUNK_BYTES, size - offset))
            yield binascii.b2a_base64(piece, newline=False)

    def __repr__(self) -> str:
        return f"<base64 of {self.label}, {size_text(self._source.size)}>"

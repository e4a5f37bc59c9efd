"""Open files of pictures: the bytes that were checked are the bytes that are sent.

Their base64 text is made in pieces, so that no picture is in memory as a whole.
"""

from __future__ import annotations

import binascii
import hashlib
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = [
    "CHUNK_BYTES",
    "ByteSource",
    "HeldFile",
    "SourceChanged",
    "StreamedBase64",
    "TooMuchToRead",
    "held_file",
    "size_text",
]


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
    """The bytes of a file changed after they were checked."""


class ByteSource(Protocol):
    """Bytes of known size that can be read at any place and again."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset` on; raises `SourceChanged` if they cannot be
        read."""


class StreamedBase64:
    """The base64 text of a source, made in chunks by each iteration.

    `label` stands for the text when a person reads it. Iterating yields `encoded_length` ASCII
    bytes in `chunks` pieces, and raises `SourceChanged` when the source was altered.
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


VIEW_BYTES = 256 * 1024 * 1024
VIEW_READS = 1_000_000
"""The most bytes, and the most reads, of one decoder; a GIF takes two reads for 256 bytes."""


class TooMuchToRead(ValueError):
    """A decoder reads more bytes, or more often, than any picture needs."""


class HeldFile:
    """An open file that is read by position, and only while it is unchanged since it was opened.

    Several pictures may share it, each under its own name; the file closes when the last of them
    lets go. `size` is in bytes, `label` is safe to show.
    """

    def __init__(self, file: IO[bytes], label: str) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._users: set[str] = set()
        self.label = label
        self.size, self._written_ns = self._state()

    def hold(self, user: str) -> HeldFile:
        """Keep the file open until `user` lets go, too. Returns the file itself."""
        with self._lock:
            self._users.add(user)
        return self

    def let_go(self, user: str) -> None:
        """End one user's hold; twice is harmless."""
        with self._lock:
            self._users.discard(user)
            if not self._users:
                self._file.close()

    @property
    def closed(self) -> bool:
        """Whether the last user has let go."""
        return self._file.closed

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset` on.

        Raises `SourceChanged` when the file is shorter, was written to since it was opened, or can
        no longer be read.
        """
        try:
            data = self._read_once(offset, length)
            while len(data) < length:
                more = self._read_once(offset + len(data), length - len(data))
                if not more:
                    raise SourceChanged(f"{self.label} became shorter while it was being read")
                data += more
            state = self._state()
        except OSError as error:
            reason = error.strerror or "read error"
            raise SourceChanged(f"{self.label} cannot be read any more ({reason})") from error
        if state != (self.size, self._written_ns):
            raise SourceChanged(f"{self.label} was changed while it was being read")
        return data

    def head(self, length: int) -> bytes:
        """The first `length` bytes, fewer when the file is shorter; raises `SourceChanged`."""
        return self.read_at(0, min(length, self.size))

    def view(self, most_bytes: int = VIEW_BYTES, most_reads: int = VIEW_READS) -> IO[bytes]:
        """The file as a stream with its own position, for a decoder. A read after `most_bytes`
        bytes or `most_reads` reads raises `TooMuchToRead`."""
        return _Rationed(_View(self), most_bytes, most_reads)

    def digest(self) -> str:
        """The SHA-256 of all bytes in hex; raises `SourceChanged`."""
        sha256 = hashlib.sha256()
        for offset in range(0, self.size, CHUNK_BYTES):
            sha256.update(self.read_at(offset, min(CHUNK_BYTES, self.size - offset)))
        return sha256.hexdigest()

    def _state(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def _read_once(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), length, offset)
        with self._lock:  # Windows has no pread
            os.lseek(self._file.fileno(), offset, os.SEEK_SET)
            return os.read(self._file.fileno(), length)


def held_file(path: Path, label: str) -> HeldFile:
    """The file of this program's own at a path, open; raises `OSError`."""
    return HeldFile(path.open("rb", buffering=0), label)


class _Rationed(io.BufferedReader):
    def __init__(self, view: _View, most_bytes: int, most_reads: int) -> None:
        super().__init__(view)
        self._size = view.size
        self._bytes_left = most_bytes
        self._reads_left = most_reads

    def read(self, size: int | None = -1, /) -> bytes:
        rest = max(0, self._size - self.tell())
        wanted = rest if size is None or size < 0 else min(size, rest)
        self._bytes_left -= wanted
        self._reads_left -= 1
        if self._bytes_left < 0 or self._reads_left < 0:
            raise TooMuchToRead("more is read than any picture needs")
        return super().read(wanted)


class _View(io.RawIOBase):
    def __init__(self, held: HeldFile) -> None:
        super().__init__()
        self._held = held
        self._position = 0
        self.size = held.size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._held.size}[whence]
        if start + offset < 0:
            raise ValueError("a position before the first byte")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        length = max(0, min(len(target), self._held.size - self._position))
        target[:length] = self._held.read_at(self._position, length)
        self._position += length
        return length

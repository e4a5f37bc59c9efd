"""One long base64 string of a request on its way from the wire into a file."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["REST_LIMIT_BYTES", "BodyTooLong", "Lift", "Lifted"]

REST_LIMIT_BYTES = 4_000_000
"""The most that a body may hold besides its pictures."""


class BodyTooLong(ValueError):
    """For whoever sent it: the body holds too much that is not a picture."""


@dataclass(frozen=True, slots=True)
class Lifted:
    """A long base64 string of a request, decoded into a file.

    `size` is bytes of the file, `sha256` their hash in hex. The file is the intake's and gone
    when it closes, unless it is moved away.
    """

    path: Path
    size: int
    sha256: str

    def text(self) -> str:
        """The string as it was sent."""
        return base64.b64encode(self.path.read_bytes()).decode("ascii")


class Lift:
    """A base64 string being decoded into a file; a few characters of it wait in memory.

    `padding` is what came of `=` so far, `slash` whether a backslash waits for its second half.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.padding = b""
        self.slash = False
        self._hash = hashlib.sha256()
        self._waiting = b""
        self._file: BinaryIO = path.open("wb")

    def add(self, chars: bytes) -> None:
        """Decode characters of the plain alphabet, no padding among them."""
        chars = self._waiting + chars
        whole = len(chars) & ~3
        self._waiting = chars[whole:]
        self._write(binascii.a2b_base64(chars[:whole]))

    def finish(self) -> Lifted | None:
        """The file, now that the string has ended; None if it is not base64.

        What base64 would not give back unchanged is not base64 here.
        """
        last = self._waiting + self.padding
        try:
            decoded = binascii.a2b_base64(last, strict_mode=True) if last else b""
        except binascii.Error:
            return None
        if binascii.b2a_base64(decoded, newline=False) != last:
            return None
        self._write(decoded)
        self._file.close()
        return Lifted(self.path, self.size, self._hash.hexdigest())

    def give_back(self) -> bytes:
        """All characters so far; the file is removed. Raises `BodyTooLong` for very many."""
        self._file.close()
        if self.size > REST_LIMIT_BYTES:
            raise BodyTooLong("a long string is neither base64 nor text of a tolerable length")
        chars = base64.b64encode(self.path.read_bytes()) + self._waiting + self.padding
        self.path.unlink()
        return chars

    def close(self) -> None:
        """Close and remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)

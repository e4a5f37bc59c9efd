"""Reads a request body as it arrives, and decodes its long base64 strings into files."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

__all__ = ["LIFT_FROM_CHARS", "REST_LIMIT_BYTES", "BodyTooLong", "Intake", "Lift", "Lifted"]


REST_LIMIT_BYTES = 4_000_000
"""Most bytes of a body, pictures not counted."""


class BodyTooLong(ValueError):
    """For the sender: the body contains too much that is not a picture."""


@dataclass(frozen=True, slots=True)
class Lifted:
    """A long base64 string of a request, decoded into a file.

    `size` is the file's bytes, `sha256` their hash in hex. The intake removes the file when it
    closes, unless the file was moved.
    """

    path: Path
    size: int
    sha256: str

    def text(self) -> str:
        """The string as it was sent."""
        return base64.b64encode(self.path.read_bytes()).decode("ascii")


class Lift:
    """A base64 string that is being decoded into a file; a few characters wait in memory.

    `padding` holds the `=` so far. `slash` is True when a backslash waits for its second half.
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
        """Decode characters of the base64 alphabet, without padding."""
        chars = self._waiting + chars
        whole = len(chars) & ~3
        self._waiting = chars[whole:]
        self._write(binascii.a2b_base64(chars[:whole]))

    def finish(self) -> Lifted | None:
        """End the string. Returns its file; None when the string is not canonical base64."""
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
        """Remove the file and return all characters so far. Raises `BodyTooLong` for too many."""
        self._file.close()
        if self.size > REST_LIMIT_BYTES:
            raise BodyTooLong("a long string is not base64 and too long for text")
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


LIFT_FROM_CHARS = 16_384
"""Strings of fewer characters stay in the JSON."""

_SLICE_BYTES = 65_536
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_STOPS = re.compile(rb'["\\]')


class Intake:
    """Reads one request body. Inside a `with`, call `feed` for each piece, then `document`.

    The files are in `folder` (made if missing). The end of the `with` removes those that were not
    moved.
    """

    def __init__(self, folder: Path, *, lift_from: int = LIFT_FROM_CHARS) -> None:
        self._folder = folder
        self._lift_from = lift_from
        self._token = f"lifted-{secrets.token_hex(16)}-"
        self._rest = bytearray()
        self._string_from: int | None = None
        self._escaped = False
        self._plain = False
        self._lift: Lift | None = None
        self._lifted: dict[str, Lifted] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lift is not None:
            self._lift.close()
        for lifted in self._lifted.values():
            lifted.path.unlink(missing_ok=True)

    def feed(self, chunk: bytes) -> None:
        """Read the next piece of the body. Raises `BodyTooLong`, or `OSError` of the disk."""
        view = memoryview(chunk)
        for start in range(0, len(view), _SLICE_BYTES):
            self._take(bytes(view[start : start + _SLICE_BYTES]))
            if len(self._rest) > REST_LIMIT_BYTES:
                raise BodyTooLong("the body contains too much that is not a picture")

    def document(self) -> Any:
        """The JSON document, with a `Lifted` for each long base64 string.

        Raises `ValueError` when the body is not JSON in UTF-8 (NaN and Infinity are not JSON) or
        is nested too deep.
        """
        if self._lift is not None:
            raise ValueError("the body ends within a string")
        try:
            loaded = json.loads(
                self._rest.decode("utf-8"),
                parse_constant=_no_constant,
                object_pairs_hook=self._keys_restored,
            )
            return self._restored(loaded)
        except RecursionError:
            raise ValueError("the body nests too deep") from None

    def _take(self, piece: bytes) -> None:
        at = 0
        while at < len(piece):
            if self._lift is not None:
                at = self._take_lifted(self._lift, piece, at)
            elif self._string_from is not None:
                at = self._take_string(piece, at)
            else:
                at = self._take_structure(piece, at)

    def _take_structure(self, piece: bytes, at: int) -> int:
        quote = piece.find(b'"', at)
        if quote < 0:
            self._rest += piece[at:]
            return len(piece)
        self._rest += piece[at : quote + 1]
        self._string_from, self._plain, self._escaped = len(self._rest), True, False
        return quote + 1

    def _take_string(self, piece: bytes, at: int) -> int:
        if self._escaped:
            self._rest += piece[at : at + 1]
            self._escaped = False
            self._plain = self._plain and piece[at : at + 1] == b"/"
            return at + 1
        stop = _STOPS.search(piece, at)
        end = stop.start() if stop else len(piece)
        if self._plain and end - at >= self._room():
            end = at + self._room()
            self._rest += piece[at:end]
            self._begin_lift()
            return end
        self._rest += piece[at:end]
        if stop is None:
            return end
        self._rest += stop[0]
        if stop[0] == b'"':
            self._string_from = None
        else:
            self._escaped = True
        return end + 1

    def _room(self) -> int:
        """Characters until a string is long enough to be decoded into a file."""
        return max(0, self._lift_from - (len(self._rest) - (self._string_from or 0)))

    def _begin_lift(self) -> None:
        """Move the string into a file, if it is base64 so far."""
        begun = bytes(self._rest[self._string_from :]).replace(b"\\/", b"/")
        if begun.translate(None, _ALPHABET):
            self._plain = False
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lift = Lift(self._folder / f"{self._token}{len(self._lifted)}")
        self._lift.add(begun)
        del self._rest[self._string_from :]

    def _take_lifted(self, lift: Lift, piece: bytes, at: int) -> int:
        """Read characters of a string that goes to disk. PHP writes slashes as `\\/`."""
        if lift.slash:
            if piece[at : at + 1] != b"/" or lift.padding:
                return self._fall_back(lift, at)
            lift.slash = False
            lift.add(b"/")
            return at + 1
        quote = piece.find(b'"', at)
        end = quote if quote >= 0 else len(piece)
        segment = piece[at:end]
        half = quote < 0 and segment.endswith(b"\\")
        chars = segment[: len(segment) - half].replace(b"\\/", b"/")
        plain = chars.rstrip(b"=")
        padding = lift.padding + chars[len(plain) :]
        if plain.translate(None, _ALPHABET) or (plain and lift.padding) or len(padding) > 2:
            return self._fall_back(lift, at)
        lift.add(plain)
        lift.padding, lift.slash = padding, half
        if quote >= 0:
            self._end_lift(lift)
            return end + 1
        return end

    def _end_lift(self, lift: Lift) -> None:
        lifted = lift.finish()
        if lifted is None:
            self._rest += lift.give_back()
        else:
            self._lifted[lift.path.name] = lifted
            self._rest += lift.path.name.encode("ascii")
        self._rest += b'"'
        self._lift = self._string_from = None

    def _fall_back(self, lift: Lift, at: int) -> int:
        """The string turned out not to be base64: it continues as text."""
        self._rest += lift.give_back()
        if lift.slash:
            self._rest += b"\\"
        self._lift, self._plain, self._escaped = None, False, lift.slash
        return at

    def _keys_restored(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {
            (self._lifted[key].text() if key in self._lifted else key): value
            for key, value in pairs
        }

    def _restored(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._lifted.get(value, value)
        if isinstance(value, list):
            return [self._restored(item) for item in value]
        if isinstance(value, dict):
            return {key: self._restored(item) for key, item in value.items()}
        return value


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")

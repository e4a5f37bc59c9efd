"""Pictures given as text: base64, bare or in a `data:` URI."""

from __future__ import annotations

import binascii
import re
import string
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes

from kling_mcp.inputs.decoding import DECODING, Decoding
from kling_mcp.inputs.file_type import EMPTY, HEAD_BYTES, TEXT, UNKNOWN, detect, is_whole
from kling_mcp.inputs.held import HeldFile, size_text
from kling_mcp.inputs.refusal import FORMS, SOURCE, Refusal

__all__ = ["decode_base64", "decode_data_uri", "keep", "looks_like_base64"]

TEXT_MAX = 100 * 1024 * 1024
"""The most characters of base64 that are decoded."""

LABEL = "inline picture"

_STEP = 256 * 1024
_ESCAPED_STEP = 16 * 1024
"""Characters of escaped text that are read at once; an escape takes a hundred times its size."""

_NEAR = 40
"""The characters before the comma of a `data:` URI that may hold `;base64`."""

_URLSAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = string.whitespace.encode()
_ALPHABET = re.compile(r"[A-Za-z0-9+/_\-\s]*(?:={1,2}\s*)?")
_PEEK = 88


def looks_like_base64(text: str) -> bool:
    """Whether `text` begins as base64 of a picture or another binary file with a signature."""
    head = text[:_PEEK]
    if not _ALPHABET.fullmatch(head):
        return False
    packed = "".join(head.split()).rstrip("=")
    start = _decode(packed[: len(packed) // 4 * 4].encode().translate(_URLSAFE))
    return detect(start) not in (EMPTY, TEXT, UNKNOWN)


def decode_data_uri(uri: str, decoding: Decoding = DECODING) -> HeldFile:
    """The bytes of a `data:` URI, base64 or percent-encoded, as a temporary file.

    It ignores the media type of the URI, and reads base64 as `decode_base64` does. Raises
    `Refusal`.
    """
    _refuse_long(uri)
    comma = uri.find(",")
    if comma < 0:
        raise _unreadable("the data: URI has no comma in front of its data")
    escaped = uri.find("%", comma) >= 0
    if uri[max(0, comma - _NEAR) : comma].replace(" ", "").lower().endswith(";base64"):
        return _kept_base64(_Base64(uri, comma + 1, escaped), decoding)
    if not uri.isascii():
        raise _unreadable("the data: URI contains characters that no URI may contain")
    return keep(map(unquote_to_bytes, _pieces(uri, comma + 1, escaped=escaped)))


def decode_base64(text: str, decoding: Decoding = DECODING) -> HeldFile:
    """The decoded bytes of base64 `text`, as a temporary file that is deleted when it is closed.

    Whitespace, the URL-safe alphabet and missing padding are accepted. A space counts as `+`, which
    web forms turn into a space, if that makes a whole picture. Raises `Refusal`.
    """
    _refuse_long(text)
    return _kept_base64(_Base64(text, 0), decoding)


@dataclass(frozen=True, slots=True)
class _Base64:
    """Base64 in a text from `start` on; `escaped` if it has escapes such as %2B."""

    text: str
    start: int
    escaped: bool = False

    def pieces(self) -> Iterator[str]:
        pieces = _pieces(self.text, self.start, escaped=self.escaped)
        return map(unquote, pieces) if self.escaped else pieces

    @property
    def has_spaces(self) -> bool:
        return any(" " in piece for piece in self.pieces())


def _kept_base64(given: _Base64, decoding: Decoding) -> HeldFile:
    if given.has_spaces and (repaired := _with_pluses(given, decoding)):
        return repaired
    try:
        return keep(_decoded(given.pieces()))
    except ValueError:
        raise _unreadable("this is not readable base64 of a picture") from None


def _with_pluses(given: _Base64, decoding: Decoding) -> HeldFile | None:
    """The picture with `+` for each space; None if that makes no whole picture."""
    try:
        held = keep(_decoded(piece.replace(" ", "+") for piece in given.pieces()))
    except ValueError:
        return None
    file_type = detect(held.head(HEAD_BYTES))
    if file_type.opener() and is_whole(held, file_type, decoding):
        return held
    held.let_go("")
    return None


def _pieces(text: str, start: int, *, escaped: bool = False) -> Iterator[str]:
    """The text from `start` on in pieces; no piece ends inside an escape such as %2B."""
    step = _ESCAPED_STEP if escaped else _STEP
    while start < len(text):
        end = start + step
        cut = text.find("%", end - 2, end) if escaped else -1
        end = cut if start < cut < end else end
        yield text[start:end]
        start = end


def _decoded(pieces: Iterable[str]) -> Iterator[bytes]:
    """The decoded bytes piece by piece; raises `ValueError`."""
    packed, padded = b"", False
    for piece in pieces:
        data = piece.encode("ascii").translate(_URLSAFE, _BLANKS)
        plain = data.rstrip(b"=")
        if padded and plain:
            raise ValueError("padding inside the data")
        padded = padded or len(plain) < len(data)
        packed += plain
        whole = len(packed) // 4 * 4
        yield _decode(packed[:whole])
        packed = packed[whole:]
    yield _decode(packed + b"=" * (-len(packed) % 4), padded=True)


def _decode(packed: bytes, *, padded: bool = False) -> bytes:
    if b"=" in packed and not padded:
        raise ValueError("padding inside the data")
    return binascii.a2b_base64(packed, strict_mode=True)


def keep(pieces: Iterable[bytes], label: str = LABEL) -> HeldFile:
    """The bytes as a temporary file that is deleted when it is closed; raises `OSError`."""
    with ExitStack() as undo:
        file = undo.enter_context(tempfile.TemporaryFile(buffering=0))
        for piece in pieces:
            file.write(piece)
        undo.pop_all()
    return HeldFile(file, label)


def _refuse_long(text: str) -> None:
    if len(text) > TEXT_MAX:
        raise Refusal(
            "image_bytes",
            f"the base64 text is {size_text(len(text))} long; nothing above "
            f"{size_text(TEXT_MAX)} is decoded.",
            "a picture of at most 10 MB",
            SOURCE,
        )


def _unreadable(reason: str) -> Refusal:
    return Refusal("base64_unreadable", f"{reason}.", FORMS)

"""The type and size of a picture, read from the first bytes of its file."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

__all__ = ["ImageHeader", "read_header"]

_PNG = b"\x89PNG\r\n\x1a\n"
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
_END_WINDOW = 65_536


class ImageHeader(NamedTuple):
    """`kind` is the file's real type, `width` and `height` are px as stored, not as turned."""

    kind: Literal["png", "jpg"]
    width: int
    height: int


def read_header(path: Path) -> ImageHeader | None:
    """What the file is; None when it is no whole PNG or JPEG. Raises `OSError` of the disk."""
    with path.open("rb") as file:
        start = file.read(24)
        if start.startswith(_PNG) and start[12:16] == b"IHDR" and len(start) == 24:
            sides = int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
            return ImageHeader("png", *sides) if _ends_with(file, b"IEND") else None
        if start.startswith(b"\xff\xd8"):
            file.seek(2)
            found = _jpeg_size(file)
            return ImageHeader("jpg", *found) if found and _ends_with(file, b"\xff\xd9") else None
    return None


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height from the first frame header, skipping every segment before it."""
    while True:
        lead = file.read(2)
        if len(lead) < 2 or lead[0] != 0xFF:
            return None
        if lead[1] == 0xFF:
            file.seek(-1, 1)
            continue
        if lead[1] in _BARE_MARKERS:
            continue
        length = int.from_bytes(file.read(2), "big")
        if length < 2:
            return None
        if lead[1] in _SIZE_MARKERS:
            frame = file.read(5)
            if len(frame) < 5:
                return None
            return int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
        file.seek(length - 2, 1)


def _ends_with(file: BinaryIO, mark: bytes) -> bool:
    """Whether the end mark stands in the last bytes; cameras put their own data behind it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_WINDOW))
    return mark in file.read()

"""The boxes that an MP4 file is made of (ISO/IEC 14496-12, section 4.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["BOXES_MAX", "Box", "NotWholeMp4", "boxes_in", "top_level_boxes"]

BOXES_MAX = 10_000
"""Boxes in one container: a clip of 15 s in a fragment for each frame has 1,800."""

_SHORT_HEADER = 8
_LONG_HEADER = 16
_SIZE_FOLLOWS_IN_64_BITS = 1
_TO_THE_END = 0


class NotWholeMp4(ValueError):
    """The bytes are not one complete MP4 file; `reason` says in a sentence what is wrong."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Box:
    """One box: `kind` is its four-character type, `body` and `end` are byte offsets.

    The offsets count from the start of the file for `top_level_boxes` and from the start of the
    buffer for `boxes_in`.
    """

    kind: bytes
    body: int
    end: int

    @property
    def body_bytes(self) -> int:
        """Bytes of content behind the header."""
        return self.end - self.body


def _header(head: bytes, start: int, limit: int) -> Box:
    if len(head) < _SHORT_HEADER:
        raise NotWholeMp4(f"The file is cut short: it ends inside a box header at byte {start}.")
    size, kind = struct.unpack_from(">I4s", head)
    header = _SHORT_HEADER
    if size == _SIZE_FOLLOWS_IN_64_BITS:
        if len(head) < _LONG_HEADER:
            raise NotWholeMp4(
                f"The file is cut short: it ends inside a box header at byte {start}."
            )
        (size,) = struct.unpack_from(">Q", head, _SHORT_HEADER)
        header = _LONG_HEADER
    elif size == _TO_THE_END:
        size = limit - start
    if size < header:
        raise NotWholeMp4(f"The file is damaged: the box at byte {start} says it is {size} bytes.")
    if start + size > limit:
        raise NotWholeMp4(
            f"The file is cut short: its {_shown(kind)} box should end at byte {start + size}, "
            f"{start + size - limit} bytes behind the end."
        )
    return Box(kind, start + header, start + size)


def _shown(kind: bytes) -> str:
    """A box type as text; types of damaged files can be any four bytes."""
    text = kind.decode("latin-1")
    return text if text.isascii() and text.isprintable() else kind.hex()


def top_level_boxes(file: BinaryIO, size: int) -> Iterator[Box]:
    """The boxes of an open file of `size` bytes, in order; only their headers are read.

    Raises `NotWholeMp4` when a box does not end within the file, and for too many boxes.
    """
    start = boxes = 0
    while start < size:
        boxes = _one_more(boxes)
        file.seek(start)
        box = _header(file.read(_LONG_HEADER), start, size)
        yield box
        start = box.end


def boxes_in(buffer: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes between two offsets of a buffer, for the content of a container box.

    Raises `NotWholeMp4` when a box does not end within its container, and for too many boxes.
    """
    boxes = 0
    while start < end:
        boxes = _one_more(boxes)
        try:
            box = _header(buffer[start : min(start + _LONG_HEADER, end)], start, end)
        except NotWholeMp4:
            raise NotWholeMp4(
                "The file is damaged: a box does not fit the one around it."
            ) from None
        yield box
        start = box.end


def _one_more(boxes: int) -> int:
    if boxes == BOXES_MAX:
        raise NotWholeMp4(f"The file is damaged: it has more than {BOXES_MAX:,} boxes in a row.")
    return boxes + 1

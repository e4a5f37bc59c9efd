"""The boxes that an MP4 file is made of, and its sample tables: where each frame lies in the file
(ISO/IEC 14496-12, sections 4.2 and 8.7.3 to 8.7.5)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import IO

__all__ = [
    "BOXES_MAX",
    "Box",
    "NotWholeMp4",
    "SampleTable",
    "boxes_in",
    "claimed_entries",
    "sample_tables",
    "top_level_boxes",
]

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


def top_level_boxes(file: IO[bytes], size: int) -> Iterator[Box]:
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


_PATH_TO_TABLE = (b"trak", b"mdia", b"minf", b"stbl")
_COUNT_AT = 4
_SIZES_AT = 12
_OFFSET_CODES = {b"stco": ">%dI", b"co64": ">%dQ"}
_COMPACT_SIZES = b"stz2"
_RUN_BYTES = 12


class SampleTable:
    """The sample table of one track: how many samples it has and where the last of them ends."""

    def __init__(self, moov: bytes, table: Box) -> None:
        self._moov = moov
        self._boxes = {box.kind: box for box in boxes_in(moov, table.body, table.end)}

    @property
    def samples(self) -> int:
        """How many samples (frames, for video) the track has outside movie fragments.

        Raises `NotWholeMp4` when the table is damaged.
        """
        box = self._boxes.get(b"stsz") or self._boxes.get(_COMPACT_SIZES)
        return self._numbers(box, ">I", _COUNT_AT + 4)[0] if box else 0

    def furthest_byte(self) -> int:
        """The byte offset, from the start of the file, behind the sample that ends last.

        0 for a track without samples. Raises `NotWholeMp4` when the table is damaged.
        """
        total = self.samples
        if total == 0:
            return 0
        ends = self._sizes_up_to(total)
        offsets = self._chunk_offsets()
        furthest = first = 0
        for offset, length in zip(offsets, self._chunk_lengths(len(offsets)), strict=False):
            last = min(first + length, total)
            furthest = max(furthest, offset + ends(last) - ends(first))
            first = last
        if first < total:
            raise NotWholeMp4("The file is damaged: its index places only some of its frames.")
        return furthest

    def _sizes_up_to(self, total: int) -> _RunningSize:
        box = self._boxes.get(b"stsz")
        if box is None:
            return _RunningSize.of_list(self._compact_sizes(total))
        (fixed,) = self._numbers(box, ">I", _COUNT_AT)
        if fixed:
            return _RunningSize(fixed, ())
        return _RunningSize.of_list(self._numbers(box, f">{total}I", _SIZES_AT))

    def _compact_sizes(self, total: int) -> tuple[int, ...]:
        box = self._boxes[_COMPACT_SIZES]
        bits = self._numbers(box, ">B", _COUNT_AT + 3)[0]
        if bits == 16:
            return self._numbers(box, f">{total}H", _SIZES_AT)
        if bits == 8:
            return self._numbers(box, f">{total}B", _SIZES_AT)
        if bits == 4:
            packed = self._numbers(box, f">{(total + 1) // 2}B", _SIZES_AT)
            return tuple(size for byte in packed for size in (byte >> 4, byte & 15))[:total]
        raise NotWholeMp4(f"The file is damaged: its frame sizes are said to have {bits} bits.")

    def _chunk_offsets(self) -> tuple[int, ...]:
        for kind, code in _OFFSET_CODES.items():
            if box := self._boxes.get(kind):
                (count,) = self._numbers(box, ">I", _COUNT_AT)
                return self._numbers(box, code % count, _COUNT_AT + 4)
        raise NotWholeMp4("The file is damaged: its index does not say where its frames lie.")

    def _chunk_lengths(self, chunks: int) -> Iterator[int]:
        """Samples in each chunk, in order."""
        box = self._boxes.get(b"stsc")
        if box is None:
            raise NotWholeMp4("The file is damaged: its index does not group its frames.")
        (count,) = self._numbers(box, ">I", _COUNT_AT)
        self._demand(box, _COUNT_AT + 4 + count * _RUN_BYTES)
        flat = self._numbers(box, f">{count * 3}I", _COUNT_AT + 4)
        starts, lengths = flat[0::3], flat[1::3]
        for start, length, following in zip(
            starts, lengths, (*starts[1:], chunks + 1), strict=False
        ):
            for _ in range(min(following, chunks + 1) - start):
                yield length

    def _numbers(self, box: Box, code: str, at: int) -> tuple[int, ...]:
        self._demand(box, at + struct.calcsize(code))
        return struct.unpack_from(code, self._moov, box.body + at)

    def _demand(self, box: Box, size: int) -> None:
        if size > box.body_bytes:
            name = box.kind.decode("latin-1")
            raise NotWholeMp4(f"The file is damaged: its {name} table is shorter than it says.")


class _RunningSize:
    """Bytes of the first n samples, from a fixed size or from a list of sizes."""

    def __init__(self, fixed: int, sums: tuple[int, ...]) -> None:
        self._fixed = fixed
        self._sums = sums

    @classmethod
    def of_list(cls, sizes: tuple[int, ...]) -> _RunningSize:
        return cls(0, tuple(accumulate(sizes, initial=0)))

    def __call__(self, samples: int) -> int:
        return self._sums[samples] if self._sums else samples * self._fixed


def sample_tables(moov: bytes) -> Iterator[SampleTable]:
    """The sample table of each track, from the content of a `moov` box.

    Raises `NotWholeMp4` when a box inside does not end within its container.
    """
    for table in _descend(moov, Box(b"moov", 0, len(moov)), _PATH_TO_TABLE):
        yield SampleTable(moov, table)


def claimed_entries(container: bytes, path: tuple[bytes, ...]) -> int:
    """How many entries the tables at a path claim to have, all together: FFmpeg makes room for as
    many, whatever the file holds. `container` is the content of a box.

    Raises `NotWholeMp4` when a box inside does not end within its container.
    """
    whole = Box(b"", 0, len(container))
    counts = [
        container[box.body + _COUNT_AT : box.body + _COUNT_AT + 4]
        for box in _descend(container, whole, path)
    ]
    return sum(int.from_bytes(count, "big") for count in counts)


def _descend(moov: bytes, parent: Box, path: tuple[bytes, ...]) -> Iterator[Box]:
    for box in boxes_in(moov, parent.body, parent.end):
        if box.kind == path[0]:
            if len(path) == 1:
                yield box
            else:
                yield from _descend(moov, box, path[1:])

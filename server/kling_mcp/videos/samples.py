"""Where an MP4's tables say that its frames lie (ISO/IEC 14496-12, sections 8.7.3 to 8.7.5)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import accumulate

from kling_mcp.videos.boxes import Box, NotWholeMp4, boxes_in

__all__ = ["SampleTable", "sample_tables"]

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


def _descend(moov: bytes, parent: Box, path: tuple[bytes, ...]) -> Iterator[Box]:
    for box in boxes_in(moov, parent.body, parent.end):
        if box.kind == path[0]:
            if len(path) == 1:
                yield box
            else:
                yield from _descend(moov, box, path[1:])

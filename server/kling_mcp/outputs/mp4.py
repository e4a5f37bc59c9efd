"""Whether a video file is a whole MP4: where its tables say that its frames lie (ISO/IEC 14496-12,
sections 8.7.3 to 8.7.5), and what FFmpeg reads of it.

The tables are read here, before FFmpeg: it makes room for every frame that a table claims, and
ends without a word where whole frames are missing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from kling_mcp.outputs.boxes import Box, NotWholeMp4, boxes_in, top_level_boxes

if TYPE_CHECKING:
    from av import VideoCodecContext
    from av.container import InputContainer

__all__ = [
    "Mp4Facts",
    "NotWholeMp4",
    "SampleTable",
    "check",
    "check_structure",
    "claimed",
    "open_mp4",
    "sample_tables",
]


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


def claimed(container: bytes, path: tuple[bytes, ...]) -> int:
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


INDEX_LIMIT_BYTES = 2 * 1024 * 1024
"""The largest `moov`, or `moof`, that is read; the `moov` of a clip of 15 s has some 10 kB."""

SAMPLES_MAX = 500_000
"""Samples that FFmpeg is let make room for: each takes 24 bytes of memory and none of the file's
where their size is given once. A clip of 15 s has some 1,100, sound included."""

DECODED_PIXELS_MAX = 4096 * 4096
"""Pixels of the largest frames that are decoded. Larger videos are saved all the same."""

_OTHER_BEGINNINGS = {
    b"<": "a web page",
    b"{": "a JSON answer",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"RIFF": "a WebP or AVI file",
    b"\x1a\x45\xdf\xa3": "a WebM or Matroska file",
}


@dataclass(frozen=True, slots=True)
class Mp4Facts:
    """What a video file holds: seconds, pixels as stored, frames per second, bytes.

    `video_codec` is FFmpeg's name, such as `h264`. What FFmpeg cannot tell is 0 or `unknown`.
    """

    duration_s: float
    width: int
    height: int
    fps: float
    bytes: int
    video_codec: str
    has_audio: bool


def check(path: Path) -> Mp4Facts:
    """The facts of a video file, if it is a whole one.

    Whole means: every box ends within the file, the index (`moov`) and media data (`mdat`) are
    there, and each frame that the index names lies within the file. Frames are not decoded. A
    fragmented file that was cut exactly between two fragments is a whole, shorter video.

    Raises `NotWholeMp4` when it is not whole, `OSError` when the file cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        check_structure(file, size)
        return _read_facts(file, size)


def check_structure(file: BinaryIO, size: int) -> None:
    """Raises `NotWholeMp4` when the file of `size` bytes is not whole, or would take FFmpeg more
    memory than any clip does. It is read from its first byte on afterwards."""
    if size == 0:
        raise NotWholeMp4("The file is empty.")
    _check_beginning(file)
    boxes = list(top_level_boxes(file, size))
    index = next((box for box in boxes if box.kind == b"moov"), None)
    if index is None:
        raise NotWholeMp4("The file is cut short: it has no index (moov box).")
    if all(box.kind != b"mdat" for box in boxes):
        raise NotWholeMp4("The file is cut short: it holds no media data (mdat box).")
    fragments = _check_fragments(boxes)
    _check_claims(file, boxes)
    furthest, samples = _measure_samples(file, index)
    if furthest > size:
        raise NotWholeMp4(
            f"The file is cut short: its last frame should end at byte {furthest}, "
            f"{furthest - size} bytes behind the end."
        )
    if not samples and not fragments:
        raise NotWholeMp4("The file holds no frames.")
    file.seek(0)


def _check_beginning(file: BinaryIO) -> None:
    file.seek(0)
    head = file.read(8)
    if head[4:8] == b"ftyp":
        return
    for start, name in _OTHER_BEGINNINGS.items():
        if head.startswith(start):
            raise NotWholeMp4(f"The file is not an MP4 but looks like {name}.")
    raise NotWholeMp4("The file is not an MP4: it does not begin with an ftyp box.")


def _check_fragments(boxes: list[Box]) -> int:
    """How many movie fragments there are; each has to be followed by its media data."""
    kinds = [box.kind for box in boxes if box.kind in (b"moof", b"mdat")]
    for kind, following in zip(kinds, [*kinds[1:], b""], strict=True):
        if kind == b"moof" and following != b"mdat":
            raise NotWholeMp4("The file is cut short: a fragment has no media data.")
    return kinds.count(b"moof")


def _check_claims(file: BinaryIO, boxes: list[Box]) -> None:
    """Few bytes can claim many samples, and each entry of an edit list has them all made anew."""
    samples = edits = 0
    for box in boxes:
        if box.kind == b"moov":
            content = _content(file, box)
            samples += sum(table.samples for table in sample_tables(content))
            edits += claimed(content, (b"trak", b"edts", b"elst"))
        elif box.kind == b"moof":
            samples += claimed(_content(file, box), (b"traf", b"trun"))
        if samples * max(edits, 1) > SAMPLES_MAX:
            raise NotWholeMp4(f"The file is damaged: it claims more than {SAMPLES_MAX:,} samples.")


def _content(file: BinaryIO, box: Box) -> bytes:
    if box.body_bytes > INDEX_LIMIT_BYTES:
        raise NotWholeMp4(f"The file is damaged: its index claims {box.body_bytes} bytes.")
    file.seek(box.body)
    return file.read(box.body_bytes)


def _measure_samples(file: BinaryIO, index: Box) -> tuple[int, int]:
    """The byte behind the last sample, and how many samples all tracks have together."""
    tables = list(sample_tables(_content(file, index)))
    furthest = max((table.furthest_byte() for table in tables), default=0)
    return furthest, sum(table.samples for table in tables)


def open_mp4(file: BinaryIO, most_pixels: int = DECODED_PIXELS_MAX) -> InputContainer:
    """FFmpeg's reader of a file that was found whole; frames of more pixels are not decoded.

    Raises `av.FFmpegError` for what it cannot read.
    """
    import av

    # Named, so that no other of FFmpeg's readers (playlists fetch URLs) is ever guessed.
    container = av.open(
        file,
        "r",
        format="mp4",
        metadata_errors="replace",  # some write them in GBK
        options={"max_pixels": str(most_pixels), "threads": "1"},
    )
    for stream in container.streams.video:
        decoder: VideoCodecContext | None = stream.codec_context
        if decoder is not None:
            decoder.options = {"max_pixels": str(most_pixels)}
    return container


def _read_facts(file: BinaryIO, size: int) -> Mp4Facts:
    import av

    try:
        with open_mp4(file) as container:
            if not container.streams.video:
                raise NotWholeMp4("The file holds no video, only sound or data.")
            video = container.streams.video[0]
            decoder: av.VideoCodecContext | None = video.codec_context
            if video.duration is not None and video.time_base is not None:
                duration_s = float(video.duration * video.time_base)
            else:
                duration_s = (container.duration or 0) / av.time_base
            return Mp4Facts(
                duration_s=round(duration_s, 3),
                width=decoder.width if decoder else 0,
                height=decoder.height if decoder else 0,
                fps=round(float(video.average_rate or 0), 3),
                bytes=size,
                video_codec=decoder.name if decoder else "unknown",
                has_audio=bool(container.streams.audio),
            )
    except av.FFmpegError as error:
        raise NotWholeMp4(f"The file is damaged: FFmpeg says {error.strerror!r}.") from error

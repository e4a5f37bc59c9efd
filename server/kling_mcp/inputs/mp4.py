"""Whether a video file is a whole MP4, and what FFmpeg reads of it.

The tables of its frames are read before FFmpeg opens it: FFmpeg makes room for every frame that a
table claims, and ends without an error where whole frames are missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kling_mcp.inputs.boxes import (
    Box,
    NotWholeMp4,
    SampleTable,
    claimed_entries,
    sample_tables,
    top_level_boxes,
)

if TYPE_CHECKING:
    from av import VideoCodecContext
    from av.container import InputContainer

__all__ = [
    "Mp4Facts",
    "NotWholeMp4",
    "check",
    "check_structure",
    "facts_of",
    "open_mp4",
]


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

    `video_codec` is FFmpeg's name, such as `h264`. `rate_hz` and `channels` are those of its sound.
    What FFmpeg cannot tell is 0 or `unknown`.
    """

    duration_s: float
    width: int
    height: int
    fps: float
    bytes: int
    video_codec: str
    has_audio: bool
    rate_hz: int = 0
    channels: int = 0


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
        return facts_of(file, size)


def check_structure(file: IO[bytes], size: int, *, quicktime: bool = False) -> None:
    """Raises `NotWholeMp4` when the file of `size` bytes is not whole, or would take FFmpeg more
    memory than any clip does. It is read from its first byte on afterwards. A QuickTime file has
    the same boxes, and may lack the first one."""
    if size == 0:
        raise NotWholeMp4("The file is empty.")
    if not quicktime:
        _check_beginning(file)
    boxes = list(top_level_boxes(file, size))
    kinds = {box.kind for box in boxes}
    if b"moov" not in kinds:
        raise NotWholeMp4("The file is cut short: it has no index (moov box).")
    if b"mdat" not in kinds:
        raise NotWholeMp4("The file is cut short: it holds no media data (mdat box).")
    fragments = _check_fragments(boxes)
    furthest, samples = _measure_samples(file, boxes)
    if furthest > size:
        raise NotWholeMp4(
            f"The file is cut short: its last frame should end at byte {furthest}, "
            f"{furthest - size} bytes behind the end."
        )
    if not samples and not fragments:
        raise NotWholeMp4("The file holds no frames.")
    file.seek(0)


def _check_beginning(file: IO[bytes]) -> None:
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


def _measure_samples(file: IO[bytes], boxes: list[Box]) -> tuple[int, int]:
    """The byte behind the last sample of the first index, and how many samples it names.

    Few bytes can claim many samples, and FFmpeg makes them all anew for each entry of an edit list:
    NotWholeMp4 is raised for too many before the tables are read.
    """
    samples = edits = 0
    index: list[SampleTable] = []
    for box in boxes:
        if box.kind == b"moov":
            content = _content(file, box)
            tables = list(sample_tables(content))
            index = index or tables
            samples += sum(table.samples for table in tables)
            edits += claimed_entries(content, (b"trak", b"edts", b"elst"))
        elif box.kind == b"moof":
            samples += claimed_entries(_content(file, box), (b"traf", b"trun"))
        if samples * max(edits, 1) > SAMPLES_MAX:
            raise NotWholeMp4(f"The file is damaged: it claims more than {SAMPLES_MAX:,} samples.")
    furthest = max((table.furthest_byte() for table in index), default=0)
    return furthest, sum(table.samples for table in index)


def _content(file: IO[bytes], box: Box) -> bytes:
    if box.body_bytes > INDEX_LIMIT_BYTES:
        raise NotWholeMp4(f"The file is damaged: its index claims {box.body_bytes} bytes.")
    file.seek(box.body)
    return file.read(box.body_bytes)


def open_mp4(file: IO[bytes], most_pixels: int = DECODED_PIXELS_MAX) -> InputContainer:
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


def facts_of(file: IO[bytes], size: int) -> Mp4Facts:
    """The facts of a file whose structure was checked. Raises `NotWholeMp4`."""
    import av

    try:
        with open_mp4(file) as container:
            if not container.streams.video:
                raise NotWholeMp4("The file holds no video, only sound or data.")
            video = container.streams.video[0]
            decoder: av.VideoCodecContext | None = video.codec_context
            audio = container.streams.audio[0] if container.streams.audio else None
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
                has_audio=audio is not None,
                rate_hz=(audio.rate or 0) if audio else 0,
                channels=(audio.channels or 0) if audio else 0,
            )
    except av.FFmpegError as error:
        raise NotWholeMp4(f"The file is damaged: FFmpeg says {error.strerror!r}.") from error

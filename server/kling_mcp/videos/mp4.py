"""Whether a file is one whole MP4, and what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kling_mcp.videos.boxes import Box, NotWholeMp4, top_level_boxes
from kling_mcp.videos.samples import sample_tables

__all__ = ["Mp4Facts", "NotWholeMp4", "check"]

INDEX_LIMIT_BYTES = 32 * 1024 * 1024
"""The largest `moov` that is read; that of a clip of 15 s has some 10 kB."""

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
        _check_structure(file, size)
        file.seek(0)
        return _read_facts(file, size)


def _check_structure(file: BinaryIO, size: int) -> None:
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
    furthest, samples = _measure_samples(file, index)
    if furthest > size:
        raise NotWholeMp4(
            f"The file is cut short: its last frame should end at byte {furthest}, "
            f"{furthest - size} bytes behind the end."
        )
    if not samples and not fragments:
        raise NotWholeMp4("The file holds no frames.")


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


def _measure_samples(file: BinaryIO, index: Box) -> tuple[int, int]:
    """The byte behind the last sample, and how many samples all tracks have together."""
    if index.body_bytes > INDEX_LIMIT_BYTES:
        raise NotWholeMp4(f"The file is damaged: its index claims {index.body_bytes} bytes.")
    file.seek(index.body)
    tables = list(sample_tables(file.read(index.body_bytes)))
    furthest = max((table.furthest_byte() for table in tables), default=0)
    return furthest, sum(table.samples for table in tables)


def _read_facts(file: BinaryIO, size: int) -> Mp4Facts:
    import av

    try:
        # Named, so that no other of FFmpeg's readers (playlists fetch URLs) is ever guessed.
        with av.open(file, "r", format="mp4", metadata_errors="replace") as container:
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

"""Single frames of a video file, exactly as they are shown."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kling_mcp.inputs.boxes import NotWholeMp4
from kling_mcp.inputs.decoding import DECODING, Decoding
from kling_mcp.inputs.mp4 import DECODED_PIXELS_MAX, check_structure, open_mp4
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from av import VideoCodecContext, VideoFrame
    from av.container import InputContainer
    from PIL.Image import Image

__all__ = [
    "Frame",
    "Moment",
    "NoSuchMoment",
    "frame_times",
    "in_time",
    "moment_of",
    "opened",
    "png_bytes",
    "read_frame",
]

PIXEL_BYTES = 30
"""What a pixel takes while a video is decoded: 16 frames to refer to, of 1.5 bytes a pixel, and
the picture."""

THREADS = 2
"""Threads of one decoder; each holds frames of its own."""

_SECONDS = re.compile(r"\d{1,7}(\.\d{1,9})?", re.ASCII)

Moment = Fraction | None
"""Seconds from the first frame on; None is the last frame."""


T = TypeVar("T")


class NoSuchMoment(ValueError):
    """There is no such moment, or the video does not have it; the text says what there is."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame in full size. `pts` is its time in the file, in the file's own units."""

    pts: int
    picture: Image


def moment_of(which: str) -> Moment:
    """The moment that `first`, `last` or a number of seconds means; raises `NoSuchMoment`."""
    word = which.strip().lower()
    if word == "last":
        return None
    if word == "first":
        return Fraction(0)
    if _SECONDS.fullmatch(word):
        return Fraction(word)
    raise NoSuchMoment(f"{which[:40]!r} is no frame: give first, last or seconds such as 2.5.")


def read_frame(video: Path, moment: Moment, decoding: Decoding = DECODING) -> Frame:
    """The frame that is on the screen at that moment, counted from the first frame on.

    Every frame up to it is decoded, so that it never depends on where keyframes lie; this blocks
    for about as long as that takes. At the video's length itself the last frame is still shown.

    Raises `NoSuchMoment` behind the end, `NotWholeMp4` when FFmpeg cannot decode that far,
    KlingError when it takes too much memory or time, `OSError` when the file cannot be read.
    """
    began: Fraction | None = None
    shown: VideoFrame | None = None
    with opened(video, decoding) as (_, frames):
        for frame in frames:
            seconds = _time(frame)
            began = seconds if began is None else began
            if moment is not None and shown is not None and seconds - began > moment:
                return _frame(shown)
            shown = frame
    if shown is None or began is None:
        raise NotWholeMp4("No frame of the video can be decoded.")
    length = _time(shown) - began + _lasts(shown)
    if moment is not None and moment > length:
        raise NoSuchMoment(
            f"The video is {_seconds(length)} s long: there is no frame at {_seconds(moment)} s."
        )
    return _frame(shown)


def png_bytes(picture: Image) -> bytes:
    """The picture without loss, the same bytes for the same pixels."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@contextmanager
def opened(
    video: Path, decoding: Decoding = DECODING
) -> Iterator[tuple[InputContainer, Iterator[VideoFrame]]]:
    """An MP4 file and the frames of its video, none if it has none, within the limits of decoding.
    What FFmpeg raises becomes `NotWholeMp4`; KlingError is raised for too much memory or time."""
    import av

    try:
        with video.open("rb") as file:
            check_structure(file, file.seek(0, 2))
            most_pixels = min(decoding.limits.decoded_bytes // PIXEL_BYTES, DECODED_PIXELS_MAX)
            with open_mp4(file, most_pixels) as container:
                stream = next(iter(container.streams.video), None)
                decoder: VideoCodecContext | None = stream.codec_context if stream else None
                if stream is None or decoder is None:  # no video, or of a kind that is not read
                    yield container, iter(())
                    return
                pixels = decoder.width * decoder.height
                stream.thread_type, decoder.thread_count = "AUTO", THREADS
                with decoding.room(pixels * PIXEL_BYTES, "this video"):
                    decoded = in_time(container.decode(stream), decoding.limits.video_s)
                    yield container, (frame for frame in decoded if frame.pts is not None)
    except av.FFmpegError as error:
        raise NotWholeMp4(f"The file is damaged: FFmpeg says {error.strerror!r}.") from error


def in_time(frames: Iterable[T], most_s: float) -> Iterator[T]:
    """What is decoded, for so many seconds at most; then KlingError is raised."""
    until = time.monotonic() + most_s
    for frame in frames:
        if time.monotonic() > until:
            raise KlingError(f"The video takes more than {most_s:g} s to decode.", charged="no")
        yield frame


def frame_times(container: InputContainer) -> list[int]:
    """When each frame of the video is shown, in order and in the stream's own units. The container
    is read to its end: seek before anything is decoded."""
    stream = next(iter(container.streams.video), None)
    packets = container.demux(stream) if stream else ()
    return sorted(p.pts for p in packets if p.pts is not None and not p.is_discard)


def _time(frame: VideoFrame) -> Fraction:
    assert frame.pts is not None
    return frame.pts * (frame.time_base or Fraction(0))


def _lasts(frame: VideoFrame) -> Fraction:
    return (frame.duration or 0) * (frame.time_base or Fraction(0))


def _frame(frame: VideoFrame) -> Frame:
    assert frame.pts is not None
    picture: Image = frame.to_image()  # type: ignore[no-untyped-call]
    return Frame(frame.pts, picture)


def _seconds(seconds: Fraction) -> str:
    return f"{float(seconds):.3f}".rstrip("0").rstrip(".")

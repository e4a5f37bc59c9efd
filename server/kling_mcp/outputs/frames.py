"""Frames of a video file, exactly as they are shown: single ones, and several in one picture."""

from __future__ import annotations

import io
import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
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
    "contact_sheet_jpeg",
    "evenly",
    "frame_times",
    "in_time",
    "jpeg_within",
    "labelled",
    "make_contact_sheet",
    "moment_of",
    "opened",
    "png_bytes",
    "read_frame",
    "scaled",
    "sheet_of",
    "time_text",
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


COLUMNS, ROWS = 4, 2

_LONGER_SIDE = 320
_GAP = 6
_LABEL_SIZE = 15
_BACKGROUND = (24, 24, 27)
_LABEL_COLOUR = (244, 244, 245)


def make_contact_sheet(
    video: Path, picture: Path, *, columns: int = COLUMNS, rows: int = ROWS
) -> tuple[int, int]:
    """Write a PNG of evenly spaced frames, row by row, and return its width and height in px.

    The first frame and the last are among them; the label on each is its own time in seconds,
    rounded up, so that it is never a time at which the frame before is shown. A video with fewer
    frames than places shows each frame once. Blocks for as long as decoding the whole video takes.

    Raises `NotWholeMp4` (a ValueError) for a video without frames and for what FFmpeg cannot
    decode, KlingError when that takes too much memory or time, `OSError` when a file cannot be read
    or written.
    """
    sheet = _contact_sheet(video, columns, rows, DECODING)
    sheet.save(picture, "PNG")
    return sheet.size


def contact_sheet_jpeg(video: Path, *, decoding: Decoding = DECODING) -> bytes:
    """The same sheet as a JPEG; raises the same."""
    file = io.BytesIO()
    _contact_sheet(video, COLUMNS, ROWS, decoding).save(file, "JPEG", quality=85)
    return file.getvalue()


def jpeg_within(
    picture: Image, most_bytes: int, sides_and_qualities: Sequence[tuple[int, int]]
) -> bytes:
    """The picture as a JPEG of at most so many bytes: the first of these longer sides (px) and
    qualities that fits is taken, else the last."""
    data, small, shown = b"", picture, 0
    for side, quality in sides_and_qualities:
        if side != shown:
            small, shown = picture.copy(), side
            small.thumbnail((side, side))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality)
        data = file.getvalue()
        if len(data) <= most_bytes:
            break
    return data


def sheet_of(tiles: Sequence[Image], columns: int) -> Image:
    """The pictures, all of the first one's size, row by row on a dark ground."""
    from PIL import Image

    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = tiles[0].size
    size = (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP)
    sheet = Image.new("RGB", size, _BACKGROUND)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(tile, (_GAP + column * (width + _GAP), _GAP + row * (height + _GAP)))
    return sheet


def evenly(times: Sequence[int], wanted: int) -> list[int]:
    """At most so many of the times, the first and the last among them."""
    places = min(wanted, len(times))
    return [times[round(n * (len(times) - 1) / max(places - 1, 1))] for n in range(places)]


def _contact_sheet(video: Path, columns: int, rows: int, decoding: Decoding) -> Image:
    chosen = _chosen_frames(video, columns * rows, decoding)
    tiles = [labelled(tile, time_text(seconds)) for seconds, tile in chosen]
    if not tiles:
        raise NotWholeMp4("The video has no frames.")
    return sheet_of(tiles, columns)


def _chosen_frames(video: Path, wanted: int, decoding: Decoding) -> Iterator[tuple[float, Image]]:
    """Seconds and picture of at most `wanted` frames, chosen by their place among all frames."""
    with opened(video, decoding) as (container, frames):
        stream = next(iter(container.streams.video), None)
        times = frame_times(container)
        if stream is None or not times:
            return
        chosen = set(evenly(times, wanted))
        container.seek(times[0], stream=stream)
        for frame in frames:
            if frame.pts in chosen and frame.time_base is not None:
                yield float((frame.pts - times[0]) * frame.time_base), scaled(frame, _LONGER_SIDE)


def scaled(frame: VideoFrame, longer_side: int) -> Image:
    """The frame as a picture whose longer side has so many px."""
    scale = longer_side / max(frame.width, frame.height)
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    picture: Image = frame.to_image(width=width, height=height)  # type: ignore[no-untyped-call]
    return picture


def time_text(seconds: float) -> str:
    """The time of a frame, rounded up, so that the frame before it is never shown at that time."""
    return f"{math.ceil(seconds * 100) / 100:.2f} s"


def labelled(tile: Image, text: str) -> Image:
    """The tile with a text on a dark ground in the lower left corner."""
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(tile)
    font = ImageFont.load_default(_LABEL_SIZE)
    left, top, right, bottom = draw.textbbox((8, tile.height - 8), text, font=font, anchor="lb")
    draw.rectangle((left - 5, top - 4, right + 5, bottom + 4), fill=_BACKGROUND)
    draw.text((8, tile.height - 8), text, font=font, anchor="lb", fill=_LABEL_COLOUR)
    return tile

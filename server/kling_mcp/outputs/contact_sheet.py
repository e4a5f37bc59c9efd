"""One picture of several: a video's evenly spaced frames, each with its time."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kling_mcp.inputs.boxes import NotWholeMp4
from kling_mcp.inputs.decoding import DECODING, Decoding
from kling_mcp.outputs.frames import frame_times, opened

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.Image import Image

__all__ = [
    "contact_sheet_jpeg",
    "evenly",
    "jpeg_within",
    "labelled",
    "make_contact_sheet",
    "scaled",
    "sheet_of",
    "time_text",
]

_LONGER_SIDE = 320
_GAP = 6
_LABEL_SIZE = 15
_BACKGROUND = (24, 24, 27)
_LABEL_COLOUR = (244, 244, 245)


def make_contact_sheet(
    video: Path, picture: Path, *, columns: int = 4, rows: int = 2
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


def contact_sheet_jpeg(
    video: Path, *, columns: int = 4, rows: int = 2, decoding: Decoding = DECODING
) -> bytes:
    """The same sheet as a JPEG; raises the same."""
    file = io.BytesIO()
    _contact_sheet(video, columns, rows, decoding).save(file, "JPEG", quality=85)
    return file.getvalue()


def jpeg_within(
    picture: Image, most_bytes: int, sides_and_qualities: Sequence[tuple[int, int]]
) -> bytes:
    """The picture as a JPEG of at most so many bytes: the first of these longer sides (px) and
    qualities that fits is taken, else the last."""
    data = b""
    for side, quality in sides_and_qualities:
        small = picture.copy()
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

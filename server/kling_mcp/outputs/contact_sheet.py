"""One picture of a whole video: evenly spaced frames, each with its time."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kling_mcp.inputs.decoding import DECODING, Decoding
from kling_mcp.outputs.boxes import NotWholeMp4
from kling_mcp.outputs.frames import opened

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.Image import Image

__all__ = ["contact_sheet_jpeg", "make_contact_sheet"]

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


def _contact_sheet(video: Path, columns: int, rows: int, decoding: Decoding) -> Image:
    from PIL import Image

    chosen = _chosen_frames(video, columns * rows, decoding)
    tiles = [_labelled(tile, seconds) for seconds, tile in chosen]
    if not tiles:
        raise NotWholeMp4("The video has no frames.")
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = tiles[0].size
    size = (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP)
    sheet = Image.new("RGB", size, _BACKGROUND)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(tile, (_GAP + column * (width + _GAP), _GAP + row * (height + _GAP)))
    return sheet


def _chosen_frames(video: Path, wanted: int, decoding: Decoding) -> Iterator[tuple[float, Image]]:
    """Seconds and picture of at most `wanted` frames, chosen by their place among all frames."""
    with opened(video, decoding) as (container, frames):
        stream = next(iter(container.streams.video), None)
        if stream is None:
            return
        times = sorted(
            packet.pts
            for packet in container.demux(stream)
            if packet.pts is not None and not packet.is_discard
        )
        places = min(wanted, len(times))
        chosen = {times[round(n * (len(times) - 1) / max(places - 1, 1))] for n in range(places)}
        if not times:
            return
        container.seek(times[0], stream=stream)
        for frame in frames:
            if frame.pts in chosen and frame.time_base is not None:
                picture = frame.to_image(**_tile_size(frame))  # type: ignore[no-untyped-call]
                seconds = (frame.pts - times[0]) * frame.time_base
                yield math.ceil(seconds * 100) / 100, picture


def _tile_size(frame: VideoFrame) -> dict[str, int]:
    scale = _LONGER_SIDE / max(frame.width, frame.height)
    return {
        "width": max(1, round(frame.width * scale)),
        "height": max(1, round(frame.height * scale)),
    }


def _labelled(tile: Image, seconds: float) -> Image:
    """The tile with its time on a dark ground in the lower left corner."""
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(tile)
    font = ImageFont.load_default(_LABEL_SIZE)
    text = f"{seconds:.2f} s"
    left, top, right, bottom = draw.textbbox((8, tile.height - 8), text, font=font, anchor="lb")
    draw.rectangle((left - 5, top - 4, right + 5, bottom + 4), fill=_BACKGROUND)
    draw.text((8, tile.height - 8), text, font=font, anchor="lb", fill=_LABEL_COLOUR)
    return tile

"""Films made of a video: a figure that moves as something moves in it, an edit of it, and a new
film beside it.
"""

from __future__ import annotations

import re
import textwrap
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import TypeVar

import av
from av.video.frame import VideoFrame
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont, ImageOps

__all__ = [
    "Track",
    "beside_video",
    "edited",
    "frames_in",
    "moving_figure",
    "ratio_of",
    "sound_of",
    "track_of",
]

_SIZE = (48, 27)
"""Width and height of the small grey frames that are compared."""

_SEEN = 160
"""The longer side of the pictures of the video that are shown small."""

_CHANGED = 10
"""How much brighter or darker (of 255) a point becomes that has moved."""

_EVERYWHERE = 0.6
"""The part of all points from which on the camera moves, or the light changes: the brightest part
of the frame counts then."""

_FOLLOWS = 0.25
"""The part of the way to where something moves that the figure goes in one frame."""

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Track:
    """Where the figure stands in each frame, from -0.5 to 0.5 of width (to the right) and height
    (down), and the small pictures of the video itself."""

    places: Sequence[Place]
    seen: Sequence[Image.Image]


def track_of(path: Path | None, frames: int, fps: int) -> Track:
    """The motion in the video at `path` over so many frames; without a video a slow circle."""
    if path is None:
        from math import cos, pi, sin

        turns = (2 * pi * n / (fps * 4) for n in range(frames))
        return Track([(0.25 * sin(turn), 0.12 * (1 - cos(turn)) - 0.12) for turn in turns], [])
    places: list[Place] = []
    seen: list[Image.Image] = []
    before, x, y = b"", 0.0, 0.0
    for grey, small in _frames_at(path, frames, fps, _small):
        if before:
            to_x, to_y = _centre(before, grey) or (x, y)
            x, y = x + _FOLLOWS * (to_x - x), y + _FOLLOWS * (to_y - y)
        before = grey
        places.append((x, y))
        seen.append(small)
    return Track(places, seen)


_SeenT = TypeVar("_SeenT")


def _frames_at(
    path: Path, frames: int, fps: int, seen: Callable[[VideoFrame], _SeenT]
) -> Iterator[_SeenT]:
    """Each frame of the film as the video shows it then. The last one stands where the video is
    shorter."""
    wanted = 0
    shown: _SeenT | None = None
    with av.open(str(path), "r") as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            while shown and wanted < frames and wanted / fps < (frame.time or 0.0):
                yield shown
                wanted += 1
            if wanted >= frames:
                return
            shown = seen(frame)
    if shown:
        yield from repeat(shown, frames - wanted)


def _small(frame: VideoFrame) -> tuple[bytes, Image.Image]:
    """The frame grey and small, and less small in colour."""
    width, height = _SIZE
    grey = frame.reformat(width, height, "gray")
    line = grey.planes[0].line_size
    plane = bytes(grey.planes[0])
    points = b"".join(plane[at * line : at * line + width] for at in range(height))
    longer = max(frame.width, frame.height)
    wide, high = (max(2, round(_SEEN * side / longer)) for side in (frame.width, frame.height))
    return points, _picture(frame, (wide, high))


def _picture(frame: VideoFrame, size: tuple[int, int]) -> Image.Image:
    colour = frame.reformat(*size, "rgb24")
    line = colour.planes[0].line_size
    return Image.frombytes("RGB", size, bytes(colour.planes[0]), "raw", "RGB", line)


def ratio_of(path: Path) -> float:
    """Width by height of the video."""
    with av.open(str(path), "r") as container:
        stream = container.streams.video[0]
        return stream.width / stream.height


def frames_in(path: Path, frames: int, fps: int, size: tuple[int, int]) -> Iterator[Image.Image]:
    """So many frames of the video, `size` px, each free to be drawn on."""

    def filled(frame: VideoFrame) -> Image.Image:
        scale = max(size[0] / frame.width, size[1] / frame.height)
        wide, high = round(frame.width * scale), round(frame.height * scale)
        return ImageOps.fit(_picture(frame, (wide, high)), size)

    for picture in _frames_at(path, frames, fps, filled):
        yield picture.copy()


_SOME_WORDS, _WORDS_LINE = 110, 55
_NAMES = re.compile(r"<<<(\w+)>>>")


def edited(
    frames: Iterable[Image.Image], size: tuple[int, int], wish: str
) -> Iterator[Image.Image]:
    """The frames with a mark of the wish: in a colour of its own, and with its words at the
    bottom."""
    hue = zlib.crc32(wish.encode()) % 360
    tint = Image.new("RGB", size, ImageColor.getrgb(f"hsl({hue}, 80%, 55%)"))
    font = ImageFont.load_default(max(12, min(size) // 24))
    said = "Edit: " + _NAMES.sub(r"\1", wish)
    said = said if len(said) <= _SOME_WORDS else f"{said[: _SOME_WORDS - 1]}…"
    words = textwrap.fill(said, _WORDS_LINE if size[0] > size[1] else _WORDS_LINE // 2)
    pen = ImageDraw.Draw(tint)
    left, upper, right, lower = map(round, pen.multiline_textbbox((0, 0), words, font=font))
    band = Image.new("RGB", (right - left + 24, lower - upper + 20), (16, 18, 22))
    ImageDraw.Draw(band).multiline_text((12 - left, 10 - upper), words, font=font, fill="white")
    place = (size[1] // 40, size[1] - band.height - size[1] // 40)
    for frame in frames:
        changed = Image.blend(frame, tint, 0.28)
        changed.paste(band, place)
        yield changed


def beside_video(frames: Iterable[Image.Image], track: Track) -> Iterator[Image.Image]:
    """The frames with the video small in the lower left corner."""
    for number, frame in enumerate(frames):
        yield _with_small(frame.copy(), track, number)


def _with_small(frame: Image.Image, track: Track, number: int) -> Image.Image:
    if track.seen:
        small = track.seen[min(number, len(track.seen) - 1)]
        scale = min(frame.size) / 4 / max(small.size)
        framed = ImageOps.expand(ImageOps.scale(small, scale), 2, "white")
        gap = frame.height // 40
        frame.paste(framed, (gap, frame.height - framed.height - gap))
    return frame


def _centre(before: bytes, now: bytes) -> Place | None:
    """The centre of what changed; where nearly all did, that of the light. None for no change."""
    apart = [abs(a - b) for a, b in zip(before, now, strict=True)]
    moved = [change if change > _CHANGED else 0 for change in apart]
    count = sum(map(bool, moved))
    if not count:
        return None
    weights: Sequence[int] = now if count > _EVERYWHERE * len(now) else moved
    total = sum(weights)
    if not total:
        return None
    width, height = _SIZE
    across = sum(weight * (place % width) for place, weight in enumerate(weights)) / total
    down = sum(weight * (place // width) for place, weight in enumerate(weights)) / total
    return across / (width - 1) - 0.5, down / (height - 1) - 0.5


def moving_figure(
    picture: Image.Image, size: tuple[int, int], track: Track
) -> Iterator[Image.Image]:
    """Every frame of the film: the figure from the middle of the picture before a blurred scene,
    where the motion is, leaning as it goes. The video stands small in the lower left corner."""
    width, height = size
    scene = ImageOps.fit(picture, (max(2, width // 8), max(2, height // 8)))
    scene = scene.filter(ImageFilter.GaussianBlur(3)).point(lambda value: value * 6 // 10)
    scene = scene.resize(size, Image.Resampling.BICUBIC)
    high = round(height * 0.62)
    wide = min(round(high * 0.75), round(width * 0.6))
    figure = ImageOps.fit(picture, (wide, high), centering=(0.5, 0.35)).convert("RGBA")
    edge = Image.new("L", (wide, high), 0)
    ImageDraw.Draw(edge).rounded_rectangle((0, 0, wide - 1, high - 1), wide // 3, fill=255)
    figure.putalpha(edge)
    before = track.places[0][0] if track.places else 0.0
    for number, (x, y) in enumerate(track.places):
        frame = scene.copy()
        lean = max(-25.0, min(25.0, (before - x) * 1500))
        before = x
        turned = figure.rotate(lean, Image.Resampling.BILINEAR, expand=True)
        left = round(width / 2 + x * (width - wide) - turned.width / 2)
        upper = round(height / 2 + y * (height - high) - turned.height / 2)
        frame.paste(turned, (left, upper), turned)
        yield _with_small(frame, track, number)


def sound_of(path: Path, rate: int, samples: int, block: int) -> Iterator[array[float]] | None:
    """The sound of the video as mono float samples in blocks of `block`, the last one shorter;
    silence behind its end. None for a video without sound."""
    with av.open(str(path), "r") as container:
        if not container.streams.audio:
            return None
    return _blocks(path, rate, samples, block)


def _blocks(path: Path, rate: int, samples: int, block: int) -> Iterator[array[float]]:
    waiting, left = array("f"), samples
    for piece in chain(_decoded(path, rate), repeat(array("f", bytes(4 * block)))):
        waiting.extend(piece)
        while len(waiting) >= block and left:
            count = min(block, left)
            yield waiting[:count]
            del waiting[:count]
            left -= count
        if not left:
            return


def _decoded(path: Path, rate: int) -> Iterator[array[float]]:
    resampler = av.AudioResampler("fltp", "mono", rate)
    with av.open(str(path), "r") as container:
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                yield array("f", bytes(part.planes[0])[: 4 * part.samples])

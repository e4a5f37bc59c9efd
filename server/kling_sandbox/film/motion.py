"""A figure that moves as something moves in a video: it follows where the video changes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFilter, ImageOps

__all__ = ["Track", "moving_figure", "sound_of", "track_of"]

_SIZE = (48, 27)
"""Width and height of the small grey frames that are compared."""

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
    for grey, small in _frames_at(path, frames, fps):
        if before:
            to_x, to_y = _centre(before, grey) or (x, y)
            x, y = x + _FOLLOWS * (to_x - x), y + _FOLLOWS * (to_y - y)
        before = grey
        places.append((x, y))
        seen.append(small)
    return Track(places, seen)


def _frames_at(path: Path, frames: int, fps: int) -> Iterator[tuple[bytes, Image.Image]]:
    """Each frame of the film as the video shows it then: grey and small, and in colour. The last
    one stands where the video is shorter."""
    wanted = 0
    shown: tuple[bytes, Image.Image] | None = None
    with av.open(str(path), "r") as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            while shown and wanted < frames and wanted / fps < (frame.time or 0.0):
                yield shown
                wanted += 1
            if wanted >= frames:
                return
            width, height = _SIZE
            grey = frame.reformat(width, height, "gray")
            line = grey.planes[0].line_size
            plane = bytes(grey.planes[0])
            points = b"".join(plane[at * line : at * line + width] for at in range(height))
            side = 160
            wide = max(2, round(side * frame.width / max(frame.width, frame.height)))
            high = max(2, round(side * frame.height / max(frame.width, frame.height)))
            colour = frame.reformat(wide, high, "rgb24")
            line = colour.planes[0].line_size
            data = bytes(colour.planes[0])
            shown = points, Image.frombytes("RGB", (wide, high), data, "raw", "RGB", line)
    if shown:
        yield from repeat(shown, frames - wanted)


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
        if track.seen:
            small = track.seen[min(number, len(track.seen) - 1)]
            scale = min(width, height) / 4 / max(small.size)
            framed = ImageOps.expand(ImageOps.scale(small, scale), 2, "white")
            frame.paste(framed, (height // 40, height - framed.height - height // 40))
        yield frame


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

"""A face whose mouth opens as far as a sound is loud."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from math import pi, sin, sqrt
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from kling_sandbox.film.motion import sound_of

__all__ = ["loudness_of", "talking_face"]

_RATE = 8_000
_SYLLABLES = 4
"""Syllables per second of a sound that the sandbox cannot hear."""

_CENTRE = 0.62
"""Where the mouth is, from the top: the lower third of a portrait's face."""


def loudness_of(path: Path | None, frames: int, fps: int) -> Sequence[float]:
    """How loud the sound at `path` is in each frame, from 0 to 1, the loudest frame being 1.
    Without a sound it is that of even syllables."""
    if path is None:
        return [abs(sin(pi * _SYLLABLES * number / fps)) for number in range(frames)]
    block = _RATE // fps
    heard = sound_of(path, _RATE, frames * block, block)
    loud = [_loudness(samples) for samples in heard] if heard else [0.0] * frames
    most = max(loud, default=0.0) or 1.0
    return [value / most for value in loud]


def _loudness(samples: array[float]) -> float:
    return sqrt(sum(value * value for value in samples) / max(1, len(samples)))


def talking_face(
    picture: Image.Image, size: tuple[int, int], loudness: Sequence[float]
) -> Iterator[Image.Image]:
    """Every frame of the film: the picture, with a mouth that is open as far as the frame is
    loud."""
    width, height = size
    face = ImageOps.fit(picture.convert("RGB"), size)
    line, wide, most = round(height * _CENTRE), round(width * 0.3), round(height * 0.06)
    left = (width - wide) // 2
    for loud in loudness:
        frame = face.copy()
        if open_px := round(most * loud):
            mouth = (left, line - open_px, left + wide - 1, line + open_px)
            ImageDraw.Draw(frame).ellipse(mouth, fill=(70, 16, 24), outline=(190, 80, 80), width=2)
        yield frame

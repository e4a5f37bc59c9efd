"""Faces whose mouths open as far as a sound is loud: of a picture, and of a video."""

from __future__ import annotations

import wave
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import pi, sin, sqrt
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from kling_sandbox.film.motion import frames_in, sound_of

__all__ = ["Dub", "face_picture", "loudness_of", "spoken", "talking_face", "with_mouth"]

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
    face = ImageOps.fit(picture.convert("RGB"), size)
    return with_mouth((face.copy() for _ in loudness), size, loudness)


def with_mouth(
    frames: Iterable[Image.Image],
    size: tuple[int, int],
    loudness: Sequence[float],
    place: float = 0.5,
) -> Iterator[Image.Image]:
    """The frames, free to be drawn on, with a mouth that is open as far as each is loud; `place` is
    where it is, from 0 to 1 of the width."""
    width, height = size
    line, wide, most = round(height * _CENTRE), round(width * 0.3), round(height * 0.06)
    wide = round(wide * min(1.0, 2 * min(place, 1 - place)))
    left = round(width * place) - wide // 2
    for frame, loud in zip(frames, loudness, strict=False):
        if open_px := round(most * loud):
            mouth = (left, line - open_px, left + wide - 1, line + open_px)
            ImageDraw.Draw(frame).ellipse(mouth, fill=(70, 16, 24), outline=(190, 80, 80), width=2)
        yield frame


@dataclass(frozen=True, slots=True)
class Dub:
    """A face at `place` of a video (0 to 1 of the width) that speaks the sound at a path from
    `at_s` on, up to `end_s` of it. The video's own sound is `original` times as loud as it was."""

    place: float
    at_s: float
    end_s: float
    original: float = 1.0
    sound: Path | None = None

    def loudness(self, frames: int, fps: int) -> Sequence[float]:
        """How far the mouth is open in each frame: not at all where the sound is not heard."""
        before = min(frames, round(self.at_s * fps))
        spoken = min(frames - before, round(self.end_s * fps))
        rest = frames - before - spoken
        return [0.0] * before + [*loudness_of(self.sound, spoken, fps)] + [0.0] * rest

    def mixed(self, video: Path | None, seconds: float, path: Path) -> Path:
        """Write the sound of the film to a WAV file at `path`: both together."""
        samples = round(seconds * _MIX_RATE)
        heard = array("f", bytes(4 * samples))
        if video is not None and self.original:
            _add(heard, video, 0, samples, self.original)
        if self.sound is not None:
            begins = min(samples, round(self.at_s * _MIX_RATE))
            length = min(samples - begins, round(self.end_s * _MIX_RATE))
            _add(heard, self.sound, begins, length, 1.0)
        else:
            _add_syllables(heard, self.at_s, self.end_s)
        whole = array("h", (round(32_767 * max(-1.0, min(1.0, value))) for value in heard))
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, _MIX_RATE, 0, "NONE", ""))
            file.writeframes(whole.tobytes())
        return path


_MIX_RATE = 24_000


def _add(heard: array[float], path: Path, begins: int, length: int, loud: float) -> None:
    at = begins
    for block in sound_of(path, _MIX_RATE, length, _MIX_RATE) or ():
        for value in block:
            heard[at] += loud * value
            at += 1


def _add_syllables(heard: array[float], at_s: float, seconds: float) -> None:
    begins = round(at_s * _MIX_RATE)
    for n in range(min(len(heard) - begins, round(seconds * _MIX_RATE))):
        t = n / _MIX_RATE
        heard[begins + n] += 0.3 * abs(sin(pi * _SYLLABLES * t)) * sin(2 * pi * 180 * t)


def spoken(text: str, milliseconds: int, pitch: float, path: Path) -> None:
    """Write the speech of a text to a WAV file at `path`: a syllable of tone for each letter that
    is not blank, none for one that is."""
    samples = _MIX_RATE * milliseconds // 1000
    letters = text or " "
    values = array("h", bytes(2 * samples))
    for n in range(samples):
        place = n * len(letters) / samples
        loud = 0.0 if letters[int(place)].isspace() else abs(sin(pi * (place % 1.0)))
        values[n] = round(14_000 * loud * sin(2 * pi * 160 * pitch * n / _MIX_RATE))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, _MIX_RATE, 0, "NONE", ""))
        file.writeframes(values.tobytes())


def face_picture(video: Path | None, place: float, name: str) -> Image.Image:
    """A small picture of the face at `place` of a video, with its name; of a video that the sandbox
    cannot see, the name alone."""
    side = 160
    picture = Image.new("RGB", (side, side), (70, 74, 82))
    if video is not None:
        frame = next(frames_in(video, 1, 1, (4 * side, 2 * side)))
        left = round(place * 4 * side) - side // 2
        picture = frame.crop((left, side // 2, left + side, side // 2 + side))
    font = ImageFont.load_default(28)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, 34, 38), fill=(16, 18, 22))
    pen.text((8, 2), str(int(name) + 1), font=font, fill="white")
    return picture

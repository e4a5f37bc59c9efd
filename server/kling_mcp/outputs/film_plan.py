"""What a film is to be: its clips, music, shape and length, exact before anything is made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from kling_tools.errors import KlingError
from kling_tools.quoting import counted
from kling_tools.requests.films import MOST_SHOTS, shape_of

__all__ = [
    "RATE_HZ",
    "Clip",
    "Film",
    "Fit",
    "Music",
    "film_length",
    "fps_for",
    "frames_in",
    "rounded",
    "size_for",
]

MOST_CROSSFADE_S = 5

RATE_HZ = 48_000
"""Samples per second of a film's sound, which is stereo."""

SIDE_PX = (64, 4096)

Fit = Literal["cover", "pad"]
"""How a clip of another shape fills the film: its edges are cut off, or it gets black bars."""

SAME_SHAPE = 0.02
"""Kling rounds the sides of its clips: what differs by that much gets no bars of a few px."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip to join: its length in seconds, its px as it is shown, its frames per second, and when
    its first frame is shown by the file's own clock. `number` counts from 1."""

    number: int
    path: Path
    seconds: Fraction
    width: int
    height: int
    fps: Fraction
    begins: Fraction
    sound: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Music:
    """A sound file under a film. `volume` is a factor (1 leaves it), fades are in seconds. One that
    is shorter than the film ends with its fade, or begins again where it `loops`. `seconds` are
    those of the file, as far as a film of an hour needs them."""

    path: Path
    seconds: Fraction
    volume: float = 1.0
    fade_in_s: float = 0.0
    fade_out_s: float = 0.0
    loops: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """What is joined: the clips in their order, px of the film (even numbers), frames per second,
    seconds of each crossfade (0 cuts), and the music. Raises KlingError for what cannot be
    joined."""

    clips: Sequence[Clip]
    size: tuple[int, int]
    fps: Fraction
    fit: Fit = "cover"
    crossfade_s: float = 0.0
    music: Music | None = None

    def __post_init__(self) -> None:
        film_length([clip.seconds for clip in self.clips], self.crossfade_s, self.fps)
        if any(side % 2 or not SIDE_PX[0] <= side <= SIDE_PX[1] for side in self.size):
            raise KlingError(
                f"A film of {self.size[0]}x{self.size[1]} px cannot be made.",
                advice=f"Give even sides from {SIDE_PX[0]} to {SIDE_PX[1]} px.",
            )
        if self.music and self.music.fade_in_s + self.music.fade_out_s > self.music_s:
            raise KlingError(
                f"The music plays for {float(self.music_s):.4g} s; its fades take "
                f"{self.music.fade_in_s + self.music.fade_out_s:.4g} s.",
                advice="Give shorter fades.",
            )

    @property
    def overlap(self) -> int:
        """Frames of a crossfade."""
        return rounded(Fraction(self.crossfade_s) * self.fps)

    @property
    def lengths(self) -> list[int]:
        """Frames of each clip in the film, those that it shares with another one included."""
        return [frames_in(clip.seconds, self.fps) for clip in self.clips]

    @property
    def begins(self) -> list[int]:
        """The frame of the film that is the first one of each clip."""
        found = [0]
        for length in self.lengths[:-1]:
            found.append(found[-1] + length - self.overlap)
        return found

    @property
    def frames(self) -> int:
        """Frames of the whole film."""
        return self.begins[-1] + self.lengths[-1]

    @property
    def seconds(self) -> Fraction:
        """Length of the whole film."""
        return self.frames / self.fps

    @property
    def music_s(self) -> Fraction:
        """Seconds in which the music plays."""
        if self.music is None:
            return Fraction(0)
        return self.seconds if self.music.loops else min(self.seconds, self.music.seconds)

    @property
    def sounds(self) -> bool:
        """Whether there is any sound in it."""
        return self.music is not None or any(clip.sound for clip in self.clips)

    def is_shape_of(self, clip: Clip) -> bool:
        """Whether the clip has the film's shape, but for the rounding of its sides."""
        return abs(clip.width * self.size[1] / (clip.height * self.size[0]) - 1) <= SAME_SHAPE

    def sample(self, frame: int) -> int:
        """The sample of the sound that belongs to the beginning of a frame."""
        return rounded(frame * RATE_HZ / self.fps)


def film_length(lengths_s: Sequence[Fraction | float], crossfade_s: float, fps: Fraction) -> int:
    """Frames of a film of clips of these lengths (seconds), to the frame: each clip is rounded to
    whole frames, and each crossfade is taken off once. Raises KlingError for no clip, for more than
    `MOST_SHOTS`, and for a crossfade that is longer than half a clip or
    `MOST_CROSSFADE_S`."""
    if not 0 < len(lengths_s) <= MOST_SHOTS:
        raise KlingError(
            f"A film of {counted(len(lengths_s), 'clip')} cannot be joined.",
            advice=f"Give 1 to {MOST_SHOTS} clips.",
        )
    if not 1 <= fps <= 120:
        raise KlingError(
            f"A film of {float(fps):g} frames per second cannot be made.", advice="Give 24 or 30."
        )
    lengths = [frames_in(seconds, fps) for seconds in lengths_s]
    overlap = rounded(Fraction(crossfade_s) * fps)
    shortest = min(lengths)
    most = rounded(MOST_CROSSFADE_S * fps)
    why = f"{MOST_CROSSFADE_S} s"
    if len(lengths) > 1 and shortest // 2 < most:
        most = shortest // 2
        why = (
            f"half of clip {lengths.index(shortest) + 1}, which is "
            f"{float(shortest / fps):.4g} s long"
        )
    if not 0 <= overlap <= most:
        raise KlingError(
            f"A crossfade of {crossfade_s:g} s is longer than {why}.",
            advice=f"Give at most {math.floor(100 * most / fps) / 100:g} s, or 0 to cut.",
        )
    return sum(lengths) - overlap * (len(lengths) - 1)


def size_for(ratio: str, clips: Sequence[Clip]) -> tuple[int, int]:
    """The px of a film of a shape such as `16:9`: its shorter side is that of the largest clip. An
    empty ratio takes the size of the first clip. Raises KlingError for what is no ratio."""
    if not ratio:
        return _even(clips[0].width), _even(clips[0].height)
    shape = shape_of(ratio)
    if shape is None:
        raise KlingError(f"{ratio[:40]!r} is no shape of a film.", advice="Give one such as 16:9.")
    short = max(min(clip.width, clip.height) for clip in clips)
    short = min(short, math.floor(SIDE_PX[1] / max(shape, 1 / shape)))
    return _even(short * max(shape, Fraction(1))), _even(short * max(1 / shape, Fraction(1)))


def fps_for(clips: Sequence[Clip]) -> Fraction:
    """The frames per second of most of the clips, as a whole number from 1 to 120."""
    usual, _ = Counter(min(120, max(1, round(clip.fps))) for clip in clips).most_common(1)[0]
    return Fraction(usual)


def frames_in(seconds: Fraction | float, fps: Fraction) -> int:
    """Whole frames of a clip of so many seconds; at least one."""
    return max(1, rounded(Fraction(seconds).limit_denominator(10**6) * fps))


def rounded(value: Fraction) -> int:
    """The nearest whole number; the upper one of two."""
    return math.floor(value + Fraction(1, 2))


def _even(side: Fraction | int) -> int:
    return max(SIDE_PX[0], 2 * math.floor(side / 2))

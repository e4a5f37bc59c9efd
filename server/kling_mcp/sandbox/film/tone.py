"""A soft chord that stands in for the sound of a clip."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from functools import cache

__all__ = ["RATE", "blocks_of"]

RATE = 48_000
"""Samples per second."""

_LOOP_S = 2
_VOICES_HZ = (110.0, 220.0, 277.0, 330.0)
_FADE_S = 0.25


@cache
def _loop() -> array[float]:
    """Two seconds of the chord; every part of it has whole periods, so it joins to itself."""
    samples = array("f")
    for n in range(RATE * _LOOP_S):
        t = n / RATE
        swell = 0.75 - 0.25 * math.cos(2 * math.pi * t / _LOOP_S)
        samples.append(0.05 * swell * sum(math.sin(2 * math.pi * hz * t) for hz in _VOICES_HZ))
    return samples


def blocks_of(samples: int, block: int) -> Iterator[array[float]]:
    """The chord as mono float samples in blocks of `block`, the last one shorter.

    It is `samples` long altogether and fades in and out over a quarter of a second.
    """
    loop = _loop()
    fade = min(round(RATE * _FADE_S), samples // 2)
    for start in range(0, samples, block):
        piece = array("f", (loop[n % len(loop)] for n in range(start, min(start + block, samples))))
        if start < fade or start + block > samples - fade:
            for offset in range(len(piece)):
                at = start + offset
                piece[offset] *= min(1.0, at / fade, (samples - at) / fade)
        yield piece

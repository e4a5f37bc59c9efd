"""Sounds for tests, written with nothing but the standard library."""

import math
import wave
from array import array
from pathlib import Path

__all__ = ["tone"]


def tone(path: Path, seconds: float = 3, rate: int = 8000) -> str:
    """A sound that is heard."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        samples = (round(9000 * math.sin(n * 0.35)) for n in range(round(seconds * rate)))
        sound.writeframes(array("h", samples).tobytes())
    return str(path)

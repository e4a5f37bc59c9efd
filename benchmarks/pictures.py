"""Pictures to send: a small one, and noise that no compression makes smaller."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image

__all__ = ["large_pictures", "small_picture"]

SMALL_SIDE = 320
LARGE_SIDE = 1860
"""Pixels; as noise just below Kling's 10 MB (10,485,760 bytes)."""


def small_picture(folder: Path) -> Path:
    """A PNG of some kilobytes."""
    path = folder / "small.png"
    Image.radial_gradient("L").resize((SMALL_SIDE, SMALL_SIDE)).convert("RGB").save(path)
    return path


def large_pictures(folder: Path, count: int) -> list[Path]:
    """PNGs of about 10.4 million bytes each, all different."""
    paths = [folder / f"large-{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        noise = random.Random(number).randbytes(3 * LARGE_SIDE**2)
        Image.frombytes("RGB", (LARGE_SIDE, LARGE_SIDE), noise).save(path, compress_level=0)
    return paths

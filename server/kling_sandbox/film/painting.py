"""A picture of words: a scene that they alone decide, the words on it, and what it refers to."""

from __future__ import annotations

import colorsys
import math
import random
import secrets
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from kling_sandbox.film.canvas import Mark, Still

__all__ = ["Painting", "painting_size"]

_PLAIN = {"1k": 1024, "2k": 2048, "4k": 4096}
"""The side in px of a square picture; other shapes have about as many pixels. Kling's page names no
sizes: this is what the words mean elsewhere."""

_DRAWN_PX = 1600
"""The longer side at which a scene is drawn; larger pictures are enlarged."""

_LINES = 5


def painting_size(resolution: str, ratio: float) -> tuple[int, int]:
    """Width and height in px of a picture of that resolution, `ratio` wide for each high."""
    side = _PLAIN[resolution]
    return tuple(  # type: ignore[return-value]
        max(8, 8 * round(length / 8))
        for length in (side * math.sqrt(ratio), side / math.sqrt(ratio))
    )


@dataclass(frozen=True, slots=True)
class Painting:
    """One picture: `size` in px, with the `words` below. It is painted over the first of
    `references`; the others stand in a row. Without any, the `seed` and the words make a scene.
    `number` stands in the mark."""

    size: tuple[int, int]
    words: str
    references: tuple[Still, ...]
    seed: str
    number: str = ""

    def paint(self, path: Path) -> None:
        """Make the PNG and put it at `path` in one step. Raises `OSError`."""
        shrunk = min(1.0, _DRAWN_PX / max(self.size))
        size = round(self.size[0] * shrunk), round(self.size[1] * shrunk)
        shown = [still.load(min(size)) for still in self.references]
        scene = ImageOps.fit(shown[0], size) if shown else _scene(size, self.words, self.seed)
        if shown:
            tint = Image.new("RGB", size, _colour(random.Random(self.seed).random(), 0.5, 0.6))  # noqa: S311
            scene = Image.blend(scene.convert("RGB"), tint, 0.12)
        _in_a_row(scene, shown[1:])
        _written(scene, self.words)
        Mark(size, self.number).put_on(scene)
        part = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.part")
        try:
            scene.resize(self.size, Image.Resampling.BICUBIC).save(part, "PNG", compress_level=1)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _colour(hue: float, light: float, strong: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, light, strong)
    return round(red * 255), round(green * 255), round(blue * 255)


def _scene(size: tuple[int, int], words: str, seed: str) -> Image.Image:
    """A sky, a sun and hills whose colours and places follow from the words and the seed."""
    dice = random.Random(f"{words} {seed}")  # noqa: S311
    hue = dice.random()
    shade = Image.linear_gradient("L").resize(size)
    scene = ImageOps.colorize(shade, _colour(hue, 0.78, 0.6), _colour(hue + 0.1, 0.45, 0.5))
    draw = ImageDraw.Draw(scene)
    width, height = size
    radius = min(size) * dice.uniform(0.08, 0.16)
    x, y = width * dice.uniform(0.15, 0.85), height * dice.uniform(0.12, 0.35)
    sun = _colour(hue + 0.5, 0.7, 0.8)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=sun)
    for layer in range(3):
        level, swing = height * (0.5 + 0.13 * layer), height * dice.uniform(0.04, 0.1)
        waves, start = dice.uniform(1.0, 2.5), dice.uniform(0, math.tau)
        ridge = [
            (step * width / 60, level + swing * math.sin(start + waves * math.tau * step / 60))
            for step in range(61)
        ]
        ground = _colour(hue + 0.08 * layer, 0.42 - 0.1 * layer, 0.45)
        draw.polygon([(0, height), *ridge, (width, height)], fill=ground)
    return scene


def _in_a_row(scene: Image.Image, pictures: Sequence[Image.Image]) -> None:
    """The pictures, small, in the upper left corner."""
    side = min(scene.size) // 5
    gap = side // 8
    for place, picture in enumerate(pictures):
        framed = ImageOps.expand(ImageOps.fit(picture, (side, side)), 2, "white")
        x = gap + place * (framed.width + gap)
        if x + framed.width <= scene.width:
            scene.paste(framed, (x, gap))


def _written(scene: Image.Image, words: str) -> None:
    """The words on a dark ground across the lower part."""
    letter = max(14, round(min(scene.size) / 18))
    font = ImageFont.load_default(letter)
    most = max(8, round(scene.width * 0.9 / (letter * 0.55)))
    lines = textwrap.wrap(words, most)
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], f"{lines[_LINES - 1][:-1]}…"]
    text = "\n".join(lines)
    draw = ImageDraw.Draw(scene, "RGBA")
    place = (scene.width * 0.05, scene.height * 0.86)
    box = draw.multiline_textbbox(place, text, font=font, anchor="ld", spacing=letter // 3)
    pad = letter // 2
    ground = (box[0] - pad, box[1] - pad, scene.width * 0.95, box[3] + pad)
    draw.rounded_rectangle(ground, pad, fill=(16, 18, 22, 235))
    draw.multiline_text(place, text, font=font, anchor="ld", spacing=letter // 3, fill="white")

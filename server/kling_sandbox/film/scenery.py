"""A drawn landscape for words alone: hills drift by, birds cross the sky, the words stand below.

The words choose the light and the ground; the same words give the same picture.
"""

from __future__ import annotations

import math
import random
import re
import textwrap
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw, ImageFont, ImageOps

__all__ = ["Scenery"]

Size = tuple[int, int]
Colour = tuple[int, int, int]
Ground = Literal["hills", "trees", "city", "sea", "dunes"]


@dataclass(frozen=True, slots=True)
class _Light:
    """The colours of a time of day or of a weather: the sky above and below, the sun or moon, and
    the far and the near ground."""

    top: Colour
    foot: Colour
    disc: Colour
    far: Colour
    near: Colour


_DAY = _Light((88, 148, 214), (214, 232, 244), (255, 244, 200), (120, 150, 160), (62, 104, 74))
_LIGHTS: tuple[tuple[re.Pattern[str], _Light], ...] = (
    (
        re.compile(r"night|dark|moon|star|midnight|neon|nacht|noche|nuit|夜", re.I),
        _Light((8, 12, 34), (38, 48, 92), (238, 238, 220), (24, 30, 58), (10, 14, 28)),
    ),
    (
        re.compile(r"storm|rain|thunder|fog|grey|gray|sturm|regen|lluvia|pluie|雨", re.I),
        _Light((52, 60, 72), (142, 152, 160), (190, 196, 200), (84, 92, 100), (44, 52, 56)),
    ),
    (
        re.compile(r"snow|winter|ice|schnee|nieve|neige|雪", re.I),
        _Light((136, 164, 196), (228, 236, 244), (255, 252, 240), (176, 192, 208), (232, 238, 244)),
    ),
    (
        re.compile(r"sunset|sunrise|dusk|dawn|evening|morning|golden|abend|atardecer", re.I),
        _Light((72, 58, 118), (250, 164, 92), (255, 226, 150), (130, 84, 110), (64, 42, 62)),
    ),
)
_GROUNDS: tuple[tuple[re.Pattern[str], Ground], ...] = (
    (
        re.compile(r"sea|ocean|lake|wave|boat|ship|beach|lighthouse|river|meer|mar\b|海", re.I),
        "sea",
    ),
    (re.compile(r"city|street|tower|house|skyline|car\b|stadt|ciudad|ville|城", re.I), "city"),
    (re.compile(r"forest|tree|wood|jungle|park|wald|bosque|forêt|森", re.I), "trees"),
    (re.compile(r"desert|sand|dune|wüste|desierto", re.I), "dunes"),
)
_DRIFTS = (0.06, 0.16, 0.34)
"""How far each layer moves during the scene, in widths of the frame: the far one least."""

_BIRDS = 4
_LINES = 4


class Scenery:
    """The landscape of some words in `size` px. `number` tells scenes of one film apart."""

    def __init__(self, words: str, size: Size, number: int = 0) -> None:
        self.size = size
        chance = random.Random(f"{number}:{words}")  # noqa: S311 - it draws, and guards nothing
        light = next((known for word, known in _LIGHTS if word.search(words)), _DAY)
        grounds: list[Ground] = [known for word, known in _GROUNDS if word.search(words)]
        ground = (grounds or ["hills"])[0]
        self._ahead = 1 if number % 2 == 0 else -1
        self._sky = _sky(size, light, chance)
        self._layers = [_layer(size, depth, ground, light, chance) for depth in range(len(_DRIFTS))]
        self._birds = [(chance.random() * 0.5, 0.08 + chance.random() * 0.2) for _ in range(_BIRDS)]
        self._ink = light.near if light is not _LIGHTS[0][1] else light.disc
        self._plate, self._place = _plate(words, size)

    def view(self, part: float) -> Image.Image:
        """The frame after `part` (0 to 1) of the scene."""
        frame = self._sky.copy()
        width, height = self.size
        for place, (layer, drift) in enumerate(zip(self._layers, _DRIFTS, strict=True)):
            spare = layer.width - width
            moved = spare / 2 + self._ahead * (part - 0.5) * drift * width
            x = min(max(round(moved), 0), spare)
            seen = layer.crop((x, 0, x + width, layer.height))
            frame.paste(seen, (0, height - layer.height), seen)
            if not place:
                self._draw_birds(frame, part)
        frame.paste(self._plate, self._place, self._plate)
        return frame

    def _draw_birds(self, frame: Image.Image, part: float) -> None:
        draw = ImageDraw.Draw(frame)
        width, height = self.size
        span = min(self.size) / 36
        for place, (start, above) in enumerate(self._birds):
            along = start + 0.6 * part
            x = width * (along if self._ahead > 0 else 1 - along)
            lift = span * math.sin(40 * part + place) * 0.6
            y = height * above + span * math.sin(6 * part + place)
            wings = [(x - span, y - lift), (x, y), (x + span, y - lift)]
            draw.line(wings, fill=self._ink, width=max(2, round(span / 5)), joint="curve")


def _sky(size: Size, light: _Light, chance: random.Random) -> Image.Image:
    shade = Image.linear_gradient("L").resize(size)
    sky = ImageOps.colorize(shade, light.top, light.foot)
    draw = ImageDraw.Draw(sky)
    reach = min(size) / 9
    x, y = size[0] * (0.25 + chance.random() * 0.5), size[1] * (0.18 + chance.random() * 0.12)
    draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=light.disc)
    if light is _LIGHTS[0][1]:
        for _ in range(60):
            at = (chance.random() * size[0], chance.random() * size[1] * 0.6)
            draw.ellipse((*at, at[0] + 2, at[1] + 2), fill=light.disc)
    return sky


def _layer(
    size: Size, depth: int, ground: Ground, light: _Light, chance: random.Random
) -> Image.Image:
    """One strip of the ground on a transparent sheet, wider than the frame by its drift."""
    width, height = math.ceil(size[0] * (1 + _DRIFTS[depth])) + 2, size[1]
    mix = depth / (len(_DRIFTS) - 1)
    colour = tuple(round(a + (b - a) * mix) for a, b in zip(light.far, light.near, strict=True))
    sheet = Image.new("RGBA", (width, height), (*colour, 0))
    draw = ImageDraw.Draw(sheet)
    base, swing = height * (0.56 + 0.1 * depth), height * (0.1 - 0.025 * depth)
    waves = [(chance.uniform(0.8, 3.2), chance.uniform(0, math.tau)) for _ in range(3)]
    step = max(2, size[0] // 240)

    def top(x: float) -> float:
        if ground == "sea" and depth:
            return base + height * 0.012 * math.sin(x / size[0] * 40 + depth)
        turns = ((math.sin(math.tau * f * x / size[0] + phase)) for f, phase in waves)
        return base + swing * sum(turns) / len(waves)

    ridge = [(x, top(x)) for x in range(0, width + step, step)]
    draw.polygon([*ridge, (width, height), (0, height)], fill=(*colour, 255))
    if ground == "city":
        _draw_houses(draw, width, height, base, chance, (*colour, 255), light)
    if ground == "trees" and depth:
        for _ in range(26):
            x, tall = chance.random() * width, height * chance.uniform(0.08, 0.2)
            foot = top(x) + height * 0.02
            crown = [(x - tall / 4, foot), (x + tall / 4, foot), (x, foot - tall)]
            draw.polygon(crown, fill=(*colour, 255))
    return sheet


def _draw_houses(
    draw: ImageDraw.ImageDraw,
    width: int,
    height: int,
    base: float,
    chance: random.Random,
    colour: tuple[int, ...],
    light: _Light,
) -> None:
    x = 0.0
    while x < width:
        wide, tall = height * chance.uniform(0.06, 0.14), height * chance.uniform(0.06, 0.28)
        draw.rectangle((x, base - tall, x + wide, height), fill=colour)
        pane = max(2.0, wide / 8)
        for row in range(1, int(tall / pane / 2)):
            for column in (1, 3, 5):
                if chance.random() < 0.4:
                    left, upper = x + column * wide / 7, base - tall + row * pane * 2
                    draw.rectangle((left, upper, left + pane, upper + pane), fill=light.disc)
        x += wide * chance.uniform(1.0, 1.4)


def _plate(words: str, size: Size) -> tuple[Image.Image, tuple[int, int]]:
    """The words on a dark plate, and its place: low, above the corner with the mark."""
    height = max(13, round(min(size) / 17))
    font = ImageFont.load_default(height)
    room = size[0] * 0.86
    chars = max(8, int(room / max(font.getlength("n"), 1)))
    lines = textwrap.wrap(" ".join(words.split()), chars) or [""]
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], lines[_LINES - 1][: chars - 1] + "…"]
    text = "\n".join(lines)
    pad = height // 2
    measured = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, upper, right, lower = measured.multiline_textbbox((0, 0), text, font=font)
    wide, tall = math.ceil(right - left) + 2 * pad, math.ceil(lower - upper) + 2 * pad
    plate = Image.new("RGBA", (wide, tall), (0, 0, 0, 0))
    draw = ImageDraw.Draw(plate)
    draw.rounded_rectangle((0, 0, wide - 1, tall - 1), pad, fill=(16, 18, 22, 190))
    draw.multiline_text((pad - left, pad - upper), text, font=font, fill=(255, 255, 255, 255))
    return plate, ((size[0] - wide) // 2, round(size[1] * 0.86) - tall)

"""Prepares a picture for the camera, and writes the word SANDBOX into a corner of every frame.

A number behind it tells takes of the same wish apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from kling_sandbox.film.camera import HOME, Move, Pose, box_of, homography_of, reach_of

__all__ = ["Canvas", "Cast", "Mark", "Still", "even_size"]


WORD = "SANDBOX"


class Mark:
    """The mark for frames of one size: its letters stand 1/30 of the shorter side high."""

    def __init__(self, size: tuple[int, int], number: str = "") -> None:
        words = f"{WORD} {number}".rstrip()
        height = max(12, round(min(size) / 30))
        font = ImageFont.load_default(height)
        left, upper, right, lower = font.getbbox(words)
        pad = height // 2
        width, tall = round(right - left) + 2 * pad, round(lower - upper) + 2 * pad
        self._mask = Image.new("L", (width, tall), 0)
        ImageDraw.Draw(self._mask).rounded_rectangle((0, 0, width - 1, tall - 1), pad, fill=110)
        self._ink = Image.new("RGB", (width, tall), (16, 18, 22))
        letters = Image.new("L", (width, tall), 0)
        ImageDraw.Draw(letters).text((pad - left, pad - upper), words, font=font, fill=255)
        self._ink.paste((255, 255, 255), (0, 0), letters)
        self._mask.paste(235, (0, 0), letters)
        self._place = (size[0] - width - height, size[1] - tall - height)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The part of the frame that the mark covers: left, upper, right, lower in px."""
        x, y = self._place
        return x, y, x + self._mask.width, y + self._mask.height

    def put_on(self, frame: Image.Image) -> Image.Image:
        """Draw the mark into the lower right corner of the frame and return the same frame."""
        frame.paste(self._ink, self._place, self._mask)
        return frame


class Cast:
    """Who is in the film: small pictures in the upper left corner of each frame, names below."""

    def __init__(
        self, size: tuple[int, int], pictures: Sequence[Image.Image], labels: Sequence[str]
    ) -> None:
        side = min(size) // 5
        gap = side // 8
        self._parts: list[tuple[Image.Image, tuple[int, int]]] = []
        for place, picture in enumerate(pictures):
            framed = ImageOps.expand(ImageOps.fit(picture, (side, side)), 2, "white")
            x = gap + place * (framed.width + gap)
            if x + framed.width <= size[0]:
                self._parts.append((framed, (x, gap)))
        font = ImageFont.load_default(max(12, side // 6))
        y = gap if not pictures else 2 * gap + side
        for label in labels:
            left, upper, right, lower = (round(edge) for edge in font.getbbox(label))
            words = Image.new("RGB", (right - left + 8, lower - upper + 8), (16, 18, 22))
            ImageDraw.Draw(words).text((4 - left, 4 - upper), label, font=font, fill="white")
            self._parts.append((words, (gap, y)))
            y += words.height + 2

    def put_on(self, frame: Image.Image) -> Image.Image:
        """Draw all into the frame and return the same frame."""
        for part, place in self._parts:
            frame.paste(part, place)
        return frame


LONGEST_OF_WANTED = 5
"""The longer side that is kept: a ratio of 2.5 at twice the size of the film."""

MOST_PIXELS = 100_000_000
"""Pixels of the largest picture that is decoded: 300 MB in memory."""

_ONE_AT_A_TIME = Lock()
"""Held while a picture is decoded: a large one takes hundreds of megabytes for a moment."""

_CARD_SIZE = (1280, 720)
_LINE_CHARS = 46
_LINES = 6
_TOP, _FOOT = (38, 52, 74), (16, 22, 33)


@dataclass(frozen=True, slots=True)
class Still:
    """Either the file of a picture, or a card with a caption and words."""

    path: Path | None = None
    caption: str = ""
    words: str = ""

    def load(self, side_px: int, most_pixels: int = MOST_PIXELS) -> Image.Image:
        """The picture upright in RGB, at least `side_px` px on its shorter side if it has them.

        Transparent parts become white. A file that cannot be decoded, or has more than
        `most_pixels`, becomes a card that says so.
        """
        if self.path is None:
            return _card(self.caption, self.words)
        try:
            with _ONE_AT_A_TIME, Image.open(self.path) as file:
                if file.width * file.height > most_pixels:
                    return _card("This picture is too vast:", f"{file.width} x {file.height} px")
                file.draft("RGB", (2 * side_px, 2 * side_px))
                file.thumbnail((LONGEST_OF_WANTED * side_px, LONGEST_OF_WANTED * side_px))
                upright = _turned(file)
                if not upright.has_transparency_data:
                    return upright.convert("RGB")
                clear = upright.convert("RGBA")
                paper = Image.new("RGB", clear.size, "white")
                paper.paste(clear, mask=clear.getchannel("A"))
                return paper
        except Exception as error:  # decoders raise anything when the bytes are hostile
            return _card("This picture cannot be decoded:", str(error))


def _turned(picture: Image.Image) -> Image.Image:
    """The picture upright, or as it is where its EXIF cannot be read."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # struct.error, TypeError and others: EXIF of any kind stands in pictures
        return picture


def _card(caption: str, words: str) -> Image.Image:
    width, height = _CARD_SIZE
    shade = Image.linear_gradient("L").resize(_CARD_SIZE)
    card = ImageOps.colorize(shade, _TOP, _FOOT)
    draw = ImageDraw.Draw(card)
    draw.rectangle((40, 40, width - 40, height - 40), outline=(110, 140, 180), width=3)
    draw.multiline_text(
        (90, 90), caption, font=ImageFont.load_default(40), fill=(150, 180, 215), spacing=14
    )
    lines = [words[at : at + _LINE_CHARS] for at in range(0, len(words), _LINE_CHARS)]
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], lines[_LINES - 1][:-1] + "…"]
    draw.multiline_text(
        (90, 270), "\n".join(lines), font=ImageFont.load_default(42), fill="white", spacing=18
    )
    return card


Size = tuple[int, int]
_CENTRING = (0.5, 0.3)
"""Where the cut leaves the picture: heads are rather above its middle."""

_WALL_SCALE = 8
"""The wall is blurred at 1/8 of the size, then enlarged: blur costs as the square of the size."""

_NEAR = 1.2
"""The zoom from which on frames are cut from a picture enlarged as far as the move goes in; below
it, from one of their own size, which takes less time and looks the same."""

Coefficients = tuple[float, float, float, float, float, float, float, float]


def even_size(short_side: int, ratio: float) -> Size:
    """Width and height in px, both even as H.264 in yuv420p needs them.

    `ratio` is width divided by height; the shorter side is `short_side` px.
    """
    long_side = 2 * round(short_side * max(ratio, 1 / ratio) / 2)
    return (long_side, short_side) if ratio >= 1 else (short_side, long_side)


class Canvas:
    """One picture, ready for the views of one move.

    The picture covers the frame; what does not fit is cut off, more of it below than above. Where
    the move looks past an edge, the picture goes on mirrored and blurred: no view has empty
    corners, and nobody sees a second face.
    """

    def __init__(self, picture: Image.Image, size: Size, move: Move) -> None:
        self.size = size
        self.move = move
        zoom = max(1.0, move.start.zoom, move.end.zoom)
        self._detail = zoom if zoom > _NEAR else 1.0
        inner = (math.ceil(size[0] * self._detail), math.ceil(size[1] * self._detail))
        whole = ImageOps.fit(
            picture.convert("RGB"), inner, Image.Resampling.BICUBIC, centering=_CENTRING
        )
        reach = [math.ceil(side * self._detail) for side in reach_of(move, size)]
        limits = (inner[0], inner[1], inner[0], inner[1])
        self._margin = tuple(
            min(side + 2, limit) if side else 0 for side, limit in zip(reach, limits, strict=True)
        )
        self._hung = _hung(whole, self._margin)
        self._still = whole if self._detail == 1.0 else whole.resize(size, Image.Resampling.BICUBIC)

    def view(self, part: float) -> Image.Image:
        """The frame after `part` (0 to 1) of the move; at `HOME` it is the picture itself.

        The answer may be shared between calls: copy it before drawing on it.
        """
        pose = self.move.at(part)
        if pose == HOME:
            return self._still
        return self._box(pose) if pose.level else self._turned(pose)

    def _box(self, pose: Pose) -> Image.Image:
        left, upper = self._margin[:2]
        x0, y0, x1, y1 = (edge * self._detail for edge in box_of(pose, self.size))
        width, height = self._hung.size
        box = (
            max(x0 + left, 0.0),
            max(y0 + upper, 0.0),
            min(x1 + left, float(width)),
            min(y1 + upper, float(height)),
        )
        return self._hung.resize(self.size, Image.Resampling.BILINEAR, box=box)

    def _turned(self, pose: Pose) -> Image.Image:
        left, upper = self._margin[:2]
        across, down, depth = homography_of(pose, self.size)
        on_x = [across[i] * self._detail + left * depth[i] for i in range(3)]
        on_y = [down[i] * self._detail + upper * depth[i] for i in range(3)]
        how: Coefficients = (*on_x, *on_y, depth[0], depth[1])  # type: ignore[assignment]
        return self._hung.transform(
            self.size, Image.Transform.PERSPECTIVE, how, Image.Resampling.BILINEAR
        )


def _hung(picture: Image.Image, margin: tuple[int, ...]) -> Image.Image:
    """The picture on its wall, `margin` px wide on each side."""
    if not any(margin):
        return picture
    left, upper, right, lower = margin
    width, height = picture.size
    small = picture.resize((width // _WALL_SCALE, height // _WALL_SCALE), reducing_gap=2.0)
    wall = _mirrored(small, tuple(math.ceil(side / _WALL_SCALE) for side in margin))
    wall = wall.filter(ImageFilter.GaussianBlur(3)).point(lambda value: value * 7 // 10)
    scene = wall.resize((left + width + right, upper + height + lower), Image.Resampling.BICUBIC)
    scene.paste(picture, (left, upper))
    return scene


def _mirrored(picture: Image.Image, margin: tuple[int, ...]) -> Image.Image:
    """The picture with its own reflection around it."""
    left, upper, right, lower = margin
    width, height = picture.size
    mirrored = Image.new("RGB", (left + width + right, upper + height + lower))
    mirrored.paste(picture, (left, upper))
    flip = Image.Transpose.FLIP_LEFT_RIGHT
    if left:
        mirrored.paste(picture.crop((0, 0, left, height)).transpose(flip), (0, upper))
    if right:
        edge = picture.crop((width - right, 0, width, height)).transpose(flip)
        mirrored.paste(edge, (left + width, upper))
    flip = Image.Transpose.FLIP_TOP_BOTTOM
    across = mirrored.width
    if upper:
        mirrored.paste(mirrored.crop((0, upper, across, 2 * upper)).transpose(flip), (0, 0))
    if lower:
        foot = upper + height
        edge = mirrored.crop((0, foot - lower, across, foot)).transpose(flip)
        mirrored.paste(edge, (0, foot))
    return mirrored

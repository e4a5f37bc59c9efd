"""A picture hung up for a camera: cut to the frame's shape, on a wall that blurs it onwards."""

from __future__ import annotations

import math

from PIL import Image, ImageFilter, ImageOps

from kling_mcp.sandbox.film.camera import HOME, Move, Pose, box_of, homography_of, reach_of

__all__ = ["Canvas", "even_size"]

Size = tuple[int, int]
_CENTRING = (0.5, 0.3)
"""Where the cut leaves the picture: heads are rather above its middle."""

_WALL_SCALE = 8
"""The wall is blurred at 1/8 of the size, then enlarged: blur costs as the square of the size."""

_SHARP_UP_TO_PX = 3_000_000
"""Frames up to this many px are cut from a picture enlarged as far as the move goes in; larger
ones from one of their own size, which takes half the time and looks the same."""

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
        self._detail = zoom if size[0] * size[1] <= _SHARP_UP_TO_PX else 1.0
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

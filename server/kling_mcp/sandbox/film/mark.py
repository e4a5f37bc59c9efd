"""The word SANDBOX in a corner of every frame, so that no clip is taken for Kling's.

A number behind it tells takes of the same wish apart.
"""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

__all__ = ["Mark"]

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

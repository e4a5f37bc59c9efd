"""A picture that a film is made of, and the card of words that stands in for one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

__all__ = ["Still"]

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

    def load(self, wanted: int) -> Image.Image:
        """The picture upright in RGB, at least `wanted` px on its shorter side if it has them.

        Transparent parts become white. A file that cannot be decoded becomes a card that says so.
        """
        if self.path is None:
            return _card(self.caption, self.words)
        try:
            with Image.open(self.path) as file:
                file.draft("RGB", (2 * wanted, 2 * wanted))
                upright = ImageOps.exif_transpose(file)
                if not upright.has_transparency_data:
                    return upright.convert("RGB")
                clear = upright.convert("RGBA")
                paper = Image.new("RGB", clear.size, "white")
                paper.paste(clear, mask=clear.getchannel("A"))
                return paper
        except (OSError, SyntaxError, ValueError) as error:
            return _card("This picture cannot be decoded:", str(error))


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

"""The size of a picture as its header states it, read without decoding the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kling_mcp.body import SourceChanged
from kling_mcp.decoding import decoded_bytes
from kling_mcp.images.file_type import FileType
from kling_mcp.images.held import HEADER_BYTES, HeldFile
from kling_mcp.images.refusal import SOURCE, Refusal

__all__ = ["PIXELS_MAX", "Header", "read_header"]

PIXELS_MAX = 178_956_970
"""Pixels above which Pillow calls a picture a decompression bomb (twice its MAX_IMAGE_PIXELS)."""

WHOLE_READ_MAX = 10 * 1024 * 1024
"""Bytes up to which a header is read that cannot be had without the whole file."""

_ORIENTATION = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Header:
    """Width and height in stored pixels; `turned` when EXIF says to show it turned by 90°;
    `decoded_bytes` that decoding takes at most."""

    width: int
    height: int
    turned: bool = False
    decoded_bytes: int = 0


def read_header(held: HeldFile, file_type: FileType) -> Header | None:
    """What the header of a picture of this type says.

    None when the type has no reader here or only one that would read a big file whole. Raises
    `Refusal` when the header is damaged or states more than `PIXELS_MAX` pixels.
    """
    opener = file_type.opener() if file_type.light or held.size <= WHOLE_READ_MAX else None
    if opener is None:
        return None
    try:
        image = opener(held.view(HEADER_BYTES))
        width, height = (int(side) for side in image.size)
        if width < 1 or height < 1:
            raise ValueError("a picture without pixels")
        turned = _is_turned(image.info.get("exif"))
    except SourceChanged:
        raise
    except Exception as error:  # decoders raise anything when the bytes are hostile
        raise Refusal(
            "image_unreadable",
            f"{held.label} begins like {file_type.said}, but its header is damaged or cut short.",
            "a picture that opens in an image viewer",
            SOURCE,
        ) from error
    if width * height > PIXELS_MAX:
        raise Refusal(
            "image_pixels",
            f"{held.label} claims {width}x{height} px, more than {PIXELS_MAX:,} pixels in all.",
            "a smaller picture",
        )
    return Header(width, height, turned, decoded_bytes(image))


def _is_turned(exif: Any) -> bool:
    if not exif:
        return False
    from PIL import Image

    try:
        tags = Image.Exif()
        tags.load(exif)
        return tags.get(_ORIENTATION) in _QUARTER_TURNS
    except Exception:  # a damaged EXIF block does not make the picture unusable
        return False

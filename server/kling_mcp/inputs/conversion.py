"""Converts a picture that Kling would refuse into one that it takes."""

from __future__ import annotations

import math
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

from kling_mcp.inputs.decoding import Decoding, decoded_bytes, scans_of, upright
from kling_mcp.inputs.file_type import JPEG, PNG, FileType, Header
from kling_mcp.inputs.held import HeldFile, SourceChanged, size_text
from kling_mcp.inputs.picture_rules import (
    BYTES_MAX,
    CONVERTED_PIXEL_BYTES,
    SIDE_MIN,
    SOURCE_BYTES_MAX,
    Facts,
    Role,
)
from kling_mcp.inputs.refusal import Refusal
from kling_tools.errors import KlingError

__all__ = ["Converted", "convert"]


SIDE_MAX = 65_500
"""The most pixels of a JPEG's side."""

ALWAYS_CONVERTED_PIXELS = 20_000_000
"""The most pixels of a picture that is surely converted: 21 bytes each are 420 MB of memory."""

JPEG_QUALITY = 92
ATTEMPTS = 6


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted picture: its facts, its bytes in a temporary file, and a sentence about it."""

    facts: Facts
    held: HeldFile
    told: str


def convert(held: HeldFile, facts: Facts, role: Role, decoding: Decoding) -> Converted:
    """A copy of the picture that Kling takes: a JPEG, or a PNG if it has transparency.

    It is the first frame of an animation, turned as EXIF says. A small picture is enlarged to
    `SIDE_MIN` px, one of too many bytes is made smaller. A mask becomes a PNG of the same pixels.
    Raises `Refusal` when the picture cannot be decoded or made to fit, KlingError when no memory
    is free.
    """
    opener = facts.file_type.opener()
    if opener is None:
        raise _hopeless(facts, f"no reader of {facts.file_type.name} is installed here")
    if facts.size_bytes > SOURCE_BYTES_MAX:
        raise _hopeless(facts, f"nothing above {size_text(SOURCE_BYTES_MAX)} is converted")
    try:
        image = opener(held.view())
        needed = _needed_bytes(image, role)
        if not decoding.fits(needed) or max(image.size) > SIDE_MAX:
            raise _vast(facts.label, *image.size)
        with decoding.room(needed):
            animated = bool(getattr(image, "is_animated", False))
            image.load()
            image = _plain(image)
            file, file_type, image = _encoded(image, facts, role)
    except (Refusal, SourceChanged, KlingError):
        raise
    except Exception as error:  # decoders raise anything when the bytes are hostile
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the picture's
        raise Refusal(
            "image_unreadable",
            f"{facts.label} is damaged or cut short and cannot be converted.",
            "a picture that opens in an image viewer",
        ) from error
    kept = HeldFile(file, facts.label)
    now = Facts(facts.label, file_type, kept.size, Header(*image.size))
    frame = "the first frame of " if animated else ""
    return Converted(
        now, kept, f"{frame}{facts.label} ({_spoken(facts)}) is sent as {_spoken(now)}."
    )


def _needed_bytes(image: Any, role: Role) -> int:
    """Bytes of memory for the picture and for its copy, which may be larger."""
    width, height = image.size
    grown = 1.0 if role.mask else max(1.0, SIDE_MIN / min(width, height)) ** 2
    return decoded_bytes(image, scans=scans_of(image)) + int(
        width * height * grown * CONVERTED_PIXEL_BYTES
    )


def _plain(image: Any) -> Any:
    """The picture upright, as L, RGB or, if it has transparent pixels, RGBA."""
    image = upright(image)
    if image.mode not in ("RGB", "RGBA", "P"):
        image.info.pop("icc_profile", None)  # a profile of another colour space would be wrong
    if image.mode.startswith("I"):
        return image.convert("F").point(lambda level: level * (1 / 256)).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        lowest, _ = image.getchannel("A").getextrema()
        return image.convert("RGB") if lowest == 255 else image
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _encoded(image: Any, facts: Facts, role: Role) -> tuple[IO[bytes], FileType, Any]:
    """The encoded picture in a temporary file, its type, and the pixels that were encoded."""
    file_type = PNG if role.mask or image.mode == "RGBA" else JPEG
    if not role.mask and min(image.size) < SIDE_MIN:
        image = _resized(image, SIDE_MIN / min(image.size), facts.label)
    for _ in range(ATTEMPTS):
        with ExitStack() as undo:
            file = undo.enter_context(tempfile.TemporaryFile())
            image.save(file, file_type.name, quality=JPEG_QUALITY, optimize=role.mask)
            file.flush()
            size = file.seek(0, os.SEEK_END)
            if size <= BYTES_MAX:
                undo.pop_all()
                return file, file_type, image
        factor = 0.9 * math.sqrt(BYTES_MAX / size)
        if role.mask or min(image.size) * factor < SIDE_MIN:
            break
        image = _resized(image, factor, facts.label)
    raise _hopeless(facts, "it stays larger than 10 MB")


def _resized(image: Any, factor: float, label: str) -> Any:
    from PIL.Image import Resampling

    width, height = (max(SIDE_MIN, round(side * factor)) for side in image.size)
    if max(width, height) > SIDE_MAX:
        raise _vast(label, width, height)
    return image.resize((width, height), Resampling.LANCZOS)


def _vast(label: str, width: int, height: int) -> Refusal:
    return Refusal(
        "image_pixels",
        f"{label} cannot be converted: it would take {width}x{height} px in memory.",
        f"a picture of at most {ALWAYS_CONVERTED_PIXELS // 1_000_000} megapixels",
    )


def _hopeless(facts: Facts, reason: str) -> Refusal:
    return Refusal(
        "image_not_convertible",
        f"{facts.label} ({_spoken(facts)}) cannot be converted: {reason}.",
        "a JPEG or PNG copy of at most 10 MB",
    )


def _spoken(facts: Facts) -> str:
    header = facts.header
    pixels = [f"{header.width}x{header.height} px"] if header else []
    return ", ".join([facts.file_type.name, *pixels, size_text(facts.size_bytes)])

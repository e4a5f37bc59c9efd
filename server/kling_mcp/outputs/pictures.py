"""Whether a saved picture is whole, what it holds, and its pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kling_mcp.inputs.decoding import DECODING, Decoding, shrink
from kling_mcp.inputs.file_type import (
    HEAD_BYTES,
    JPEG,
    PNG,
    WEBP,
    FileType,
    detect,
    is_whole,
    read_header,
)
from kling_mcp.inputs.held import HeldFile, SourceChanged
from kling_mcp.inputs.refusal import Refusal

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PICTURE_TYPES", "NotWholePicture", "PictureFacts", "check_picture", "picture_of"]

PICTURE_TYPES = (PNG, JPEG, WEBP)
"""The types of pictures that are saved; Kling makes PNG and JPEG."""

T = TypeVar("T")


class NotWholePicture(ValueError):
    """The bytes are not one complete picture; `reason` says in a sentence what is wrong."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What a file with a picture holds: pixels as a viewer shows them, bytes, and its real type."""

    width: int
    height: int
    bytes: int
    file_type: FileType

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The endings of names of such a file, the usual one first."""
        return self.file_type.suffixes


def check_picture(path: Path) -> PictureFacts:
    """The facts of a picture, if it is a whole one, by its bytes and not by its name.

    Raises `NotWholePicture`, KlingError when no memory is free, `OSError` when the file cannot be
    read.
    """

    def look(held: HeldFile, file_type: FileType) -> PictureFacts:
        header = read_header(held, file_type)
        if header is None or not is_whole(held, file_type, DECODING):
            raise NotWholePicture("The picture is cut short or damaged.")
        return PictureFacts(header.width, header.height, held.size, file_type)

    return _looked_at(path, look)


def picture_of(path: Path, longest: int, decoding: Decoding) -> Image:
    """The picture upright in RGB, with sides of at most `longest` px. Raises like
    `check_picture`."""

    def look(held: HeldFile, file_type: FileType) -> Image:
        opener = file_type.opener()
        if opener is None:
            raise NotWholePicture("The picture has no reader here.")
        return shrink(opener(held.view()), longest, decoding).convert("RGB")

    return _looked_at(path, look)


def _looked_at(path: Path, look: Callable[[HeldFile, FileType], T]) -> T:
    held = HeldFile(path.open("rb"), path.name).hold("look")
    try:
        file_type = detect(held.head(HEAD_BYTES))
        if file_type not in PICTURE_TYPES:
            raise NotWholePicture(f"The file is no picture but {file_type.said}.")
        return look(held, file_type)
    except Refusal as refusal:
        raise NotWholePicture(str(refusal.fault("the file").message)) from refusal
    except (SyntaxError, SourceChanged) as error:
        raise NotWholePicture("The picture is damaged.") from error
    finally:
        held.let_go("look")


def likeness_of(one: Image, other: Image, side_px: int = 24) -> float:
    """How much two pictures are alike, from 0 to 1: the correlation of their greys, however the
    other one is fitted into the first one's shape. 1 is the same picture."""
    from statistics import StatisticsError, correlation

    from PIL import ImageOps

    def greys(picture: Image) -> list[int]:
        return list(picture.convert("L").resize((side_px, side_px)).tobytes())

    found = 0.0
    for fitted in (ImageOps.fit(other, one.size), other.resize(one.size)):
        try:
            found = max(found, correlation(greys(one), greys(fitted)))
        except StatisticsError:  # one of them is of a single grey
            found = max(found, 1.0 if greys(one) == greys(fitted) else 0.0)
    return 0.0 if math.isnan(found) else round(found, 2)

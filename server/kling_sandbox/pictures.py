"""Checks the pictures of requests, and stores them in the sandbox's folder."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from kling_sandbox.answers.refusals import invalid_value, refused
from kling_sandbox.intake import Lifted
from kling_sandbox.orders import GivenVideo, Picture, Task

__all__ = ["ImageHeader", "PictureFiles", "read_header", "same_shape"]


_PNG = b"\x89PNG\r\n\x1a\n"
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
_END_WINDOW = 65_536


class ImageHeader(NamedTuple):
    """`kind` is the file's real type. `width` and `height` are px as stored, before rotation."""

    kind: Literal["png", "jpg"]
    width: int
    height: int


def read_header(path: Path) -> ImageHeader | None:
    """Type and size of the file; None when it is not a whole PNG or JPEG. Raises `OSError`."""
    with path.open("rb") as file:
        start = file.read(24)
        if start.startswith(_PNG) and start[12:16] == b"IHDR" and len(start) == 24:
            sides = int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
            return ImageHeader("png", *sides) if _ends_with(file, b"IEND") else None
        if start.startswith(b"\xff\xd8"):
            file.seek(2)
            found = _jpeg_size(file)
            return ImageHeader("jpg", *found) if found and _ends_with(file, b"\xff\xd9") else None
    return None


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height from the first frame header, skipping every segment before it."""
    while True:
        lead = file.read(2)
        if len(lead) < 2 or lead[0] != 0xFF:
            return None
        if lead[1] == 0xFF:
            file.seek(-1, 1)
            continue
        if lead[1] in _BARE_MARKERS:
            continue
        length = int.from_bytes(file.read(2), "big")
        if length < 2:
            return None
        if lead[1] in _SIZE_MARKERS:
            frame = file.read(5)
            if len(frame) < 5:
                return None
            return int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
        file.seek(length - 2, 1)


def _ends_with(file: BinaryIO, mark: bytes) -> bool:
    """Whether the last bytes contain the end mark. Cameras write their own data after it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_WINDOW))
    return mark in file.read()


MOST_MB = 10
MIN_SIDE_PX = 300
MAX_RATIO = 2.5


class PictureFiles:
    """The folder of a sandbox's pictures. A file's name is its hash, so each is stored once.

    `find_video` tells what is known now (Unix seconds) of the video at an address; `keep_sound`
    stores a sound that came as base64, and raises `Refusal`; `find_task` finds a task by its id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.find_video: Callable[[str, float], GivenVideo] = lambda url, now: GivenVideo(url)
        self.keep_sound: Callable[[str | Lifted], GivenVideo] = lambda given: GivenVideo("")
        self.find_task: Callable[[str], Task | None] = lambda task_id: None

    def path(self, picture: Picture) -> Path:
        """The path of the picture's file."""
        return self._folder / picture.name

    def accept(self, field: str, value: object, most_mb: int = MOST_MB) -> Picture:
        """Check the value of a picture field and store its file.

        A URL is accepted unseen, as Kling does until the task runs. Base64 is checked at once
        (Kling's pages: JPEG or PNG, 10 MB or `most_mb`, 300 px a side, 1:2.5 to 2.5:1), while the
        real service may accept it and fail the task. Raises `Refusal`.
        """
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            return Picture(url=value)
        if isinstance(value, Lifted):
            return self._judged(field, value.path, value.size, value.sha256, most_mb)
        if not isinstance(value, str):
            raise invalid_value(field, value)
        try:
            raw = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise refused("not_base64") from None
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"{secrets.token_hex(16)}.part"
        part.write_bytes(raw)
        try:
            return self._judged(field, part, len(raw), hashlib.sha256(raw).hexdigest(), most_mb)
        finally:
            part.unlink(missing_ok=True)

    def _judged(self, field: str, path: Path, size: int, digest: str, most_mb: int) -> Picture:
        if size > most_mb * 1024 * 1024:
            raise refused("picture_size", field=field, most=most_mb)
        header = read_header(path)
        if header is None:
            raise refused("picture_format")
        _check_sides(header)
        picture = Picture(name=f"{digest}.{header.kind}", width=header.width, height=header.height)
        self._folder.mkdir(parents=True, exist_ok=True)
        path.replace(self.path(picture))
        return picture


def _check_sides(header: ImageHeader) -> None:
    sides = header.width, header.height
    if min(sides) < MIN_SIDE_PX:
        raise refused("picture_pixels")
    if max(sides) > MAX_RATIO * min(sides):
        raise refused("picture_ratio")


def same_shape(one: Picture, other: Picture) -> bool:
    """Whether two pictures have the same aspect ratio, within a px. A URL matches any."""
    if one.url or other.url:
        return True
    return abs(one.width * other.height - other.width * one.height) <= max(
        one.width, one.height, other.width, other.height
    )

"""The pictures that came with requests: judged, then kept on a shelf under their hash."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from pathlib import Path

from kling_mcp.sandbox.image_header import ImageHeader, read_header
from kling_mcp.sandbox.intake import Lifted
from kling_mcp.sandbox.order import Picture
from kling_mcp.sandbox.refusals import invalid_value, refused

__all__ = ["PictureShelf", "same_shape"]

MAX_BYTES = 10 * 1024 * 1024
MIN_SIDE_PX = 300
MAX_RATIO = 2.5
MAX_PIXELS = 100_000_000
"""Not Kling's limit: the sandbox has to decode the picture."""


class PictureShelf:
    """The folder of a sandbox's pictures. A file's name is its hash, so none is kept twice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, picture: Picture) -> Path:
        """Where the picture's file lies."""
        return self._folder / picture.name

    def take(self, field: str, value: object) -> Picture:
        """Judge the value of a picture field and put its file on the shelf.

        An address is believed unseen, as Kling does until the task runs. Base64 is judged at
        once (Kling's image2video page: JPEG or PNG, 10 MB, 300 px a side, 1:2.5 to 2.5:1), though
        the real service may only fail the task. Raises `Refusal`.
        """
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            return Picture(url=value)
        if isinstance(value, Lifted):
            return self._judged(field, value.path, value.size, value.sha256)
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
            return self._judged(field, part, len(raw), hashlib.sha256(raw).hexdigest())
        finally:
            part.unlink(missing_ok=True)

    def _judged(self, field: str, path: Path, size: int, digest: str) -> Picture:
        if size > MAX_BYTES:
            raise refused("picture_size", field=field)
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
    if max(sides) > MAX_RATIO * min(sides) or header.width * header.height > MAX_PIXELS:
        raise refused("picture_ratio")


def same_shape(one: Picture, other: Picture) -> bool:
    """Whether two pictures have one aspect ratio, to a px; an address may have any."""
    if one.url or other.url:
        return True
    return abs(one.width * other.height - other.width * one.height) <= max(
        one.width, one.height, other.width, other.height
    )

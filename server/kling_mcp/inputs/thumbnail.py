"""A small likeness of the picture that is animated, for the player in the chat."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from kling_mcp.inputs import PicturePolicy, look_at_picture
from kling_mcp.inputs.decoding import Decoding, shrink
from kling_mcp.inputs.file_type import FileType, read_header
from kling_mcp.inputs.held import HeldFile

__all__ = ["thumbnail"]

SIDE = 160
"""Longer side in px: twice what the player shows, for dense screens."""

QUALITY = 70

DECODED_BYTES_MAX = 128 * 1024 * 1024
"""Memory that a likeness is worth: a PNG of 33 megapixels, a JPEG of any size but a progressive
one of more than 16."""


async def thumbnail(wishes: Sequence[tuple[str, str]], policy: PicturePolicy) -> str:
    """The first of the pictures (field and value) as a `data:` URI of some kilobytes; empty for a
    URL, which is not fetched. Raises whatever stands against it."""
    if not wishes:
        return ""

    def small(held: HeldFile, file_type: FileType) -> str:
        return _small(held, file_type, policy.decoding)

    return await look_at_picture(wishes[0][1], policy, small) or ""


def _small(held: HeldFile, file_type: FileType, decoding: Decoding) -> str:
    opener = file_type.opener()
    if opener is None or read_header(held, file_type) is None:
        return ""
    small = shrink(opener(held.view()), SIDE, decoding, DECODED_BYTES_MAX)
    file = io.BytesIO()
    small.convert("RGB").save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"

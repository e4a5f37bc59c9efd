"""A small likeness of the picture that is animated, for the player in the chat."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence

from anyio import to_thread

from kling_mcp.images import PicturePolicy, open_pictures
from kling_mcp.images.held import HeldFile

__all__ = ["thumbnail"]

SIDE = 160
"""Longer side in px: twice what the player shows, for dense screens."""

QUALITY = 70


async def thumbnail(wishes: Sequence[tuple[str, str]], policy: PicturePolicy) -> str:
    """The first of the pictures (field and value) as a `data:` URI of some kilobytes; empty for a
    URL, which is not fetched, and for what cannot be decoded."""
    opened, _ = await open_pictures(wishes[:1], policy)
    try:
        held = opened[0].held if opened and opened[0] else None
        return await to_thread.run_sync(_small, held) if held else ""
    finally:
        for picture in opened:
            if picture:
                picture.close()


def _small(held: HeldFile) -> str:
    from PIL import Image, ImageOps

    file = io.BytesIO()
    try:
        with warnings.catch_warnings(), Image.open(held.view()) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image.draft("RGB", (SIDE, SIDE))
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((SIDE, SIDE))
            small.save(file, "JPEG", quality=QUALITY)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning):
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"

"""Posters: small pictures of finished videos, for hosts that show no player."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from kling_tools.addresses import VIDEO_URI
from kling_tools.errors import KlingError
from kling_tools.service import Poster

if TYPE_CHECKING:
    from PIL.Image import Image

    from kling_mcp.outputs.task_frames import Frames

__all__ = ["POSTERS", "POSTER_BYTES", "make_posters"]

POSTER_BYTES = 45_000
"""Bytes of one JPEG at most: 60 kB as base64, which is what stands in an answer."""

POSTERS = 4
"""Posters in one answer at most; further videos have none."""

_SIZES_AND_QUALITIES = ((512, 80), (512, 60), (384, 60), (256, 50), (256, 20))
"""Longer sides in px and qualities that are tried one after the other; the last always fits."""


async def make_posters(frames: Frames, task_ids: Sequence[str]) -> list[Poster]:
    """Posters of those tasks whose files are saved; nothing is saved for a poster, and a file that
    cannot be read has none."""
    posters: list[Poster] = []
    for task_id in dict.fromkeys(task_ids):
        if len(posters) == POSTERS:
            break
        try:
            found = await frames.saved_first_frame(task_id, _small_jpeg)
        except KlingError:
            continue
        if found is not None:
            jpeg, video_bytes = found
            uri = VIDEO_URI.format(task_id=quote(task_id, safe=""))
            posters.append(Poster(task_id, jpeg, uri, video_bytes))
    return posters


def _small_jpeg(picture: Image) -> bytes:
    data = b""
    for side, quality in _SIZES_AND_QUALITIES:
        small = picture.copy()
        small.thumbnail((side, side))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality)
        data = file.getvalue()
        if len(data) <= POSTER_BYTES:
            break
    return data

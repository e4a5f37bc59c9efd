"""Links to saved videos: short-lived, signed, and secret, as whoever has one may watch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from kling_mcp.videos.names import default_name

if TYPE_CHECKING:
    from kling_mcp.hosting.signing import Signer
    from kling_mcp.ledger import Record

__all__ = ["Link", "VideoLinks", "moment", "video_name"]

PURPOSE = "video"

WHOLE_S = 60
"""Links made within one such span are the same, so that two looks at a task answer the same."""


@dataclass(frozen=True, slots=True)
class Link:
    """An address and the time of its end, as people write it, UTC."""

    url: str
    expires_at: str


class VideoLinks:
    """Makes and checks links below `public_url` that hold for `lasts_s` seconds and up to a minute
    more."""

    def __init__(self, public_url: str, signer: Signer, lasts_s: float) -> None:
        self._base = f"{public_url.rstrip('/')}/videos"
        self._signer = signer
        self._lasts_s = lasts_s

    def link(self, record: Record) -> Link:
        """A link to the row's video."""
        expires = self._signer.expiry(self._lasts_s, WHOLE_S)
        signature = self._signer.sign(PURPOSE, record.id, expires)
        name = quote(video_name(record), safe="")
        url = f"{self._base}/{record.id}/{name}?expires={expires}&signature={signature}"
        return Link(url, moment(expires))

    def left_s(self, row_id: str, expires: str, signature: str) -> float:
        """Seconds that a link to this row's video still holds; 0 for one that does not."""
        return self._signer.left_s(PURPOSE, row_id, expires, signature)


def video_name(record: Record) -> str:
    """What a browser calls the file."""
    return default_name(record.prompt, record.handle)


def moment(seconds: float) -> str:
    """Seconds since the epoch in ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Signatures of addresses that this server gave out: who holds one may use it until it expires."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from kling_mcp.outputs.folder import default_name
from kling_mcp.tasks.views import Link

if TYPE_CHECKING:
    from kling_mcp.ledger import Record

__all__ = ["Signer", "VideoLinks", "moment", "owner_of", "video_name"]


_DIGITS = 12


class Signer:
    """Signs with one secret, which all replicas share. `clock` tells seconds since the epoch."""

    def __init__(self, secret: str, clock: Callable[[], float]) -> None:
        self._key = hashlib.sha256(b"kling-mcp addresses\0" + secret.encode()).digest()
        self._clock = clock

    def expiry(self, lasts_s: float, whole_s: int = 1) -> int:
        """The second at which an address ends that is made now; one of `whole_s` seconds, so that
        addresses made shortly after one another are the same."""
        return -int(-(self._clock() + lasts_s) // whole_s) * whole_s

    def sign(self, purpose: str, subject: str, expires: int) -> str:
        """HMAC-SHA256 in hex: 64 digits."""
        said = "\0".join((purpose, subject, str(expires))).encode()
        return hmac.digest(self._key, said, hashlib.sha256).hex()

    def left_s(self, purpose: str, subject: str, expires: str, signature: str) -> float:
        """Seconds that the address still holds; 0 when it has expired or was never signed here.

        The comparison takes the same time whatever is wrong.
        """
        plain = expires.isascii() and expires.isdigit() and len(expires) <= _DIGITS
        until = int(expires) if plain else 0
        wanted = self.sign(purpose, subject, until)
        same = hmac.compare_digest(wanted.encode(), signature.encode(errors="replace"))
        return max(0.0, until - self._clock()) if same and plain else 0.0


def owner_of(principal: str) -> str:
    """What a principal's files lie under: tells nobody who it is; `local` where nobody logs in."""
    return hashlib.sha256(principal.encode()).hexdigest()[:24] if principal else "local"


PURPOSE = "video"

WHOLE_S = 60
"""Links made within one such span are the same, so that two looks at a task answer the same."""


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

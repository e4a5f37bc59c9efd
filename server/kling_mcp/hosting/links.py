"""Signed addresses of this server. Whoever holds one may use it until it expires."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from kling_mcp.outputs.storage import name_of
from kling_mcp.tasks.views import Link

if TYPE_CHECKING:
    from kling_mcp.ledger import Record

__all__ = ["Signer", "VideoLinks", "iso_time", "owner_of"]


_DIGITS = 12


class Signer:
    """Signs with one secret, which all replicas share. `clock` returns seconds since the epoch."""

    def __init__(self, secret: str, clock: Callable[[], float]) -> None:
        self._key = hashlib.sha256(b"kling-mcp addresses\0" + secret.encode()).digest()
        self._clock = clock

    def expiry(self, lasts_s: float, whole_s: int = 1) -> int:
        """The expiry of an address made now (seconds since the epoch), rounded up to a multiple of
        `whole_s`, so that addresses made shortly after one another are equal."""
        return -int(-(self._clock() + lasts_s) // whole_s) * whole_s

    def sign(self, purpose: str, subject: str, expires: int) -> str:
        """HMAC-SHA256 in hex: 64 digits."""
        said = "\0".join((purpose, subject, str(expires))).encode()
        return hmac.digest(self._key, said, hashlib.sha256).hex()

    def left_s(self, purpose: str, subject: str, expires: str, signature: str) -> float:
        """Seconds until the address expires; 0 when it has expired or was never signed here.

        The comparison takes constant time.
        """
        plain = expires.isascii() and expires.isdigit() and len(expires) <= _DIGITS
        until = int(expires) if plain else 0
        expected = self.sign(purpose, subject, until)
        same = hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))
        return max(0.0, until - self._clock()) if same and plain else 0.0


def owner_of(principal: str) -> str:
    """The folder name of a principal's files: a hash, or `local` on a server without a login."""
    return hashlib.sha256(principal.encode()).hexdigest()[:24] if principal else "local"


PURPOSE = "video"

WHOLE_S = 60
"""Seconds. Links made within one such span are equal, so two queries of a task answer the same."""


class VideoLinks:
    """Makes and checks links below `public_url`. They are valid for `lasts_s` seconds, and up to a
    minute longer."""

    def __init__(self, public_url: str, signer: Signer, lasts_s: float) -> None:
        self._base = f"{public_url.rstrip('/')}/videos"
        self._signer = signer
        self._lasts_s = lasts_s

    def link(self, record: Record) -> Link:
        """A link to the row's video, or to the picture whose `number` the row has."""
        expires = self._signer.expiry(self._lasts_s, WHOLE_S)
        signature = self._signer.sign(PURPOSE, _subject(record.id, record.number), expires)
        name = quote(name_of(record), safe="")
        url = f"{self._base}/{record.id}/{name}?expires={expires}&signature={signature}"
        if record.number > 1:
            url += f"&number={record.number}"
        return Link(url, iso_time(expires))

    def left_s(self, row_id: str, expires: str, signature: str, number: int = 1) -> float:
        """Seconds until a link to this row's video, or to its picture of that number, expires; 0
        for an invalid one."""
        return self._signer.left_s(PURPOSE, _subject(row_id, number), expires, signature)


def _subject(row_id: str, number: int) -> str:
    return row_id if number == 1 else f"{row_id}/{number}"


def iso_time(seconds: float) -> str:
    """Seconds since the epoch in ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

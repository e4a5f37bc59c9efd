"""Signatures of addresses that this server gave out: who holds one may use it until it expires."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

__all__ = ["Signer", "owner_of"]

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

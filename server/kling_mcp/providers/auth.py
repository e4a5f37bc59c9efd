"""The credentials behind `Authorization: Bearer …`: an API key, or a short-lived JWT.

The JWT follows Kling's authentication page: HS256 over the secret key with `iss` (access key),
`exp` (now + 1800 s) and `nbf` (now - 5 s).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["A_KEY", "ApiKey", "Credentials", "SignedToken"]

A_KEY = "KLING_API_KEY in place of KLING_ACCESS_KEY and KLING_SECRET_KEY"
"""The settings that the new standard takes."""

LIFETIME_S = 1800
NOT_BEFORE_S = 5
RENEW_BEFORE_S = 300
"""Seconds before its end at which a token is replaced, as it must outlive a long upload."""


class Credentials(Protocol):
    """Gives the bearer token of the next request. `secrets` are the keys and the tokens in use,
    which nobody else may read."""

    secrets: tuple[str, ...]

    def token(self) -> str:
        """The token for a request that is sent now."""
        ...

    def renew(self) -> bool:
        """Drop a refused token. Returns whether the next token differs."""
        ...


@dataclass(slots=True)
class ApiKey:
    """A key that is itself the token."""

    key: str = field(repr=False)
    secrets: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.secrets = (self.key,)

    def token(self) -> str:
        """The key."""
        return self.key

    def renew(self) -> bool:
        """Returns False: the key stays the same."""
        return False


@dataclass(slots=True)
class SignedToken:
    """A JWT made from an access key and a secret key, replaced well before it ends.

    `clock` gives the seconds since the epoch.
    """

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    clock: Callable[[], float] = time.time
    secrets: tuple[str, ...] = field(init=False, repr=False)
    _token: str = field(default="", repr=False)
    _ends_at: float = 0.0

    def __post_init__(self) -> None:
        self.secrets = (self.access_key, self.secret_key)

    def token(self) -> str:
        """A token that stays valid for at least five minutes."""
        now = self.clock()
        if now > self._ends_at - RENEW_BEFORE_S:
            import jwt

            claims = {
                "iss": self.access_key,
                "exp": int(now) + LIFETIME_S,
                "nbf": int(now) - NOT_BEFORE_S,
            }
            with warnings.catch_warnings():
                # Kling judges the key; the library's opinion of its length would go to stderr.
                warnings.simplefilter("ignore")
                before = self._token  # may still be on its way
                self._token = jwt.encode(claims, self.secret_key, algorithm="HS256")
            self.secrets = (self.access_key, self.secret_key, self._token, before)
            self._ends_at = int(now) + LIFETIME_S
        return self._token

    def renew(self) -> bool:
        """Returns True: the next token is a fresh one."""
        self._ends_at = 0.0
        return True

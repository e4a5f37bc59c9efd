"""The principal: the person or program that a request's login stands for."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

__all__ = ["LOCAL", "METRICS", "READ", "SPEND", "Principal", "own_external_id"]

READ = "kling:read"
SPEND = "kling:spend"
METRICS = "kling:metrics"
"""The scopes of a login: to see its own tasks, to make new ones, and to read the metrics."""


OWN_LENGTH = 119
"""Characters of a chosen id that fit behind the prefix of its login."""


@dataclass(frozen=True, slots=True)
class Principal:
    """`name` stands for one login, the same on every replica. It is empty on a person's own machine
    (no logins, everything belongs to that person). `expires_at` is when this login
    ends, in seconds since the epoch."""

    name: str
    scopes: frozenset[str]
    expires_at: float = field(default=math.inf, compare=False)

    @property
    def only(self) -> str | None:
        """The name of the principal whose rows are seen; None when all rows are."""
        return self.name or None

    def external_id(self, chosen: str) -> str:
        """The external_task_id that is sent for one that the caller chose. Kling takes each id once
        per account. A prefix for each login keeps others from learning which ids are in use."""
        return own_external_id(self.name, chosen) if self.name and chosen else chosen


def own_external_id(name: str, chosen: str) -> str:
    """An id of at most 128 characters that no other login's name leads to."""
    whose = hashlib.sha256(name.encode()).hexdigest()[:8]
    if len(chosen) > OWN_LENGTH:
        chosen = hashlib.sha256(chosen.encode()).hexdigest()
    return f"{whose}-{chosen}"


LOCAL = Principal("", frozenset({READ, SPEND}))

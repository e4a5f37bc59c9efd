"""Who asks: the person or program that a request's login stands for."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

__all__ = ["LOCAL", "METRICS", "READ", "SPEND", "Principal", "own_external_id"]

READ = "kling:read"
SPEND = "kling:spend"
METRICS = "kling:metrics"
"""The scopes of a login: to look at one's tasks, to make new ones, and to read what is counted."""


OWN_LENGTH = 119
"""Characters of a chosen id that fit beside what stands for its login."""


@dataclass(frozen=True, slots=True)
class Principal:
    """`name` stands for one login, the same on every replica; empty on a machine of one's own,
    where there is none and everything is one's own. `expires_at` is when this login ends, in
    seconds since the epoch."""

    name: str
    scopes: frozenset[str]
    expires_at: float = field(default=math.inf, compare=False)

    @property
    def only(self) -> str | None:
        """The principal whose rows are seen; None where all rows are."""
        return self.name or None

    def external_id(self, chosen: str) -> str:
        """The external_task_id that is sent for one that the caller chose. Kling takes each id once
        for an account: with a part of each login's own, nobody learns which ones others use."""
        return own_external_id(self.name, chosen) if self.name and chosen else chosen


def own_external_id(name: str, chosen: str) -> str:
    """An id that no other login's name makes, of at most 128 characters."""
    whose = hashlib.sha256(name.encode()).hexdigest()[:8]
    if len(chosen) > OWN_LENGTH:
        chosen = hashlib.sha256(chosen.encode()).hexdigest()
    return f"{whose}-{chosen}"


LOCAL = Principal("", frozenset({READ, SPEND}))

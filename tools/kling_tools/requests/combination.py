"""What a model can make, as patterns, and the request that is held against them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Combination", "is_pattern"]

_PATTERN = re.compile(r"(?P<what>\*|[\w*-]+/[\d*]+)(?P<conditions>( \w+=[\w-]+)*)(?P<doubt> \?)?")


@dataclass(frozen=True, slots=True)
class Combination:
    """One request's mode, duration (seconds, as text) and what else a pattern may ask about."""

    mode: str
    duration: str
    details: Mapping[str, str]

    def matches(self, pattern: str) -> bool:
        """Whether the pattern covers this combination; its mark of doubt is not looked at."""
        match = _PATTERN.fullmatch(pattern)
        if match is None:
            return False
        mode, _, duration = match["what"].replace("*", "*/*", match["what"] == "*").partition("/")
        conditions = dict(pair.split("=") for pair in match["conditions"].split())
        return (
            mode in ("*", self.mode)
            and duration in ("*", self.duration)
            and all(self.details.get(name) == value for name, value in conditions.items())
        )


def is_pattern(text: str) -> bool:
    """Whether the text is MODE/DURATION, `*` for any, with conditions and a mark of doubt."""
    return _PATTERN.fullmatch(text) is not None

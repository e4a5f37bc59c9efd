"""Values of somebody else's JSON, taken for what they should be or for nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["mapping", "number", "seconds", "text"]

SECONDS_BELOW = 1e11
"""Times below this are seconds, above it milliseconds."""


def mapping(value: Any) -> Mapping[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def text(value: Any) -> str:
    """Text, also from a whole number. JSON can spell half a character (a lone surrogate), which
    no URL and no file takes: it becomes a question mark."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """A finite number that is not negative, also from text; None for anything else."""
    try:
        found = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and found >= 0 else None


def seconds(value: Any) -> float | None:
    """A time in seconds since the epoch, from seconds or milliseconds."""
    found = number(value)
    if found is None:
        return None
    return found if found < SECONDS_BELOW else found / 1000

"""Values of somebody else's JSON, taken for what they should be or for nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["is_address", "mapping", "number", "reason", "seconds", "text"]

SECONDS_BELOW = 1e11
"""Times below this are seconds, above it milliseconds."""

TEXT_LIMIT = 8000
"""Characters of any text that are looked at: longer than every id and URL that is believed."""

LARGEST = 1e300
"""Numbers up to this can be added up and stay finite."""

LAST_S = 4_102_444_800.0
"""The year 2100, in seconds since the epoch: nothing that a provider tells of lies behind it."""

REASON_LIMIT = 1000
"""Characters of a reason that are kept."""

REASONS = (
    *("message", "msg", "detail", "error_message", "error_msg", "errorMessage"),
    *("error_description", "description", "reason", "fail_reason", "title", "error", "errors"),
)
"""Where providers and the frameworks behind them say why: FastAPI in `detail`, for one."""

DEPTH = 4
"""How deep a reason may lie."""

LOC_LIMIT = 80
"""Characters of the name of the field that a reason is about."""

LISTED = 5
"""Reasons of one list that are told."""


def mapping(value: Any) -> Mapping[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def text(value: Any) -> str:
    """Text, also from a whole number, at most TEXT_LIMIT characters. JSON can spell half a
    character (a lone surrogate), which no URL and no file takes: it becomes a question mark."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return ""
    return value[:TEXT_LIMIT].encode("utf-8", "replace").decode()


def number(value: Any, most: float = LARGEST) -> float | None:
    """A number from 0 to the `most` that can be true, also from text; None for anything else."""
    try:
        told = isinstance(value, str | int | float) and not isinstance(value, bool)
        found = float(value) if told else math.nan
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found <= most else None


def seconds(value: Any) -> float | None:
    """A time in seconds since the epoch, from seconds or milliseconds; None for anything else,
    such as a time that no calendar has."""
    found = number(value)
    if found is not None and found >= SECONDS_BELOW:
        found /= 1000
    return found if found is not None and found < LAST_S else None


def reason(value: Any, depth: int = DEPTH) -> str:
    """The words that say why, wherever they stand in an answer or a part of it; empty for none."""
    if isinstance(value, list) and depth:
        listed = [words for item in value[:LISTED] if (words := reason(item, depth - 1))]
        return "; ".join(listed)[:REASON_LIMIT]
    if not isinstance(value, Mapping) or not depth:
        return text(value[:REASON_LIMIT] if isinstance(value, str) else value)
    said = (reason(value[name], depth - 1) for name in REASONS if name in value)
    words = next((words for words in said if words), "")
    where = value.get("loc")
    if words and isinstance(where, list) and where:
        words = f"{text(where[-1])[:LOC_LIMIT]}: {words}"
    return words[:REASON_LIMIT]


def is_address(words: str) -> bool:
    """Whether this is an address of the web."""
    return words[:8].lower().startswith(("https://", "http://"))

"""Single values of a provider's answer, read without trust: text, numbers, times, addresses."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "currency",
    "identifier",
    "is_address",
    "mapping",
    "number",
    "reason",
    "seconds",
    "text",
    "web_address",
]

_CURRENCY = re.compile(r"[A-Z]{3}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_URL = re.compile(r"https?://[!-~\u00a1-\U0010ffff]{1,4000}", re.IGNORECASE)

SECONDS_BELOW = 1e11
"""Times below this are in seconds, times above it in milliseconds."""

TEXT_LIMIT = 8000
"""The most characters of a text that are read; every valid id and URL is shorter."""

LARGEST = 1e300
"""Sums of numbers up to this stay finite."""

LAST_S = 4_102_444_800.0
"""The year 2100 in seconds since the epoch; every true time of a provider is earlier."""

REASON_LIMIT = 1000
"""The most characters of a reason."""

REASONS = (
    *("message", "msg", "detail", "error_message", "error_msg", "errorMessage"),
    *("error_description", "description", "reason", "fail_reason", "title", "error", "errors"),
)
"""The fields in which providers and their frameworks give a reason; FastAPI uses `detail`."""

REASON_DEPTH = 4
"""The most levels at which a reason is looked for."""

LOC_LIMIT = 80
"""The most characters of a field's name in a reason."""

LISTED = 5
"""The most reasons of one list that are told."""


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def text(value: Any) -> str:
    """The value as text, at most TEXT_LIMIT characters; a whole number becomes text, any other
    value an empty text. JSON can spell half a character (a lone surrogate), which no URL and no
    file can hold: it becomes a question mark."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return ""
    return value[:TEXT_LIMIT].encode("utf-8", "replace").decode()


def number(value: Any, most: float = LARGEST) -> float | None:
    """The value as a number from 0 to `most`, also from text; None for any other value."""
    try:
        told = isinstance(value, str | int | float) and not isinstance(value, bool)
        found = float(value) if told else math.nan
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found <= most else None


def currency(value: Any) -> str:
    """The value if it is a currency's code, such as USD; else empty."""
    code = text(value).strip().upper()
    return code if _CURRENCY.fullmatch(code) else ""


def seconds(value: Any) -> float | None:
    """The value as seconds since the epoch, from seconds or milliseconds; None for any other value,
    such as a time after the year 2100."""
    found = number(value)
    if found is not None and found >= SECONDS_BELOW:
        found /= 1000
    return found if found is not None and found < LAST_S else None


def reason(value: Any, depth: int = REASON_DEPTH) -> str:
    """The reason in an answer or a part of it, wherever it stands; empty without one."""
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
    """Whether the text is a web address."""
    return words[:8].lower().startswith(("https://", "http://"))


def identifier(value: Any) -> str:
    """The value if it can be an id, also from a whole number; else empty."""
    return found if _ID.fullmatch(found := text(value)) else ""


def web_address(value: Any) -> str:
    """The value if it is a web address that can be shown; else empty."""
    found = text(value).strip()
    return found if _URL.fullmatch(found) and found.isprintable() else ""

"""Whether a read is worth repeating, and when: the provider's wish and the caller's patience."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import anyio

from kling_tools.errors import ProviderError

__all__ = ["LAST_ATTEMPT_S", "patience", "retry_after_s"]

LAST_ATTEMPT_S = 20
"""Seconds after the first attempt of a read at which no other one is begun."""


def patience(began: float) -> Callable[[Exception], bool | float]:
    """A backoff hook for stamina: whether a read that `began` then (seconds of the event loop's
    clock) is repeated after an error, and after how many seconds when the provider says so."""

    def decide(error: Exception) -> bool | float:
        if not isinstance(error, ProviderError) or not error.retryable:
            return False
        if error.retry_after_s is None:
            return True
        in_time = anyio.current_time() + error.retry_after_s <= began + LAST_ATTEMPT_S
        return error.retry_after_s if in_time else False

    return decide


def retry_after_s(header: str | None) -> float | None:
    """The Retry-After header, a number or a date (RFC 9110), in seconds from now.

    None when it is missing, cannot be read, or does not ask to wait.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = _seconds_until(header)
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _seconds_until(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return math.nan

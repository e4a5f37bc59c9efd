"""Limits for everything that another side could draw out, and the retries of reads."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import anyio

from kling_mcp.inputs.decoding import DECODING, Decoding
from kling_tools.errors import ProviderError

__all__ = [
    "DOWNLOAD_LIMITS",
    "LAST_ATTEMPT_S",
    "LONGEST_WAIT_S",
    "TIME_LIMITS",
    "DownloadLimits",
    "TimeLimits",
    "retry_after_s",
    "retry_hook",
]

LAST_ATTEMPT_S = 20
"""Seconds after the first attempt of a read within which another attempt may begin."""

LONGEST_WAIT_S = 300.0
"""The most seconds that a Retry-After can ask for; a longer one counts as this."""


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """How slow a download may be. An attempt ends when the answer has not begun within `opening_s`
    seconds, or when fewer than `least_bytes` bytes arrive in `least_in_s` seconds. The download
    ends when its attempts and their pauses take `within_s` seconds; the wait for its turn does not
    count.

    The sandbox makes a clip of 15 s in 4k before its first byte. A video of 10 MB may take the
    whole time on a line of 90 kbit/s.
    """

    opening_s: float = 180.0
    least_bytes: int = 64 * 1024
    least_in_s: float = 30.0
    within_s: float = 900.0


DOWNLOAD_LIMITS = DownloadLimits()


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """The limits of one server. A tool call is answered after `answer_s` seconds, whatever still
    runs, as hosts end a call after 60. A look at a task, a list or an account takes at most
    `look_s` of them, the wait for a video's file at most `file_s`. `download` and `decoding` have
    limits of their own."""

    answer_s: float = 45.0
    look_s: float = 30.0
    file_s: float = 20.0
    download: DownloadLimits = DOWNLOAD_LIMITS
    decoding: Decoding = DECODING


TIME_LIMITS = TimeLimits()


def retry_hook(began: float) -> Callable[[Exception], bool | float]:
    """A backoff hook for stamina. It tells whether a read that began at `began` (seconds of the
    event loop's clock) is repeated after an error, and after how many seconds if the provider says
    so."""

    def decide(error: Exception) -> bool | float:
        if not isinstance(error, ProviderError) or not error.retryable:
            return False
        if error.retry_after_s is None:
            return True
        in_time = anyio.current_time() + error.retry_after_s <= began + LAST_ATTEMPT_S
        return error.retry_after_s if in_time else False

    return decide


def retry_after_s(header: str | None) -> float | None:
    """The Retry-After header (a number or a date, RFC 9110) in seconds from now, at most
    `LONGEST_WAIT_S`; None when it is missing, unreadable, or asks for no wait.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = _seconds_until(header)
    return min(seconds, LONGEST_WAIT_S) if math.isfinite(seconds) and seconds > 0 else None


def _seconds_until(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return math.nan

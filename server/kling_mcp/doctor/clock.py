"""This machine's clock against a provider's, from the Date of its answer."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from kling_mcp.auth import LIFETIME_S, NOT_BEFORE_S
from kling_mcp.doctor.findings import Finding

__all__ = ["clock_finding", "server_ahead_s"]

HALF_A_SECOND = 0.5
"""A Date header is cut down to whole seconds: on average half a second is missing."""

NOTABLE_S = 60.0
"""Seconds from which a wrong clock is told where no token depends on it."""


def server_ahead_s(date: str, asked_at: float, answered_at: float) -> float | None:
    """Seconds by which the provider's clock is ahead of ours (seconds since the epoch), good to
    half the time that the answer took; None when the header cannot be read."""
    try:
        said = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return said + HALF_A_SECOND - (asked_at + answered_at) / 2


def clock_finding(name: str, ahead_s: float, *, signs_tokens: bool) -> Finding:
    """What the difference means; a token is valid from 5 s before to 30 min after it is made."""
    facts = {"provider": name, "server_ahead_s": round(ahead_s, 1)}
    off = f"this machine's clock is {abs(ahead_s):.0f} s {'behind' if ahead_s > 0 else 'ahead'}"
    refused = ahead_s < -NOT_BEFORE_S or ahead_s > LIFETIME_S
    if signs_tokens and refused:
        why = "not valid yet" if ahead_s < 0 else "expired"
        return Finding(
            "clock",
            "wrong",
            f"{name}: {off}: tokens made here are {why} there.",
            "Let the system set its clock from the network.",
            facts,
        )
    if abs(ahead_s) > NOTABLE_S:
        advice = "Let the system set its clock from the network."
        return Finding("clock", "warning", f"{name}: {off}.", advice, facts)
    return Finding("clock", "good", f"{name}: the clocks agree ({ahead_s:+.1f} s).", "", facts)

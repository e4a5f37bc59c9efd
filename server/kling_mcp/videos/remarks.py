"""What is odd about a saved file, compared with what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kling_mcp.videos.mp4 import Mp4Facts

__all__ = ["remark"]

APART_S, APART_SHARE = 0.5, 0.1
"""A length is told when it differs by more than both: Kling's clips are a few frames longer or
shorter than their round seconds (5.04 s, 10.04 s) [seen in its answers]."""


def remark(facts: Mp4Facts, request: Mapping[str, Any]) -> str:
    """Sentences about a length far from the `duration` of the request, and about sound that was
    switched on and is not there; empty when all is well or nothing is known."""
    asked_s = _seconds(request.get("duration"))
    found = []
    if asked_s and facts.duration_s:
        apart_s = abs(facts.duration_s - asked_s)
        if apart_s > max(APART_S, APART_SHARE * asked_s):
            found.append(f"The file is {facts.duration_s:g} s long; {asked_s:g} s were asked for.")
    if request.get("sound") == "on" and not facts.has_audio:
        found.append("The file has no sound, though sound was on.")
    return " ".join(found)


def _seconds(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0

"""The URIs of tasks, their videos and their frames among the resources, and of uploads."""

from __future__ import annotations

import re

__all__ = [
    "FRAME_URI",
    "IMAGE_URI",
    "SHEET_URI",
    "TASKS_URI",
    "TASK_URI",
    "UPLOADS_URI",
    "VIDEO_URI",
    "task_of",
]

TASKS_URI = "kling://tasks"
TASK_URI = "kling://tasks/{task_id}"
VIDEO_URI = "kling://tasks/{task_id}/video"
IMAGE_URI = "kling://tasks/{task_id}/images/{number}"
FRAME_URI = "kling://tasks/{task_id}/frames/{which}"
SHEET_URI = "kling://tasks/{task_id}/contact-sheet"
UPLOADS_URI = "kling://uploads"

_TASK = re.compile(r"kling://tasks/([^/?#]+)(?:/video)?")


def task_of(uri: str) -> str | None:
    """The task id in the URI of a task or of its video; None for any other URI."""
    match = _TASK.fullmatch(uri)
    return match.group(1) if match else None

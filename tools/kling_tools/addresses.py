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
    "bare_task",
    "is_address",
    "names_task",
    "task_of",
]

TASKS_URI = "kling://tasks"
TASK_URI = "kling://tasks/{task_id}"
VIDEO_URI = "kling://tasks/{task_id}/video"
IMAGE_URI = "kling://tasks/{task_id}/images/{number}"
FRAME_URI = "kling://tasks/{task_id}/frames/{which}"
SHEET_URI = "kling://tasks/{task_id}/contact-sheet"
UPLOADS_URI = "kling://uploads"

_ADDRESS = re.compile(r"\s*kling://", re.IGNORECASE)
_TASK_ID = re.compile(r"\s*(\d{15,20}|kmcp-[\w-]+)\s*")
_TASK = re.compile(r"kling://tasks/([^/?#]+)(?:/video)?")


def task_of(uri: str) -> str | None:
    """The task id in the URI of a task or of its video; None for any other URI."""
    match = _TASK.fullmatch(uri)
    return match.group(1) if match else None


def is_address(value: str) -> bool:
    """Whether a value given as a file is one of our own kling:// addresses."""
    return _ADDRESS.match(value) is not None


def bare_task(value: str) -> str:
    """The address of the task whose id is given in the place of a file; empty for any other
    value."""
    match = _TASK_ID.fullmatch(value)
    return TASK_URI.format(task_id=match[1]) if match else ""


def names_task(value: str) -> bool:
    """Whether a value given as a file is one that a task made."""
    return is_address(value) or bool(bare_task(value))

"""A task as a provider tells of it, whatever its dialect."""

from __future__ import annotations

from dataclasses import dataclass

from kling_tools.results import TaskStatus

__all__ = ["Task", "Video", "task_status"]

STATUS_WORDS: dict[str, TaskStatus] = {
    **dict.fromkeys(("submitted", "queued", "not_start"), "submitted"),
    **dict.fromkeys(("processing", "in_progress", "running", "pending"), "processing"),
    **dict.fromkeys(("succeed", "succeeded", "success", "completed"), "succeed"),
    **dict.fromkeys(("failed", "failure"), "failed"),
}
"""The words of Kling and of the gateways; any other word is `unknown`, never success."""


def task_status(word: object) -> TaskStatus:
    """The status that a provider's word stands for, in any case."""
    return STATUS_WORDS.get(str(word).strip().lower(), "unknown")


@dataclass(frozen=True, slots=True)
class Video:
    """One result: its signed URL, its length in seconds where told, its id at the provider."""

    url: str
    duration_s: float | None = None
    watermark_url: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """The state of a task. Times are seconds since the epoch; `units` is the true cost."""

    task_id: str
    status: TaskStatus
    message: str = ""
    external_task_id: str = ""
    videos: tuple[Video, ...] = ()
    units: float | None = None
    created_at: float | None = None
    updated_at: float | None = None

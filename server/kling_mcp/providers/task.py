"""A task as a provider tells of it, whatever its dialect."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from kling_tools.results import TaskStatus

__all__ = ["FILE_LATE_S", "NO_ADDRESS", "OUR_IDS", "Task", "Video", "settled", "task_status"]

_WORDS: dict[TaskStatus, str] = {
    "submitted": "submitted queued queueing queuing inqueue notstart created",
    "processing": "processing inprogress running pending generating started",
    "succeed": "succeed succeeded success successful completed complete done",
    "failed": "failed failure fail error errored rejected blocked cancelled canceled cancel "
    "aborted abort terminated stopped killed expired timeout timedout",
}
"""The words of Kling, of the gateways and of what gateways hand on from others, in small letters
alone; any other word is `unknown`, never success."""

STATUS_WORDS = {word: status for status, words in _WORDS.items() for word in words.split()}

OUR_IDS = "kmcp-"
"""How an external_task_id begins that was made here."""

NO_ADDRESS = "about:invalid"
"""Stands for the URL of a video that is named by what is no address of the web, such as `file:`."""

FILE_LATE_S = 120.0
"""Seconds for which a task that succeeded without a file is looked at again."""

_NOT_LETTERS = re.compile(r"[\W_]+")
_PREFIX = "taskstatus"


def task_status(word: object) -> TaskStatus:
    """The status that a provider's word stands for, in any spelling: TIMED_OUT, timed-out."""
    letters = _NOT_LETTERS.sub("", str(word)[:40].lower()).removeprefix(_PREFIX)
    return STATUS_WORDS.get(letters, "unknown")


@dataclass(frozen=True, slots=True)
class Video:
    """One result: its signed URL, its length in seconds where told, its id at the provider."""

    url: str
    duration_s: float | None = None
    watermark_url: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """The state of a task. Times are seconds since the epoch. `units` is the true cost, known once
    the task has ended; None where it was paid with `money` of the account's balance instead. One
    that `lacks_file` succeeded, as its provider says, and names no video: it counts as `processing`
    until it had `FILE_LATE_S` for that."""

    task_id: str
    status: TaskStatus
    message: str = ""
    external_task_id: str = ""
    videos: tuple[Video, ...] = ()
    units: float | None = None
    money: float | None = None
    created_at: float | None = None
    updated_at: float | None = None
    lacks_file: bool = False


def settled(task: Task, now: float) -> Task:
    """A task made elsewhere, at a time in seconds since the epoch: it succeeded without a file once
    that cannot be merely late. Since when it is done, its provider knows alone."""
    late = now - (task.updated_at or 0.0) < FILE_LATE_S
    return task if late or not task.lacks_file else replace(task, status="succeed")

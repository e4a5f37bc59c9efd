"""A task as a provider tells of it, the same for all dialects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kling_mcp.providers.library import Asset
from kling_tools.products import AssetKind, Result
from kling_tools.results import TaskStatus

__all__ = [
    "FILE_LATE_S",
    "NO_ADDRESS",
    "OUR_IDS",
    "Task",
    "Video",
    "only",
    "settled",
    "task_status",
    "with_its_file",
]

_WORDS: dict[TaskStatus, str] = {
    "submitted": "submitted queued queueing queuing inqueue notstart created",
    "processing": "processing inprogress running pending generating started",
    "succeed": "succeed succeeded success successful completed complete done",
    "failed": "failed failure fail error errored rejected blocked cancelled canceled cancel "
    "aborted abort terminated stopped killed expired timeout timedout",
}
"""The words of Kling, of the gateways and of the gateways' own upstreams, in small letters. Any
other word is `unknown`, never a success."""

STATUS_WORDS = {word: status for status, words in _WORDS.items() for word in words.split()}

OUR_IDS = "kmcp-"
"""The beginning of every external_task_id that this program makes."""

NO_ADDRESS = "about:invalid"
"""Stands for the URL of a video whose address is no web address, such as `file:`."""

FILE_LATE_S = 120.0
"""Seconds for which a task that succeeded without a file is asked for again."""

_NOT_LETTERS = re.compile(r"[\W_]+")
_PREFIX = "taskstatus"


def task_status(word: object) -> TaskStatus:
    """The status for a provider's word, in any spelling, such as TIMED_OUT or timed-out."""
    letters = _NOT_LETTERS.sub("", str(word)[:40].lower()).removeprefix(_PREFIX)
    return STATUS_WORDS.get(letters, "unknown")


@dataclass(frozen=True, slots=True)
class Video:
    """One result: its signed URL, its length in seconds if known, its id at the provider. It is a
    picture where its `kind` says so."""

    url: str
    duration_s: float | None = None
    watermark_url: str = ""
    id: str = ""
    kind: Result = "video"


@dataclass(frozen=True, slots=True)
class Task:
    """The state of a task. Times are seconds since the epoch. `units` is the true cost, known once
    the task has ended; None if the account's balance paid instead: `money` of `currency` (USD, CNY,
    empty when not told), `list_price` in the same currency before any discount, from the balance or
    the test balance (`cash_type`, Kling's word). A task that `lacks_file` succeeded at its provider
    but names no video; it counts as `processing` for `FILE_LATE_S`. `asset` is the element or voice
    that it made. `told` is the answer itself."""

    task_id: str
    status: TaskStatus
    message: str = ""
    external_task_id: str = ""
    videos: tuple[Video, ...] = ()
    units: float | None = None
    money: float | None = None
    currency: str = ""
    cash_type: str = ""
    list_price: float | None = None
    created_at: float | None = None
    updated_at: float | None = None
    lacks_file: bool = False
    asset: Asset | None = None
    told: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


def only(task: Task, kind: Result | AssetKind) -> Task:
    """The task with its files of this kind alone; one that succeeded with others lacks its own. An
    address that a gateway gives without a word about its kind is a picture where one is made."""
    own = tuple(each for each in task.videos if each.kind == kind)
    if kind == "picture" and not own:
        own = tuple(replace(each, kind=kind) for each in task.videos)
    return with_its_file(replace(task, videos=own)) if own != task.videos else task


def with_its_file(task: Task) -> Task:
    """The task; one that succeeded without a file counts as running until it has one."""
    done = task.status == "succeed" and not (task.videos or task.asset)
    return replace(task, status="processing", lacks_file=True) if done else task


def settled(task: Task, now: float) -> Task:
    """A task without a ledger row, at `now` in seconds since the epoch: it counts as succeeded
    without a file once `FILE_LATE_S` have passed since the provider's last update."""
    late = now - (task.updated_at or 0.0) < FILE_LATE_S
    return task if late or not task.lacks_file else replace(task, status="succeed")

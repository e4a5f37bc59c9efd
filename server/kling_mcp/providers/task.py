"""A task, and an element or a voice, as a provider tells of them, the same for all dialects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kling_mcp.providers.values import identifier, mapping, text, web_address
from kling_tools.products import ASSETS, AssetKind, Result
from kling_tools.results import TaskStatus

__all__ = [
    "FILE_LATE_S",
    "NO_ADDRESS",
    "OUR_IDS",
    "Asset",
    "Task",
    "Video",
    "only",
    "read_asset",
    "read_library",
    "settled",
    "task_status",
    "with_its_file",
]


MOST_TAGS = 8
MOST_IN_ONE_TASK = 16
NAME_LIMIT, DESCRIPTION_LIMIT = 60, 200
"""Characters of a name and of a description that are read; Kling takes 20 and 100."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One element or voice. `preview` is the address of its picture or its sample, `own` says that
    it is the account's and not Kling's, `of_video` that an element was made of a video, `voice` is
    the name of an element's voice."""

    kind: AssetKind
    id: str
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    preview: str = ""
    voice: str = ""
    own: bool = True
    of_video: bool = False
    deleted: bool = False


def read_asset(data: Mapping[str, Any]) -> Asset | None:
    """The element or voice that a task made, from its result of the old standard or its outputs of
    the new one; None for any other task."""
    return next(_assets(data), None)


def read_library(document: Mapping[str, Any], *, own: bool) -> tuple[list[Asset], int]:
    """The assets of a page of a list, each one once, without unreadable entries; and the number of
    entries, those without an asset too."""
    data = document.get("data")
    tasks = [mapping(item) for item in data] if isinstance(data, list) else []
    found = {asset.id: asset for task in tasks for asset in _assets(task)}
    return [replace(asset, own=own) for asset in found.values()], len(tasks)


def _assets(task: Mapping[str, Any]) -> Iterator[Asset]:
    result = mapping(task.get("task_result"))
    for row in ASSETS.values():
        for item in _items(result.get(f"{row.kind}s")):
            if found := identifier(item.get(f"{row.kind}_id")):
                yield _of_old_standard(row.kind, found, item)
    for item in _items(task.get("outputs")):
        kind, found = item.get("type"), identifier(item.get("id"))
        if found and (kind == "element" or kind == "voice"):
            yield _of_new_standard(kind, found, item)


def _of_old_standard(kind: AssetKind, found: str, item: Mapping[str, Any]) -> Asset:
    pictures = mapping(item.get("element_image_list"))
    voice = mapping(item.get("element_voice_info"))
    return Asset(
        kind,
        found,
        name=_words(item.get(f"{kind}_name"), NAME_LIMIT),
        description=_words(item.get("element_description"), DESCRIPTION_LIMIT),
        tags=_tags(item.get("tag_list")),
        preview=web_address(item.get("trial_url")) or web_address(pictures.get("frontal_image")),
        voice=_words(voice.get("voice_name"), NAME_LIMIT),
        own=text(item.get("owned_by")) != "kling",
        of_video=item.get("reference_type") == "video_refer",
        deleted=item.get("status") == "deleted",
    )


def _of_new_standard(kind: AssetKind, found: str, item: Mapping[str, Any]) -> Asset:
    parts = _items(item.get("references")) or _items(item.get("materials"))
    front = next((part for part in parts if part.get("role") == "frontal"), {})
    return Asset(
        kind,
        found,
        name=_words(item.get("name"), NAME_LIMIT),
        description=_words(item.get("description"), DESCRIPTION_LIMIT),
        tags=_tags(item.get("tags")),
        preview=web_address(item.get("url")) or web_address(front.get("url")),
        own=text(item.get("owned_by")) != "kling",
        of_video=item.get("element_type") == "video_character_elements",
        deleted=item.get("status") == "deleted",
    )


def _items(value: Any) -> Sequence[Mapping[str, Any]]:
    return [mapping(item) for item in value[:MOST_IN_ONE_TASK]] if isinstance(value, list) else []


def _tags(value: Any) -> tuple[str, ...]:
    names = (_words(tag.get("name"), NAME_LIMIT) for tag in _items(value)[:MOST_TAGS])
    return tuple(filter(None, names))


def _words(value: Any, limit: int) -> str:
    """A text of one line, at most `limit` characters; also from strangers, so only what prints."""
    line = " ".join(text(value)[: 4 * limit].split())
    return "".join(letter for letter in line if letter.isprintable())[:limit]


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

"""A task read from whatever shape a provider gives it.

`envelope`  Kling:      {code: 0, data: {task_id, task_status, task_result: {videos: […]}}}
`wrapper`   new-api:    {code: "success", data: {task_id, status: "SUCCESS", progress: "100%",
                        fail_reason, result_url, submit_time, data: <what the upstream said>}}
`openai`    new-api's   {id, task_id, object: "video", model, status, progress: 0, created_at}
            creates

A shape is recognised by its status field, so a gateway that changes from one to another between
versions is still understood. What a provider says is checked here, where it enters: ids and URLs
stand in answers as they are, so only what can be one is taken for one; a reason is cut short, and
so is a list of videos; what a task cost is believed when it has ended.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kling_mcp.providers.error_codes import SUCCESS_CODES, unreadable
from kling_mcp.providers.rows import Shape
from kling_mcp.providers.task import NO_ADDRESS, Task, Video, task_status
from kling_tools.results import ENDED

__all__ = [
    "mapping",
    "number",
    "read_look",
    "read_task",
    "read_tasks",
    "reason",
    "seconds",
    "text",
]

DEPTH = 4
"""How deep a wrapper may hold the upstream's own answer."""

MOST_VIDEOS = 16
"""Videos of one task that are kept: Kling makes one."""

MOST_UNITS = 100_000.0
"""Units of one task that can be true: Kling's largest pack holds fewer."""

LONGEST_S = 86_400.0
"""Seconds of a video that can be true."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_URL = re.compile(r"https?://[!-~\u00a1-\U0010ffff]{1,4000}", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"(?!https?:)[a-z][a-z0-9+.-]{0,30}:", re.IGNORECASE)

JUST_FAILED = ("failed", "failure", "fail")
"""Words for a task that failed which say no more than that."""

WORD_LIMIT = 40
"""Characters of a word for a task's state that are told."""

NO_WORD = ("", "unknown")
"""What a wrapper says for its status while only the upstream's own answer tells one."""


def read_task(document: Mapping[str, Any], shapes: Sequence[Shape], provider: str) -> Task:
    """The task of an answer to a create.

    Raises ProviderDown when no shape fits, no id is named, or it says success without a video.
    """
    task = _read(document, shapes, provider)
    if task.lacks_file:
        raise unreadable(provider, "it says success and gives no video")
    return task


def read_look(
    document: Mapping[str, Any],
    shapes: Sequence[Shape],
    provider: str,
    asked: str,
    *,
    repeats_ids: bool = True,
) -> Task:
    """The task of an answer to the question about `asked`, its task_id or external_task_id, which
    a provider that `repeats_ids` names again. It may have no video yet.

    Raises ProviderDown when no shape fits, no id is named, or it tells of another task.
    """
    task = _read(document, shapes, provider)
    told, ours = _named(document, "task_id", "id"), _named(document, "external_task_id")
    if text(asked) not in (*told, *ours) and (ours or repeats_ids):
        raise unreadable(provider, "it tells of another task")
    return task


def _read(document: Mapping[str, Any], shapes: Sequence[Shape], provider: str) -> Task:
    for shape in shapes:
        reader, fits = READERS[shape]
        if fits(document):
            task = reader(document)
            if not task.task_id:
                break
            done = task.status == "succeed" and not task.videos
            return replace(task, status="processing", lacks_file=True) if done else task
    raise unreadable(provider, "it names no task")


def _named(document: Mapping[str, Any], *names: str) -> list[str]:
    """All ids of these names in an answer, however deep."""
    levels = [place for level in _levels(document) for place in (level, level.get("task_info"))]
    return [
        found for level in levels for name in names if (found := text(mapping(level).get(name)))
    ]


def read_tasks(document: Mapping[str, Any]) -> list[Task]:
    """The tasks of Kling's list, each once; entries that cannot be read are left out."""
    data = document.get("data")
    items = [item for item in data if isinstance(item, Mapping)] if isinstance(data, list) else []
    tasks = {task.task_id: task for task in (_kling_task(item) for item in items)}
    return [t for t in tasks.values() if t.task_id and (t.videos or t.status != "succeed")]


def _is_envelope(document: Mapping[str, Any]) -> bool:
    data = mapping(document.get("data"))
    return "task_status" in data or ("task_id" in data and "status" not in data)


def _is_wrapper(document: Mapping[str, Any]) -> bool:
    return "status" in mapping(document.get("data"))


def _is_openai(document: Mapping[str, Any]) -> bool:
    return not mapping(document.get("data")) and bool({"id", "task_id"} & set(document))


def _envelope(document: Mapping[str, Any]) -> Task:
    return _kling_task(mapping(document.get("data")))


def _kling_task(data: Mapping[str, Any]) -> Task:
    info = mapping(data.get("task_info"))
    task = Task(
        task_id=_id(data, "task_id"),
        status=task_status(data.get("task_status")),
        message=reason(data.get("task_status_msg")),
        external_task_id=text(info.get("external_task_id")),
        videos=_videos(mapping(data.get("task_result")).get("videos")),
        created_at=seconds(data.get("created_at")),
        updated_at=seconds(data.get("updated_at")),
    )
    return _charged(_ended_so(task, data.get("task_status")), data)


def _charged(task: Task, data: Mapping[str, Any]) -> Task:
    """The task with what it cost. Units tell that only where no money was taken beside them."""
    told = data.get("final_balance_deduction")
    sums = [told.get("quota"), told.get("list_price")] if isinstance(told, Mapping) else [told]
    if task.status not in ENDED:
        return task
    if all(value in (None, "") or number(value) == 0 for value in sums):
        return replace(task, units=number(data.get("final_unit_deduction"), MOST_UNITS))
    return replace(task, money=next((found for value in sums if (found := number(value))), None))


def _ended_so(task: Task, word: object) -> Task:
    """A task that failed without a reason has the provider's word for it, if that says more."""
    plain = text(word).strip().lower() in JUST_FAILED
    return (
        task
        if task.status != "failed" or task.message or plain
        else replace(task, message=text(word)[:WORD_LIMIT])
    )


def _wrapper(document: Mapping[str, Any]) -> Task:
    data = mapping(document.get("data"))
    levels = _levels(data)
    inner = next((_kling_task(level) for level in levels if "task_status" in level), None)
    word = text(data.get("status")).strip().lower()
    status = inner.status if inner and word in NO_WORD else task_status(word)
    videos = _wrapped_videos(data, inner) if status == "succeed" else ()
    if status == "succeed" and not videos and inner and inner.status == "failed":
        status = "failed"
    task = Task(
        task_id=_id(data, "task_id", "id"),
        status=status,
        message=_why_failed(data, inner, levels) if status == "failed" else "",
        videos=videos,
        units=inner.units if inner and status in ENDED else None,
        money=inner.money if inner and status in ENDED else None,
        created_at=seconds(data.get("submit_time")) or seconds(data.get("created_at")),
        updated_at=seconds(data.get("finish_time")) or seconds(data.get("updated_at")),
    )
    return _ended_so(task, word)


def _levels(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The wrapper's data and what lies in it: however many envelopes, and then the upstream's
    task."""
    levels = [data]
    while len(levels) <= DEPTH and (below := mapping(levels[-1].get("data"))):
        levels.append(below)
    return levels


def _why_failed(
    data: Mapping[str, Any], inner: Task | None, levels: Sequence[Mapping[str, Any]]
) -> str:
    """Why a task failed, from wherever the gateway has put it; an address is no reason."""
    told = [reason(data.get("fail_reason")), inner.message if inner else ""]
    for level in levels:
        told.append(reason(level.get("error")))
        if text(level.get("code")).lower() not in SUCCESS_CODES:
            told.append(reason(level))
    told.append(reason(data.get("result_url")))
    return next((words for words in told if words and not is_address(words)), "")


def _wrapped_videos(data: Mapping[str, Any], inner: Task | None) -> tuple[Video, ...]:
    """Newer gateways name the URL `result_url`, older ones put it where the reason stands."""
    if inner and inner.videos:
        return inner.videos
    told = (_url(data, name) for name in ("result_url", "url", "fail_reason"))
    return next(((Video(url),) for url in told if url), ())


def _openai(document: Mapping[str, Any]) -> Task:
    status = task_status(document.get("status")) if document.get("status") else "submitted"
    url = _url(document, "url") or _url(mapping(document.get("metadata")), "url")
    task = Task(
        task_id=_id(document, "task_id", "id"),
        status=status,
        message=reason(document.get("error")) or reason(document) if status == "failed" else "",
        videos=(Video(url),) if status == "succeed" and url else (),
        created_at=seconds(document.get("created_at")),
        updated_at=seconds(document.get("completed_at")),
    )
    return _ended_so(task, document.get("status"))


def _id(data: Mapping[str, Any], *names: str) -> str:
    return next((found for n in names if _ID.fullmatch(found := text(data.get(n)))), "")


def _url(data: Mapping[str, Any], name: str) -> str:
    found = text(data.get(name)).strip()
    return found if _URL.fullmatch(found) and found.isprintable() else ""


Reader = Callable[[Mapping[str, Any]], Task]
Fits = Callable[[Mapping[str, Any]], bool]

READERS: Mapping[Shape, tuple[Reader, Fits]] = {
    "envelope": (_envelope, _is_envelope),
    "wrapper": (_wrapper, _is_wrapper),
    "openai": (_openai, _is_openai),
}


def _videos(value: Any) -> tuple[Video, ...]:
    items = value[:MOST_VIDEOS] if isinstance(value, list) else []
    return tuple(video for item in items if (video := _video(mapping(item))).url)


def _video(item: Mapping[str, Any]) -> Video:
    named = text(item.get("url")).strip()
    return Video(
        url=NO_ADDRESS if _OTHER_SCHEME.match(named) else _url(item, "url"),
        duration_s=number(item.get("duration"), LONGEST_S),
        watermark_url=_url(item, "watermark_url"),
        id=_id(item, "id"),
    )


SECONDS_BELOW = 1e11
"""Times below this are seconds, above it milliseconds."""

TEXT_LIMIT = 8000
"""Characters of any text that are looked at: longer than every id and URL that is believed."""

LARGEST = 1e300
"""Numbers up to this can be added up and stay finite."""

LAST_S = 4_102_444_800.0
"""The year 2100, in seconds since the epoch: nothing that a provider tells of lies behind it."""

REASON_LIMIT = 1000
"""Characters of a reason that are kept."""

REASONS = (
    *("message", "msg", "detail", "error_message", "error_msg", "errorMessage"),
    *("error_description", "description", "reason", "fail_reason", "title", "error", "errors"),
)
"""Where providers and the frameworks behind them say why: FastAPI in `detail`, for one."""

REASON_DEPTH = 4
"""How deep a reason may lie."""

LOC_LIMIT = 80
"""Characters of the name of the field that a reason is about."""

LISTED = 5
"""Reasons of one list that are told."""


def mapping(value: Any) -> Mapping[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def text(value: Any) -> str:
    """Text, also from a whole number, at most TEXT_LIMIT characters. JSON can spell half a
    character (a lone surrogate), which no URL and no file takes: it becomes a question mark."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return ""
    return value[:TEXT_LIMIT].encode("utf-8", "replace").decode()


def number(value: Any, most: float = LARGEST) -> float | None:
    """A number from 0 to the `most` that can be true, also from text; None for anything else."""
    try:
        told = isinstance(value, str | int | float) and not isinstance(value, bool)
        found = float(value) if told else math.nan
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found <= most else None


def seconds(value: Any) -> float | None:
    """A time in seconds since the epoch, from seconds or milliseconds; None for anything else,
    such as a time that no calendar has."""
    found = number(value)
    if found is not None and found >= SECONDS_BELOW:
        found /= 1000
    return found if found is not None and found < LAST_S else None


def reason(value: Any, depth: int = REASON_DEPTH) -> str:
    """The words that say why, wherever they stand in an answer or a part of it; empty for none."""
    if isinstance(value, list) and depth:
        listed = [words for item in value[:LISTED] if (words := reason(item, depth - 1))]
        return "; ".join(listed)[:REASON_LIMIT]
    if not isinstance(value, Mapping) or not depth:
        return text(value[:REASON_LIMIT] if isinstance(value, str) else value)
    said = (reason(value[name], depth - 1) for name in REASONS if name in value)
    words = next((words for words in said if words), "")
    where = value.get("loc")
    if words and isinstance(where, list) and where:
        words = f"{text(where[-1])[:LOC_LIMIT]}: {words}"
    return words[:REASON_LIMIT]


def is_address(words: str) -> bool:
    """Whether this is an address of the web."""
    return words[:8].lower().startswith(("https://", "http://"))

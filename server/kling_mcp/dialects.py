"""A task read from whatever shape a provider gives it.

`envelope`  Kling:      {code: 0, data: {task_id, task_status, task_result: {videos: […]}}}
`wrapper`   new-api:    {code: "success", data: {task_id, status: "SUCCESS", progress: "100%",
                        fail_reason, result_url, submit_time, data: <what the upstream said>}}
`openai`    new-api's   {id, task_id, object: "video", model, status, progress: 0, created_at}
            creates

A shape is recognised by its status field, so a gateway that changes from one to another between
versions is still understood. Success without a video's URL is never success. Ids and URLs stand in
answers as they are, so only what can be one is taken for one; a reason is cut short.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kling_mcp.answers import SUCCESS_CODES, unreadable
from kling_mcp.json_values import mapping, number, seconds, text
from kling_mcp.providers import Shape
from kling_mcp.tasks import Task, Video, task_status

__all__ = ["read_task", "read_tasks"]

DEPTH = 4
"""How deep a wrapper may hold the upstream's own answer."""

REASON_LIMIT = 1000
"""Characters of a failed task's reason that are kept."""

_ID = re.compile(r"[!-~]{1,128}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~\u00a1-\U0010ffff]{1,4000}")

NO_WORD = ("", "unknown")
"""What a wrapper says for its status while only the upstream's own answer tells one."""


def read_task(document: Mapping[str, Any], shapes: Sequence[Shape], provider: str) -> Task:
    """The task of an answer to a create or a query.

    Raises ProviderDown when no shape fits, no id is named, or it says success without a video.
    """
    for shape in shapes:
        reader, fits = READERS[shape]
        if fits(document):
            task = reader(document)
            if not task.task_id:
                raise unreadable(provider, "it names no task")
            if task.status == "succeed" and not task.videos:
                raise unreadable(provider, "it says success and gives no video")
            return task
    raise unreadable(provider, "it names no task")


def read_tasks(document: Mapping[str, Any]) -> list[Task]:
    """The tasks of Kling's list; entries that cannot be read are left out."""
    data = document.get("data")
    items = [item for item in data if isinstance(item, Mapping)] if isinstance(data, list) else []
    tasks = [_kling_task(item) for item in items]
    return [task for task in tasks if task.task_id and (task.videos or task.status != "succeed")]


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
    return Task(
        task_id=_id(data, "task_id"),
        status=task_status(data.get("task_status")),
        message=text(data.get("task_status_msg"))[:REASON_LIMIT],
        external_task_id=text(info.get("external_task_id")),
        videos=_videos(mapping(data.get("task_result")).get("videos")),
        units=number(data.get("final_unit_deduction")),
        created_at=seconds(data.get("created_at")),
        updated_at=seconds(data.get("updated_at")),
    )


def _wrapper(document: Mapping[str, Any]) -> Task:
    data = mapping(document.get("data"))
    levels = _levels(data)
    inner = next((_kling_task(level) for level in levels if "task_status" in level), None)
    word = text(data.get("status")).strip().lower()
    status = inner.status if inner and word in NO_WORD else task_status(word)
    return Task(
        task_id=_id(data, "task_id", "id"),
        status=status,
        message=_reason(data, inner, levels)[:REASON_LIMIT] if status == "failed" else "",
        videos=_wrapped_videos(data, inner) if status == "succeed" else (),
        units=inner.units if inner else None,
        created_at=seconds(data.get("submit_time")) or seconds(data.get("created_at")),
        updated_at=seconds(data.get("finish_time")) or seconds(data.get("updated_at")),
    )


def _levels(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The wrapper's data and what lies in it: however many envelopes, and then the upstream's
    task."""
    levels = [data]
    while len(levels) <= DEPTH and (below := mapping(levels[-1].get("data"))):
        levels.append(below)
    return levels


def _reason(
    data: Mapping[str, Any], inner: Task | None, levels: Sequence[Mapping[str, Any]]
) -> str:
    """Why a task failed, from wherever the gateway has put it; an address is no reason."""
    told = [text(data.get("fail_reason")), inner.message if inner else ""]
    for level in levels:
        told.append(_error_message(level))
        if text(level.get("code")).lower() not in SUCCESS_CODES:
            told.append(text(level.get("message")))
    told.append(text(data.get("result_url")))
    return next((words for words in told if words and not _is_address(words)), "")


def _error_message(document: Mapping[str, Any]) -> str:
    error = document.get("error")
    return text(mapping(error).get("message")) or text(error)


def _wrapped_videos(data: Mapping[str, Any], inner: Task | None) -> tuple[Video, ...]:
    """Newer gateways name the URL `result_url`, older ones put it where the reason stands."""
    if inner and inner.videos:
        return inner.videos
    told = (_url(data, name) for name in ("result_url", "url", "fail_reason"))
    return next(((Video(url),) for url in told if _is_address(url)), ())


def _is_address(words: str) -> bool:
    return words.lower().startswith(("https://", "http://"))


def _openai(document: Mapping[str, Any]) -> Task:
    status = task_status(document.get("status")) if document.get("status") else "submitted"
    url = _url(document, "url") or _url(mapping(document.get("metadata")), "url")
    reason = _error_message(document) or text(document.get("fail_reason"))
    return Task(
        task_id=_id(document, "task_id", "id"),
        status=status,
        message=reason[:REASON_LIMIT] if status == "failed" else "",
        videos=(Video(url),) if status == "succeed" and url else (),
        created_at=seconds(document.get("created_at")),
        updated_at=seconds(document.get("completed_at")),
    )


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
    items = value if isinstance(value, list) else []
    return tuple(
        Video(
            url=_url(item, "url"),
            duration_s=number(item.get("duration")),
            watermark_url=_url(item, "watermark_url"),
            id=text(item.get("id")),
        )
        for item in items
        if isinstance(item, Mapping) and _url(item, "url")
    )

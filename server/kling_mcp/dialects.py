"""A task read from whatever shape a provider gives it.

`envelope`  Kling:      {code: 0, data: {task_id, task_status, task_result: {videos: […]}}}
`wrapper`   new-api:    {code: "success", data: {task_id, status: "SUCCESS", progress: "100%",
                        fail_reason, result_url, submit_time, data: <what the upstream said>}}
`openai`    new-api's   {id, task_id, object: "video", model, status, progress: 0, created_at}
            creates

A shape is recognised by its status field, so a gateway that changes from one to another between
versions is still understood. Success without a video's URL is never success.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kling_mcp.answers import unreadable
from kling_mcp.json_values import mapping, number, seconds, text
from kling_mcp.providers import Shape
from kling_mcp.tasks import Task, Video, task_status
from kling_tools.results import TaskStatus

__all__ = ["read_task", "read_tasks"]

DEPTH = 4
"""How deep a wrapper may hold the upstream's own answer."""


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
        task_id=text(data.get("task_id")),
        status=task_status(data.get("task_status")),
        message=text(data.get("task_status_msg")),
        external_task_id=text(info.get("external_task_id")),
        videos=_videos(mapping(data.get("task_result")).get("videos")),
        units=number(data.get("final_unit_deduction")),
        created_at=seconds(data.get("created_at")),
        updated_at=seconds(data.get("updated_at")),
    )


def _wrapper(document: Mapping[str, Any]) -> Task:
    data = mapping(document.get("data"))
    inner = _upstream(data.get("data"))
    status = task_status(data.get("status"))
    if status == "unknown":
        status = inner.status if inner else status
    reason = text(data.get("fail_reason"))
    return Task(
        task_id=text(data.get("task_id")) or text(data.get("id")),
        status=status,
        message=_reason(status, reason, inner),
        videos=_wrapped_videos(status, data, reason, inner),
        units=inner.units if inner else None,
        created_at=seconds(data.get("submit_time")) or seconds(data.get("created_at")),
        updated_at=seconds(data.get("finish_time")) or seconds(data.get("updated_at")),
    )


def _upstream(value: Any) -> Task | None:
    """The upstream's own task, however many envelopes are around it."""
    for _ in range(DEPTH):
        value = mapping(value)
        if "task_status" in value:
            return _kling_task(value)
        value = value.get("data")
    return None


def _reason(status: TaskStatus, reason: str, inner: Task | None) -> str:
    if status != "failed":
        return ""
    return reason or (inner.message if inner else "")


def _wrapped_videos(
    status: TaskStatus, data: Mapping[str, Any], reason: str, inner: Task | None
) -> tuple[Video, ...]:
    """Newer gateways name the URL `result_url`, older ones put it where the reason stands."""
    if status != "succeed":
        return ()
    if inner and inner.videos:
        return inner.videos
    for url in (text(data.get("result_url")), text(data.get("url")), reason):
        if url.startswith(("https://", "http://")):
            return (Video(url),)
    return ()


def _openai(document: Mapping[str, Any]) -> Task:
    status = task_status(document.get("status")) if document.get("status") else "submitted"
    url = text(document.get("url")) or text(mapping(document.get("metadata")).get("url"))
    return Task(
        task_id=text(document.get("task_id")) or text(document.get("id")),
        status=status,
        message=text(mapping(document.get("error")).get("message")),
        videos=(Video(url),) if status == "succeed" and url else (),
        created_at=seconds(document.get("created_at")),
        updated_at=seconds(document.get("completed_at")),
    )


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
            url=text(item.get("url")),
            duration_s=number(item.get("duration")),
            watermark_url=text(item.get("watermark_url")),
            id=text(item.get("id")),
        )
        for item in items
        if isinstance(item, Mapping) and text(item.get("url"))
    )

"""Kling's own documents: the task, the envelope around it, and the refusal.

What a gateway answers is made of them too. Shapes are those of live answers and Kling's API pages.
"""

from __future__ import annotations

import uuid
from typing import Any

from kling_mcp.sandbox.links import VideoLinks
from kling_mcp.sandbox.refusals import Refusal
from kling_mcp.sandbox.task import Task

__all__ = ["KlingDocuments", "envelope", "refusal_document", "request_id", "video_seconds"]

_FRAMES_PER_S = 24


class KlingDocuments:
    """Tasks as Kling writes them; `url_ttl_s` is how long a video's address holds."""

    def __init__(self, links: VideoLinks, url_ttl_s: float) -> None:
        self._links = links
        self._url_ttl_s = url_ttl_s

    def receipt(self, task: Task, task_id: str) -> dict[str, Any]:
        """What a create answers: `submitted`, however fast the task may be."""
        return self._outline(task, task_id, task.created_at) | {"task_status": "submitted"}

    def task(self, task: Task, task_id: str, now: float) -> dict[str, Any]:
        """What a query answers; until it has succeeded a task has no `task_result`."""
        shown = self._outline(task, task_id, now)
        status = task.status(now)
        shown["task_status_msg"] = task.failure if status == "failed" else ""
        shown["watermark_info"] = {"enabled": task.order.watermark}
        charged = task.charged(now)
        if charged is not None:
            shown["final_unit_deduction"] = f"{charged:g}"
        if status == "succeed":
            shown["task_result"] = {"videos": [self._video(task)]}
        return shown

    def video_url(self, task: Task) -> str:
        """The signed address of the task's video."""
        return str(self._video(task)["url"])

    def _outline(self, task: Task, task_id: str, now: float) -> dict[str, Any]:
        outline: dict[str, Any] = {"task_id": task_id, "task_status": task.status(now)}
        if task.order.external_task_id:
            outline["task_info"] = {"external_task_id": task.order.external_task_id}
        outline["created_at"] = int(task.created_at * 1000)
        outline["updated_at"] = int(task.updated_at(now) * 1000)
        return outline

    def _video(self, task: Task) -> dict[str, str]:
        product = task.order.product
        expires = int(task.ended_at + self._url_ttl_s)
        video = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, task.task_id)),
            "url": self._links.url(product, task.task_id, expires),
            "duration": video_seconds(task.order.duration),
        }
        if task.order.watermark:
            video["watermark_url"] = self._links.url(product, task.task_id, expires, marked=True)
        return video


def video_seconds(asked: int) -> str:
    """The duration that Kling reports for a clip asked to be `asked` seconds long.

    A clip has one frame more than its seconds hold, at 24 a second, so 5 becomes "5.041"; the
    sandbox's own files are as long (a test reads it from them).
    """
    return f"{(asked * _FRAMES_PER_S + 1) * 1000 // _FRAMES_PER_S / 1000:.3f}"


def envelope(data: object, message: str = "SUCCEED") -> dict[str, Any]:
    """Success, around `data`."""
    return {"code": 0, "message": message, "request_id": request_id(), "data": data}


def refusal_document(refusal: Refusal) -> dict[str, Any]:
    """A refusal: it carries a request id and no data."""
    return {"code": refusal.code, "message": refusal.message, "request_id": request_id()}


def request_id() -> str:
    """A new one for each answer."""
    return str(uuid.uuid4())

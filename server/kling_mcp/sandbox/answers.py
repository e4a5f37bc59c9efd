"""How Kling words its answers: the envelope `{code, message, request_id, data}` and what is in it.

The only module that knows the shape of an answer; a gateway's dialect is another one beside it.
Shapes are those of live answers and Kling's API pages.
"""

from __future__ import annotations

import uuid
from typing import Any

from starlette.responses import JSONResponse, Response

from kling_mcp.sandbox.links import VideoLinks
from kling_mcp.sandbox.refusals import Refusal
from kling_mcp.sandbox.task import Task

__all__ = ["KlingAnswers"]

_FRAMES_PER_S = 24


class KlingAnswers:
    """Answers of the official API; `url_ttl_s` is how long a video's address holds."""

    def __init__(self, links: VideoLinks, url_ttl_s: float) -> None:
        self._links = links
        self._url_ttl_s = url_ttl_s

    def created(self, task: Task) -> Response:
        """The receipt of a create: `submitted`, however fast the task may be."""
        return _envelope(self._outline(task, task.created_at) | {"task_status": "submitted"})

    def one(self, task: Task, now: float) -> Response:
        """One task."""
        return _envelope(self._task(task, now))

    def many(self, tasks: list[Task], now: float) -> Response:
        """A page of tasks: `data` is an array, with no total."""
        return _envelope([self._task(task, now) for task in tasks])

    def costs(self, total: float, spent: float, now: float) -> Response:
        """`/account/costs`: one resource pack with what is left of it."""
        pack = {
            "resource_pack_name": "Sandbox video pack",
            "resource_pack_id": "sandbox-pack-1",
            "resource_pack_type": "decreasing_total",
            "total_quantity": total,
            "remaining_quantity": round(total - spent, 4),
            "purchase_time": 0,
            "effective_time": 0,
            "invalid_time": _ms(now) + 365 * 86_400_000,
            "status": "online" if spent < total else "runOut",
        }
        return _envelope({"code": 0, "msg": "", "resource_pack_subscribe_infos": [pack]})

    def refused(self, refusal: Refusal) -> Response:
        """A refusal: it carries a request id and no data."""
        body = {"code": refusal.code, "message": refusal.message, "request_id": _request_id()}
        headers = {}
        if refusal.retry_after_s is not None:
            headers["Retry-After"] = str(refusal.retry_after_s)
        return JSONResponse(body, refusal.http_status, headers)

    def _outline(self, task: Task, now: float) -> dict[str, Any]:
        outline: dict[str, Any] = {"task_id": task.task_id, "task_status": task.status(now)}
        if task.order.external_task_id:
            outline["task_info"] = {"external_task_id": task.order.external_task_id}
        outline["created_at"] = _ms(task.created_at)
        outline["updated_at"] = _ms(task.updated_at(now))
        return outline

    def _task(self, task: Task, now: float) -> dict[str, Any]:
        """A task; until it has succeeded it has no `task_result`."""
        shown = self._outline(task, now)
        status = task.status(now)
        shown["task_status_msg"] = task.failure if status == "failed" else ""
        shown["watermark_info"] = {"enabled": task.order.watermark}
        charged = task.charged(now)
        if charged is not None:
            shown["final_unit_deduction"] = f"{charged:g}"
        if status == "succeed":
            shown["task_result"] = {"videos": [self._video(task)]}
        return shown

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


def _envelope(data: object) -> Response:
    return JSONResponse(
        {"code": 0, "message": "SUCCEED", "request_id": _request_id(), "data": data}
    )


def _request_id() -> str:
    return str(uuid.uuid4())


def _ms(seconds: float) -> int:
    return int(seconds * 1000)

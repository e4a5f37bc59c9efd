"""What the local provider answers, in the words of each contender's API.

The shapes are those that the published packages read. A task that was made runs for ever.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["DIALECTS", "Dialect", "Reply"]

Reply = tuple[int, dict[str, Any]]
"""HTTP status and JSON body."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One provider's API below the path `/NAME`.

    `creates` ends the path of the request that makes a task and is paid. `created` and `running`
    answer with its number, `unknown` when there is no such task; `limited` and `empty` refuse a
    create: too many requests, no balance. `number` writes a number as the API's ids are, and
    `priced` answers a question for the price, whose path has `/estimate/`.
    """

    creates: str
    created: Callable[[str], Reply]
    running: Callable[[list[str]], Reply]
    unknown: Reply
    limited: Reply
    empty: Reply
    number: Callable[[int], str] = str
    priced: Reply | None = None


def _kling_task(number: str) -> dict[str, Any]:
    times = {"created_at": 1790000000000, "updated_at": 1790000000000}
    return {"task_id": number, "task_status": "processing", **times}


def _kling(code: int, message: str, data: Any = None) -> dict[str, Any]:
    return {"code": code, "message": message, "request_id": "1", "data": data}


def _minimax(code: int, message: str, **more: Any) -> dict[str, Any]:
    return {**more, "base_resp": {"status_code": code, "status_msg": message}}


def _h3_task(number: str) -> dict[str, Any]:
    return {"id": number, "status": "running", "task_type": "generation"}


def _ace_error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}, "trace_id": "1"}


def _kling_running(asked: list[str]) -> Reply:
    tasks = [_kling_task(number) for number in asked]
    return 200, _kling(0, "SUCCEED", tasks[0] if len(tasks) == 1 else tasks)


DIALECTS: dict[str, Dialect] = {
    "kling": Dialect(
        creates="/v1/videos/image2video",
        created=lambda number: (200, _kling(0, "SUCCEED", _kling_task(number))),
        running=_kling_running,
        unknown=(400, _kling(1201, "task not found")),
        limited=(429, _kling(1302, "too many requests")),
        empty=(429, _kling(1102, "account balance not enough")),
    ),
    "ace": Dialect(
        creates="/kling/videos",
        created=lambda number: (200, {"success": True, "task_id": number, "trace_id": "1"}),
        running=lambda asked: (200, {"id": asked[0], "state": "pending", "response": {}}),
        unknown=(404, _ace_error("not_found", "task not found")),
        limited=(429, _ace_error("too_many_requests", "too many requests")),
        empty=(403, _ace_error("used_up", "your balance is not enough")),
    ),
    "minimax": Dialect(
        creates="/v1/video_generation",
        created=lambda number: (200, _minimax(0, "success", task_id=number)),
        running=lambda asked: (200, _minimax(0, "success", task_id=asked[0], status="Processing")),
        unknown=(200, _minimax(2013, "invalid task_id")),
        limited=(200, _minimax(1002, "rate limit")),
        empty=(200, _minimax(1008, "insufficient balance")),
    ),
    "kie": Dialect(
        creates="/jobs/createTask",
        created=lambda number: (200, {"code": 200, "msg": "success", "data": {"taskId": number}}),
        running=lambda asked: (
            200,
            {"code": 200, "msg": "success", "data": {"taskId": asked[0], "state": "generating"}},
        ),
        unknown=(200, {"code": 422, "msg": "recordInfo is null"}),
        limited=(429, {"code": 429, "msg": "too many requests"}),
        empty=(200, {"code": 402, "msg": "insufficient credits"}),
    ),
    "higgsfield": Dialect(
        creates="/higgsfield/kling-video/v3.0/std/image-to-video",
        created=lambda number: (200, {"status": "queued", "request_id": number}),
        running=lambda asked: (200, {"status": "in_progress", "request_id": asked[0]}),
        unknown=(404, {"detail": "request not found"}),
        limited=(400, {"detail": "Maximum number of concurrent requests reached"}),
        empty=(403, {"detail": "insufficient credits"}),
        number=lambda number: str(uuid.UUID(int=number)),
        priced=(200, {"type": "estimate", "usd": "0.35", "credits": "5.6", "discount": None}),
    ),
    "minimax-h3": Dialect(
        creates="/v2/video_generation",
        created=lambda number: (200, _minimax(0, "success", task_id=number)),
        running=lambda asked: (200, _minimax(0, "success", task=_h3_task(asked[0]))),
        unknown=(200, _minimax(2013, "invalid task_id")),
        limited=(200, _minimax(1002, "rate limit")),
        empty=(200, _minimax(1008, "insufficient balance")),
    ),
}

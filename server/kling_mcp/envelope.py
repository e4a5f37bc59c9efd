"""Kling's answers read: the envelope `{code, message, request_id, data}` and the task in it.

Code 0 is success whatever the message says; HTTP 200 with another code happens (seen live), and so
do answers without `request_id`, `data`, `task_info` or `task_result`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kling_mcp.error_codes import UNREADABLE, row_for
from kling_mcp.tasks import Task, Video, task_status
from kling_tools.errors import ProviderError

__all__ = ["Answer", "read_data", "read_task"]

SECONDS_BELOW = 1e11
"""Times below this are seconds, above it milliseconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as far as the readers need it."""

    http_status: int
    body: bytes
    retry_after_s: float | None = None
    provider: str = ""


def read_data(answer: Answer) -> Any:
    """The `data` of a successful envelope; raises the ProviderError that the answer stands for."""
    envelope = _json_object(answer)
    code = _text(envelope.get("code"))
    message = _text(envelope.get("message"))
    if code == "0" and answer.http_status < 400:
        return envelope.get("data")
    row = row_for(code, message, answer.http_status)
    raise row.error(
        row.message,
        code=code or None,
        http_status=answer.http_status,
        request_id=_text(envelope.get("request_id")) or None,
        retryable=row.retryable,
        retry_after_s=answer.retry_after_s,
        provider=answer.provider,
        provider_message=message,
        charged=row.created,
        advice=row.advice,
    )


def _json_object(answer: Answer) -> Mapping[str, Any]:
    try:
        parsed = json.loads(answer.body)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, Mapping):
        return parsed
    row = row_for("", "", answer.http_status) if answer.http_status >= 300 else UNREADABLE
    raise row.error(
        f"{row.message} (HTTP {answer.http_status}, not JSON)",
        http_status=answer.http_status,
        retryable=row.retryable,
        retry_after_s=answer.retry_after_s,
        provider=answer.provider,
        charged=row.created,
        advice=row.advice,
    )


def read_task(data: Any, provider: str) -> Task:
    """The task in `data`; raises ProviderDown when there is none to be read."""
    if not isinstance(data, Mapping) or not _text(data.get("task_id")):
        raise _unreadable(provider, "it names no task")
    info = _mapping(data.get("task_info"))
    status = task_status(data.get("task_status"))
    videos = _videos(_mapping(data.get("task_result")).get("videos"))
    if status == "succeed" and not videos:
        raise _unreadable(provider, "it says succeed and gives no video")
    return Task(
        task_id=_text(data.get("task_id")),
        status=status,
        message=_text(data.get("task_status_msg")),
        external_task_id=_text(info.get("external_task_id")),
        videos=videos,
        units=_number(data.get("final_unit_deduction")),
        created_at=_time(data.get("created_at")),
        updated_at=_time(data.get("updated_at")),
    )


def _unreadable(provider: str, why: str) -> ProviderError:
    row = UNREADABLE
    return row.error(
        f"{row.message[:-1]}: {why}.",
        retryable=row.retryable,
        provider=provider,
        charged=row.created,
        advice=row.advice,
    )


def _videos(value: Any) -> tuple[Video, ...]:
    items = [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
    return tuple(
        Video(
            url=_text(item.get("url")),
            duration_s=_number(item.get("duration")),
            watermark_url=_text(item.get("watermark_url")),
            id=_text(item.get("id")),
        )
        for item in items
        if _text(item.get("url"))
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    """Text, also from a whole number. JSON can spell half a character (a lone surrogate), which
    no URL and no file takes: it becomes a question mark."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _time(value: Any) -> float | None:
    number = _number(value)
    if number is None:
        return None
    return number if number < SECONDS_BELOW else number / 1000

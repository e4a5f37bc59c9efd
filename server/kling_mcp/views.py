"""Ledger rows and provider tasks as an agent sees them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from kling_mcp.ledger import Record
from kling_mcp.providers import SANDBOX
from kling_mcp.tasks import Task, Video
from kling_tools.errors import quote_provider
from kling_tools.results import ENDED, TaskView, VideoView

__all__ = ["record_view", "task_view"]

PROMPT_SHOWN = 60
"""Characters of a prompt that a list shows."""

AFTER_FAILURE = (
    "Kling says that failed tasks are not charged. Change the prompt or the picture and submit "
    "again."
)


def record_view(record: Record, now: float, *, listed: bool = False) -> TaskView:
    """A task of the ledger; `listed` adds what tells it apart from others in a list."""
    view = TaskView(
        task_id=record.handle,
        status=record.status,
        provider=record.provider if record.provider == SANDBOX or listed else None,
        elapsed_s=None if record.status in ENDED else max(0, round(now - record.created_at)),
        videos=_videos(record.videos),
        units=record.units if record.status in ENDED else None,
        path=record.path,
    )
    if record.status == "failed" and record.task_id is None:
        view.next = f"It was never made: {quote_provider(record.message)}"
    elif record.status == "failed":
        view.provider_message = quote_provider(record.message) or None
        view.next = None if listed else AFTER_FAILURE
    if record.status == "unknown":
        view.next = "Sent, answer lost; it is looked up at each call. Do not submit it again."
    if listed:
        view.created = datetime.fromtimestamp(record.created_at, UTC).strftime("%Y-%m-%d %H:%MZ")
        view.model_name = record.model_name
        view.prompt = _cut(record.prompt) or None
        view.videos = []
    return view


def task_view(task: Task, provider: str, now: float) -> TaskView:
    """A task that this ledger does not know, as the provider tells of it."""
    since = task.created_at
    running = task.status not in ENDED and since is not None
    return TaskView(
        task_id=task.task_id,
        status=task.status,
        provider=provider if provider == SANDBOX else None,
        elapsed_s=max(0, round(now - since)) if running and since else None,
        videos=_videos(task.videos),
        units=task.units,
        provider_message=quote_provider(task.message) or None,
        next=AFTER_FAILURE if task.status == "failed" else None,
    )


def _videos(videos: Sequence[Video]) -> list[VideoView]:
    return [
        VideoView(url=v.url, duration_s=v.duration_s, watermark_url=v.watermark_url) for v in videos
    ]


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= PROMPT_SHOWN else line[: PROMPT_SHOWN - 1] + "…"

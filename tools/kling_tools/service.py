"""What the tools need from the machine behind them."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mcp_types import ContentBlock, ImageContent, ResourceLink

from kling_tools.requests.arguments import (
    ImageToVideoArguments,
    ListTasksArguments,
    MultiImageToVideoArguments,
)
from kling_tools.requests.drafts import Draft
from kling_tools.results import (
    Receipt,
    SavedVideo,
    TaskPage,
    TaskView,
    UploadAddress,
    WaitResult,
)

__all__ = ["Confirm", "Poster", "Report", "SubmitArguments", "VideoService"]

SubmitArguments = ImageToVideoArguments | MultiImageToVideoArguments

Confirm = Callable[[str, str], Awaitable[bool]]
"""Asks the person a question that the named setting makes necessary; whether they agree."""

Report = Callable[[float, float, str], Awaitable[None]]
"""Tells the caller of progress: done, total, and a sentence."""


@dataclass(frozen=True, slots=True)
class Poster:
    """A small JPEG of the video of a task, and where the video itself can be read."""

    task_id: str
    jpeg: bytes
    video_uri: str
    video_bytes: int

    def content(self) -> list[ContentBlock]:
        """The picture and the link as parts of an answer; the video itself is never one."""
        return [
            ImageContent(
                type="image", data=base64.b64encode(self.jpeg).decode(), mime_type="image/jpeg"
            ),
            ResourceLink(
                type="resource_link",
                uri=self.video_uri,
                name=f"{self.task_id}.mp4",
                mime_type="video/mp4",
                size=self.video_bytes,
            ),
        ]


class VideoService(Protocol):
    """What an agent can ask for, and pictures of what came of it.

    Every method raises `KlingError` and its kin only.
    """

    async def submit(self, draft: Draft[SubmitArguments], confirm: Confirm) -> Receipt:
        """Send one request (or, with `dry_run`, only judge it); money is spent here alone."""
        ...

    async def task(self, task_id: str) -> TaskView:
        """The state of one task now, by its id or external id."""
        ...

    async def tasks(self, query: ListTasksArguments) -> TaskPage:
        """A page of tasks, newest first."""
        ...

    async def wait(self, task_ids: Sequence[str], timeout_s: float, report: Report) -> WaitResult:
        """Wait until all tasks have ended, `timeout_s` seconds at most."""
        ...

    async def save(self, task_id: str, path: str) -> SavedVideo:
        """Write a finished task's video to disk."""
        ...

    async def upload(self) -> UploadAddress:
        """An address that takes one picture, where the service cannot read the caller's disk."""
        ...

    async def thumbnail(self, arguments: SubmitArguments) -> str:
        """The first picture of a request, small, as a `data:` URI; empty when there is none to
        show. Raises nothing."""
        ...

    async def posters(self, task_ids: Sequence[str]) -> Sequence[Poster]:
        """Small pictures of these finished tasks, where hosts are to be shown any; raises
        nothing for a video that has none."""
        ...

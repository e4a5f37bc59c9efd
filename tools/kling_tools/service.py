"""The service behind the tools, as a protocol: `kling_mcp.service` implements it."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mcp_types import ContentBlock, ImageContent, ResourceLink

from kling_tools.requests.arguments import ListTasksArguments, LookArguments, SubmitArguments
from kling_tools.requests.assets import (
    AssetArguments,
    DeleteAssetArguments,
    ListAssetsArguments,
)
from kling_tools.requests.drafts import Draft
from kling_tools.requests.films import FilmArguments
from kling_tools.results import (
    Account,
    AssetList,
    AssetReceipt,
    CancelResult,
    DeletedAsset,
    FilmReceipt,
    Receipt,
    SavedVideo,
    TaskPage,
    TaskView,
    UploadAddress,
    VideoLook,
    WaitResult,
)

__all__ = ["Confirm", "Poster", "Report", "VideoService"]

Confirm = Callable[[str, str], Awaitable[bool]]
"""Called with a question and the setting that requires it. Asks the person; returns whether they
agree."""

Report = Callable[[float, float, str], Awaitable[None]]
"""Reports progress to the caller: done, total, and a sentence."""


@dataclass(frozen=True, slots=True)
class Poster:
    """A small JPEG of a task's video or picture, and the URI, the size and the type of that
    itself."""

    task_id: str
    jpeg: bytes
    video_uri: str
    video_bytes: int
    suffix: str = ".mp4"
    mime_type: str = "video/mp4"

    def content(self) -> list[ContentBlock]:
        """The picture and a link to the video as parts of an answer; never the video itself."""
        return [
            ImageContent(
                type="image", data=base64.b64encode(self.jpeg).decode(), mime_type="image/jpeg"
            ),
            ResourceLink(
                type="resource_link",
                uri=self.video_uri,
                name=f"{self.task_id}{self.suffix}",
                mime_type=self.mime_type,
                size=self.video_bytes,
            ),
        ]


class VideoService(Protocol):
    """What an agent can ask for, and small pictures of the results.

    Methods raise no other errors than `KlingError` and its subclasses.
    """

    @property
    def may_spend(self) -> bool:
        """Whether the caller may make videos, and withdraw them."""
        ...

    async def submit(self, draft: Draft[SubmitArguments], confirm: Confirm) -> Receipt:
        """Send one request, or only check it with `dry_run`. Only `film` spends money, too."""
        ...

    async def film(self, draft: Draft[FilmArguments], confirm: Confirm) -> FilmReceipt:
        """Have a film made of its shots, or only plan it with `dry_run`."""
        ...

    async def task(self, task_id: str) -> TaskView:
        """The state of one task now, by its id or external id."""
        ...

    async def tasks(self, query: ListTasksArguments) -> TaskPage:
        """A page of tasks, newest first."""
        ...

    async def wait(self, task_ids: Sequence[str], timeout_s: float, report: Report) -> WaitResult:
        """Wait until all tasks have ended, at most `timeout_s` seconds."""
        ...

    async def cancel(self, task_ids: Sequence[str]) -> CancelResult:
        """Withdraw requests that are still queued here; the others go on, and each says why."""
        ...

    async def account(self) -> Account:
        """Providers, what is left there, caps, what was spent, folders, and what is wrong. Asks
        nothing that costs."""
        ...

    async def news(self) -> str:
        """What the caller is to be told once, besides the answer; usually empty."""
        ...

    async def save(self, task_id: str, path: str) -> SavedVideo:
        """Write a finished task's video to disk."""
        ...

    async def look_at(self, query: LookArguments) -> VideoLook:
        """What a finished video looks like, and what is not as it was wished; it is saved first."""
        ...

    async def assets(self, query: ListAssetsArguments) -> AssetList:
        """Kling's and the account's own elements or voices. Asks nothing that costs."""
        ...

    async def make_asset(
        self, draft: Draft[AssetArguments], confirm: Confirm, report: Report
    ) -> AssetReceipt:
        """Make an element or a voice, or only check it with `dry_run`, and wait for it for some
        seconds."""
        ...

    async def delete_asset(
        self, query: DeleteAssetArguments, agreed: Callable[[str], Awaitable[bool]]
    ) -> DeletedAsset:
        """Delete one of the account's own, once the person has `agreed` to the question."""
        ...

    async def upload(self) -> UploadAddress:
        """An address that accepts one picture, for a service that cannot read the caller's disk."""
        ...

    async def thumbnail(self, arguments: SubmitArguments) -> str:
        """The first picture of a request, small, as a `data:` URI; empty when the request has no
        picture to show. Raises nothing."""
        ...

    async def posters(self, task_ids: Sequence[str]) -> Sequence[Poster]:
        """Small pictures of these finished tasks; empty when posters are switched off. Skips a
        video without a picture and raises nothing."""
        ...

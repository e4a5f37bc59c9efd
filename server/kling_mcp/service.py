"""What the tools call: one provider, one ledger, one folder of videos.

Nothing is opened before the first call needs it, so that a server which is only asked for its list
of tools costs nothing and leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from kling_mcp.providers import PROVIDERS, SANDBOX
from kling_mcp.watch import Watch
from kling_tools.arguments import ListTasksArguments
from kling_tools.capabilities import Capabilities
from kling_tools.drafts import Draft
from kling_tools.errors import KlingError, ProviderError, TaskFailed, TaskNotFound
from kling_tools.results import (
    SANDBOX_NOTE,
    Receipt,
    SavedVideo,
    TaskPage,
    TaskView,
    WaitResult,
)
from kling_tools.service import Report, SubmitArguments

if TYPE_CHECKING:
    from kling_mcp.client import KlingClient
    from kling_mcp.ledger import Ledger, Record
    from kling_mcp.settings import Settings
    from kling_mcp.submission import Submission
    from kling_mcp.tasks import Task

__all__ = ["Service", "Sleep", "open_service"]

AT_ONCE = 4
"""Queries of one wait that run side by side."""

LEAST_LOOK_S = 5
"""Seconds that the first look may take, also when the caller does not want to wait."""


Sleep = Callable[[float], Awaitable[None]]
"""Waits some seconds; tests give one that does not."""


class Service:
    """The machine behind the tools; see `kling_tools.service.VideoService`."""

    def __init__(
        self,
        settings: Settings,
        capabilities: Capabilities,
        stack: AsyncExitStack,
        clock: Callable[[], float] = time.time,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._settings = settings
        self._capabilities = capabilities
        self._stack = stack
        self._clock = clock
        self._sleep = sleep
        self._row = PROVIDERS[settings.chosen_provider()]
        self._opening = anyio.Lock()
        self._client: KlingClient | None = None
        self._ledger: Ledger | None = None
        self._submission: Submission | None = None

    async def submit(self, draft: Draft[SubmitArguments]) -> Receipt:
        """Send one request once, or judge it only (`dry_run`)."""
        submission = await self._open_submission()
        return await submission.submit(draft)

    async def task(self, task_id: str) -> TaskView:
        """The state of a task now. Raises TaskNotFound and other ProviderErrors."""
        record, task = await self._look(task_id)
        return self._view(record, task)

    async def tasks(self, query: ListTasksArguments) -> TaskPage:
        """A page of the ledger, newest first."""
        ledger = self._open_ledger()
        rows = await ledger.page(
            limit=query.page_size + 1,
            offset=(query.page - 1) * query.page_size,
            product=query.product,
            status=query.status,
            provider=query.provider,
        )
        now = self._clock()
        return TaskPage(
            tasks=[_listed(row, now) for row in rows[: query.page_size]],
            page=query.page,
            more=len(rows) > query.page_size,
            source="this computer's ledger",
            note=SANDBOX_NOTE if self._row.name == SANDBOX else None,
        )

    async def wait(self, task_ids: Sequence[str], timeout_s: float, report: Report) -> WaitResult:
        """Look at the tasks until all have ended or the time is over.

        A task that cannot be found counts as ended and says so; while the provider is down the
        last known state is kept. Raises what no waiting mends (a refused key, for example).
        """
        watch = Watch(list(dict.fromkeys(task_ids)))
        began = self._clock()
        with anyio.move_on_after(max(timeout_s, LEAST_LOOK_S)):
            while True:
                await self._look_at(watch)
                waited = self._clock() - began
                await report(waited, max(timeout_s, waited), watch.sentence())
                if not watch.open or waited >= timeout_s:
                    break
                await self._sleep(self._row.poll_s)
        return watch.result()

    async def save(self, task_id: str, path: str) -> SavedVideo:
        """Write a finished task's video below the output folder.

        Raises TaskFailed for a failed task, KlingError for one that still runs, UnsafePath,
        UnsafeUrl, SaveFailed and ProviderError.
        """
        from kling_mcp.videos.folder import VideoFolder
        from kling_mcp.videos.saving import save_video

        record, task = await self._look(task_id, fresh=True)
        view = self._view(record, task)
        if view.status == "failed":
            raise TaskFailed(
                f"Task {view.task_id} failed, there is no video.",
                task_id=view.task_id,
                provider_message=view.provider_message or "",
                advice=view.next or "",
            )
        if not view.videos:
            raise KlingError(
                f"Task {view.task_id} is {view.status}, there is no video yet.",
                advice="Wait with kling_wait_for_tasks, then save.",
            )
        client = await self._open_client()
        folder = VideoFolder(self._settings.output_dir)
        prompt = record.prompt if record else ""
        target = folder.target(path or None, prompt=prompt, task_id=view.task_id)
        url = view.videos[0].url
        saved = await save_video(
            lambda offset: client.open_video(url, offset), target, pause=self._sleep
        )
        if record:
            await self._open_ledger().saved(record.id, saved.path)
        return SavedVideo(
            task_id=view.task_id,
            path=str(saved.path),
            bytes=saved.bytes,
            duration_s=round(saved.facts.duration_s, 3),
            width=saved.facts.width,
            height=saved.facts.height,
            sha256=saved.sha256,
            note=" ".join(
                (["It was there already."] if saved.already_there else [])
                + (["A sandbox test clip."] if self._row.name == SANDBOX else [])
            )
            or None,
        )

    async def _look_at(self, watch: Watch) -> None:
        limiter = anyio.CapacityLimiter(AT_ONCE)
        failures: list[KlingError] = []

        async def look(task_id: str) -> None:
            async with limiter:
                try:
                    watch.seen(task_id, await self.task(task_id))
                except TaskNotFound as error:
                    watch.missing(task_id, error)
                except ProviderError as error:
                    watch.delayed(task_id, error)
                    if not error.retryable:
                        failures.append(error)
                except KlingError as error:
                    failures.append(error)

        async with anyio.create_task_group() as group:
            for task_id in watch.open:
                group.start_soon(look, task_id)
        if failures:
            raise failures[0]

    async def _look(
        self, task_id: str, *, fresh: bool = False
    ) -> tuple[Record | None, Task | None]:
        """The ledger's row, brought up to date, or the provider's word for a task not in it.

        An ended task is not asked for again unless `fresh` is wanted: its URL may have expired.
        """
        ledger = self._open_ledger()
        record = await ledger.find(task_id)
        if record and (record.status == "failed" or (record.status == "succeed" and not fresh)):
            return record, None
        client = await self._open_client()
        if record is None:
            return None, await self._foreign(client, task_id)
        try:
            task = await client.task(record.product, record.handle)
        except TaskNotFound as error:
            if record.status == "unknown":
                error.advice = (
                    "The create may never have arrived. Send the very same request again: it is "
                    "looked up first and not paid twice."
                )
            raise
        return await ledger.record(record.id, task), None

    async def _foreign(self, client: KlingClient, task_id: str) -> Task:
        """A task that was made elsewhere: each product is asked, as its route is not known."""
        for product in client.row.terms.products:
            try:
                return await client.task(product, task_id)
            except TaskNotFound as error:
                missing = error
        raise missing

    def _view(self, record: Record | None, task: Task | None) -> TaskView:
        from kling_mcp.views import record_view, task_view

        now = self._clock()
        if record is not None:
            return record_view(record, now)
        assert task is not None
        return task_view(task, self._row.name, now)

    async def _open_submission(self) -> Submission:
        from kling_mcp.images import PicturePolicy
        from kling_mcp.submission import Caps, Submission

        if self._submission is None:
            settings = self._settings
            self._submission = Submission(
                await self._open_client(),
                self._open_ledger(),
                self._capabilities,
                PicturePolicy(roots=settings.image_roots, fix=settings.fix_images),
                Caps(settings.max_units_per_task, settings.max_units_per_day),
            )
        return self._submission

    async def _open_client(self) -> KlingClient:
        from kling_mcp.client import KlingClient
        from kling_mcp.transport import connect

        async with self._opening:
            if self._client is None:
                connection = await self._stack.enter_async_context(
                    connect(self._row, self._settings)
                )
                self._client = KlingClient(self._row, connection)
            return self._client

    def _open_ledger(self) -> Ledger:
        from kling_mcp.ledger import Ledger

        if self._ledger is None:
            self._ledger = Ledger(self._settings.home, self._clock)
            self._stack.push_async_callback(self._ledger.close)
        return self._ledger


def _listed(row: Record, now: float) -> TaskView:
    from kling_mcp.views import record_view

    return record_view(row, now, listed=True)


@asynccontextmanager
async def open_service(
    settings: Settings, capabilities: Capabilities, sleep: Sleep = anyio.sleep
) -> AsyncIterator[Service]:
    """The service for the life of a server; what it opened is closed at the end."""
    async with AsyncExitStack() as stack:
        yield Service(settings, capabilities, stack, sleep=sleep)

"""What the tools call: the configured providers, one ledger, one folder of videos.

Nothing is opened before the first call needs it, so that a server which is only asked for its list
of tools costs nothing and leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from kling_mcp.clients import Clients
from kling_mcp.watch import Watch
from kling_tools.arguments import ListTasksArguments
from kling_tools.capabilities import Capabilities
from kling_tools.drafts import Draft
from kling_tools.errors import KlingError, ProviderError, TaskFailed, TaskNotFound
from kling_tools.results import Receipt, SavedVideo, TaskPage, TaskView, WaitResult
from kling_tools.service import Report, SubmitArguments

if TYPE_CHECKING:
    from kling_mcp.configuration import Configured
    from kling_mcp.ledger import Ledger
    from kling_mcp.lookup import Found, Lookup
    from kling_mcp.settings import Settings
    from kling_mcp.submission import Submission

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
        providers: Mapping[str, Configured],
        stack: AsyncExitStack,
        clock: Callable[[], float] = time.time,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._settings = settings
        self._capabilities = capabilities
        self._stack = stack
        self._clock = clock
        self._sleep = sleep
        self._clients = Clients(providers, settings, stack)
        self._ledger: Ledger | None = None
        self._submission: Submission | None = None

    async def submit(self, draft: Draft[SubmitArguments]) -> Receipt:
        """Send one request once, or judge it only (`dry_run`)."""
        from kling_mcp.images import PicturePolicy
        from kling_mcp.submission import Caps, Submission

        if self._submission is None:
            settings = self._settings
            self._submission = Submission(
                self._clients,
                self._open_ledger(),
                self._capabilities,
                PicturePolicy(roots=settings.image_roots, fix=settings.fix_images),
                Caps(settings.max_units_per_task, settings.max_units_per_day),
            )
        return await self._submission.submit(draft)

    async def task(self, task_id: str) -> TaskView:
        """The state of a task now. Raises TaskNotFound and other ProviderErrors."""
        return self._view(await self._lookup().find(task_id))

    async def tasks(self, query: ListTasksArguments) -> TaskPage:
        """A page of the ledger and of the providers' own lists, newest first."""
        from kling_mcp.listing import Listing

        return await Listing(self._clients, self._open_ledger()).page(query, self._clock())

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
                await self._sleep(self._clients.poll_s)
        return watch.result()

    async def save(self, task_id: str, path: str) -> SavedVideo:
        """Write a finished task's video below the output folder.

        Raises TaskFailed for a failed task, KlingError for one that still runs, UnsafePath,
        UnsafeUrl, SaveFailed and ProviderError.
        """
        from kling_mcp.videos.folder import VideoFolder
        from kling_mcp.videos.saving import save_video

        found = await self._lookup().find(task_id, fresh=True)
        view = self._view(found)
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
        client = await self._clients.get(found.provider)
        folder = VideoFolder(self._settings.output_dir)
        prompt = found.record.prompt if found.record else ""
        target = folder.target(path or None, prompt=prompt, task_id=view.task_id)
        url = view.videos[0].url
        saved = await save_video(
            lambda offset: client.open_video(url, offset), target, pause=self._sleep
        )
        if found.record:
            await self._open_ledger().saved(found.record.id, saved.path)
        notes = ["It was there already."] if saved.already_there else []
        if self._clients.embedded(found.provider):
            notes.append("A sandbox test clip.")
        return SavedVideo(
            task_id=view.task_id,
            path=str(saved.path),
            bytes=saved.bytes,
            duration_s=round(saved.facts.duration_s, 3),
            width=saved.facts.width,
            height=saved.facts.height,
            sha256=saved.sha256,
            note=" ".join(notes) or None,
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

    def _view(self, found: Found) -> TaskView:
        from kling_mcp.views import Viewer

        viewer = Viewer(self._clients, self._clock())
        if found.record is not None:
            return viewer.record(found.record)
        assert found.task is not None
        return viewer.foreign(found.task, found.provider)

    def _lookup(self) -> Lookup:
        from kling_mcp.lookup import Lookup

        return Lookup(self._clients, self._open_ledger())

    def _open_ledger(self) -> Ledger:
        from kling_mcp.ledger import Ledger

        if self._ledger is None:
            self._ledger = Ledger(self._settings.home, self._clock)
            self._stack.push_async_callback(self._ledger.close)
        return self._ledger


@asynccontextmanager
async def open_service(
    settings: Settings,
    capabilities: Capabilities,
    providers: Mapping[str, Configured],
    sleep: Sleep = anyio.sleep,
) -> AsyncIterator[Service]:
    """The service for the life of a server; what it opened is closed at the end."""
    async with AsyncExitStack() as stack:
        yield Service(settings, capabilities, providers, stack, sleep=sleep)

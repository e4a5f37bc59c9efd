"""What the tools call: the configured providers, one ledger, one folder of videos.

Nothing is opened before the first call needs it, so that a server which is only asked for its list
of tools costs nothing and leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from kling_mcp.clients import Clients
from kling_mcp.watch import Watch
from kling_tools.arguments import ListTasksArguments
from kling_tools.capabilities import Capabilities
from kling_tools.drafts import Draft
from kling_tools.errors import KlingError, ProviderError, TaskNotFound
from kling_tools.results import Receipt, SavedVideo, TaskPage, TaskView, WaitResult
from kling_tools.service import Confirm, Report, SubmitArguments

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from kling_mcp.configuration import Configured
    from kling_mcp.ledger import Record
    from kling_mcp.lookup import Found
    from kling_mcp.parts import Parts
    from kling_mcp.settings import Settings

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
        background: TaskGroup,
        clock: Callable[[], float] = time.time,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._settings = settings
        self._capabilities = capabilities
        self._stack = stack
        self._clock = clock
        self._sleep = sleep
        self._clients = Clients(providers, settings, stack)
        self._background = background
        self._parts: Parts | None = None

    async def submit(self, draft: Draft[SubmitArguments], confirm: Confirm) -> Receipt:
        """Send one request once, or judge it only (`dry_run`)."""
        parts = self._open()
        receipt = await parts.submission.submit(draft, confirm)
        if receipt.status == "queued":
            self._background.start_soon(parts.caretaker.run)
        return receipt

    async def task(self, task_id: str) -> TaskView:
        """The state of a task now; its file is written when it is seen done and that is wanted.

        Raises TaskNotFound and other ProviderErrors.
        """
        found = await self._current(task_id)
        if found.record and self._is_to_be_kept(found.record):
            return await self._kept(found.record)
        return self._view(found)

    async def tasks(self, query: ListTasksArguments) -> TaskPage:
        """A page of the ledger and of the providers' own lists, newest first."""
        from kling_mcp.listing import Listing

        return await Listing(self._clients, self._open().ledger).page(query, self._clock())

    async def wait(self, task_ids: Sequence[str], timeout_s: float, report: Report) -> WaitResult:
        """Look at the tasks until all have ended or the time is over.

        A task that cannot be found or asked for counts as ended and says why; while its provider
        is down the last known state is kept. Raises what no waiting mends (a refused key, for
        example) only when it concerns every task.
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
        saved, found = await self._open().keeper.save(task_id, path)
        notes = ["It was there already."] if saved.already_there else []
        if self._clients.embedded(found.provider):
            notes.append("A sandbox test clip.")
        return SavedVideo(
            task_id=found.record.handle if found.record else task_id,
            path=str(saved.path),
            bytes=saved.bytes,
            duration_s=round(saved.facts.duration_s, 3),
            width=saved.facts.width,
            height=saved.facts.height,
            sha256=saved.sha256,
            note=" ".join(notes) or None,
        )

    async def _look_at(self, watch: Watch) -> None:
        from kling_mcp.lookup import Found

        limiter = anyio.CapacityLimiter(AT_ONCE)
        failures: list[KlingError] = []

        async def look(task_id: str) -> None:
            async with limiter:
                try:
                    found = await self._current(task_id)
                    watch.seen(task_id, self._view(found))
                    if found.record and self._is_to_be_kept(found.record):
                        watch.seen(task_id, await self._kept(found.record))
                except KlingError as error:
                    if isinstance(error, ProviderError) and error.retryable:
                        record = await self._open().ledger.find(task_id)
                        known = self._view(Found(record.provider, record)) if record else None
                        watch.delayed(task_id, known, error)
                        return
                    watch.missing(task_id, error)
                    failures.append(error)

        async with anyio.create_task_group() as group:
            for task_id in watch.open:
                group.start_soon(look, task_id)
        mendable = all(isinstance(error, TaskNotFound) for error in failures)
        if watch.nothing_else and not mendable:
            raise failures[0]

    def _view(self, found: Found) -> TaskView:
        from kling_mcp.views import Viewer

        viewer = Viewer(self._clients, self._clock())
        if found.record is not None:
            return viewer.record(found.record)
        assert found.task is not None
        return viewer.foreign(found.task, found.provider)

    async def _current(self, task_id: str) -> Found:
        """The task as it is now; an open row is taken up first."""
        parts = self._open()
        found = await parts.lookup.find(task_id)
        record = found.record
        if record and record.task_id is None and record.status in ("queued", "unknown"):
            client = await self._clients.get(record.provider)
            found = replace(found, record=await parts.sender.take_up(record, client))
        return found

    def _is_to_be_kept(self, record: Record) -> bool:
        return self._settings.save and record.status == "succeed" and record.path is None

    async def _kept(self, record: Record) -> TaskView:
        """The view of a finished task with its file, or with the reason why it has none.

        A file that takes longer than the call may is written on in the background.
        """
        from kling_mcp.keeping import IN_THE_CALL_S
        from kling_mcp.lookup import Found

        outcome: list[Record | KlingError] = []
        done = anyio.Event()

        async def keep() -> None:
            try:
                outcome.append(await self._open().keeper.keep(record))
            except KlingError as error:
                outcome.append(error)
            finally:
                done.set()

        self._background.start_soon(keep)
        with anyio.move_on_after(IN_THE_CALL_S):
            await done.wait()
        result = outcome[0] if outcome else record
        if not isinstance(result, KlingError):
            return self._view(Found(record.provider, result))
        view = self._view(Found(record.provider, record))
        return view.model_copy(update={"next": f"It could not be saved: {result}"})

    def _open(self) -> Parts:
        """What a call needs, made when the first one comes; open rows are then taken up."""
        from kling_mcp.parts import make_parts

        if self._parts is None:
            self._parts = make_parts(
                self._settings, self._capabilities, self._clients, self._clock, self._sleep
            )
            self._stack.push_async_callback(self._parts.ledger.close)
            if self._parts.ledger.exists:
                self._background.start_soon(self._parts.caretaker.run)
        return self._parts


@asynccontextmanager
async def open_service(
    settings: Settings,
    capabilities: Capabilities,
    providers: Mapping[str, Configured],
    sleep: Sleep = anyio.sleep,
) -> AsyncIterator[Service]:
    """The service for the life of a server; what it opened is closed at the end."""
    async with AsyncExitStack() as stack, anyio.create_task_group() as background:
        yield Service(settings, capabilities, providers, stack, background, sleep=sleep)
        background.cancel_scope.cancel()

"""Finished videos become files: when asked for, and by themselves when they are seen done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio

from kling_mcp.clients import Clients
from kling_mcp.ledger import Ledger, Record
from kling_mcp.lookup import Found, Lookup
from kling_mcp.shelf import Shelf
from kling_mcp.videos import SavedVideo, save_video
from kling_mcp.videos.remarks import remark
from kling_mcp.views import AFTER_FAILURE
from kling_tools.errors import KlingError, SaveFailed, TaskFailed

__all__ = ["Keeper"]

IN_THE_CALL_S = 20.0
"""Seconds that a call waits for its video's file; after that it is written in the background."""


class Keeper:
    """Writes videos to where the shelf wants them."""

    def __init__(
        self,
        clients: Clients,
        ledger: Ledger,
        shelf: Shelf,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._clients = clients
        self._ledger = ledger
        self.shelf = shelf
        self._lookup = Lookup(clients, ledger)
        self._sleep = sleep
        self._being_kept: dict[str, anyio.Event] = {}

    async def save(self, task_id: str, path: str) -> tuple[SavedVideo, Found]:
        """Write a finished task's video; its URL is asked for anew, as it may have expired.

        Raises TaskFailed for a failed task, KlingError for one that still runs, UnsafePath,
        UnsafeUrl, SaveFailed and ProviderError.
        """
        found = await self._lookup.find(task_id, fresh=True)
        state = found.record or found.task
        assert state is not None
        handle = found.record.handle if found.record else task_id
        if state.status == "failed":
            never = found.record is not None and found.record.task_id is None
            raise TaskFailed(
                f"Task {handle} {'was never made' if never else 'failed'}, there is no video.",
                task_id=handle,
                provider_message="" if never else state.message,
                charged="no" if never or state.units == 0 else "unknown",
                advice="kling_get_task says more." if never else AFTER_FAILURE,
            )
        if not state.videos:
            wait = "Wait with kling_wait_for_tasks, then save."
            lost = found.record and not found.record.task_id and state.status == "unknown"
            raise KlingError(
                f"Task {handle} is {state.status}, there is no video yet.",
                charged="unknown" if lost else "no",
                advice="kling_get_task says more." if lost else wait,
            )
        target = self.shelf.target(path, handle, found.record)
        client = await self._clients.get(found.provider)
        url = state.videos[0].url
        try:
            saved = await save_video(
                lambda offset: client.open_video(url, offset), target, pause=self._sleep
            )
        except SaveFailed as error:
            if self.shelf.private:
                error.message = error.message.replace(str(target), "the server's disk")
            raise
        if found.record:
            note = remark(saved.facts, found.record.request)
            place = await self.shelf.keep(saved, found.record)
            record = await self._ledger.saved(
                found.record.id, place, saved.bytes, saved.sha256, note
            )
            found = replace(found, record=record)
        return saved, found

    async def keep(self, record: Record) -> Record:
        """The row of a finished task once its file is there, which is written if need be.

        Raises KlingError and its kin when it cannot be written.
        """
        if record.path is not None:
            return record
        if event := self._being_kept.get(record.id):
            await event.wait()
        else:
            self._being_kept[record.id] = anyio.Event()
            try:
                await self.save(record.id, "")
            finally:
                self._being_kept.pop(record.id).set()
        return await self._ledger.find(record.id) or record

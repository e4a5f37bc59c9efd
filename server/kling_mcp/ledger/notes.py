"""Notes of paid tasks that were made while the ledger could not be written."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from anyio import to_thread
from pydantic import TypeAdapter, ValidationError

from kling_mcp.providers.task import Task

__all__ = ["Notes"]

logger = logging.getLogger(__name__)

_TASKS = TypeAdapter(Task)


class Notes:
    """A folder with one file for each row, which holds the row's task. It lies on this machine,
    even if the ledger is elsewhere. No method raises."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unreadable: set[Path] = set()

    async def write(self, record_id: str, task: Task) -> bool:
        """Write down the task of a row. Returns whether it is on the disk."""
        return await to_thread.run_sync(self._write, record_id, task)

    async def task(self, record_id: str) -> Task | None:
        """The task of a row; None without a readable note."""
        return await to_thread.run_sync(self._read, self._path(record_id))

    async def drop(self, record_id: str) -> None:
        """Delete the note of a row after the ledger has taken it."""
        await to_thread.run_sync(self._drop, self._path(record_id))

    async def kept(self) -> Sequence[str]:
        """The ids of all rows with a note."""
        return await to_thread.run_sync(self._ids)

    def _write(self, record_id: str, task: Task) -> bool:
        path = self._path(record_id)
        part = path.with_suffix(".part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(_TASKS.dump_json(task))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            logger.error("Task %s was made, and no note can be kept: %s", task.task_id, error)
            return False
        return True

    def _read(self, path: Path) -> Task | None:
        try:
            return _TASKS.validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            if path not in self._unreadable:
                self._unreadable.add(path)
                logger.error("The note %s of a task that was made cannot be read: %s", path, error)
            return None

    def _drop(self, path: Path) -> None:
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def _ids(self) -> Sequence[str]:
        try:
            return [path.stem for path in self._folder.glob("*.json")]
        except OSError:
            return []

    def _path(self, record_id: str) -> Path:
        return self._folder / f"{record_id}.json"

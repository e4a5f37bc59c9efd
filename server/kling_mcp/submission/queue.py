"""Bodies of creates that wait for a free slot, kept on disk with the pictures in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from anyio import to_thread

from kling_mcp.providers.json_body import Body
from kling_tools.errors import NotConfigured

__all__ = ["FolderQueue", "KeptBodies", "SpooledBody"]

CHUNK_BYTES = 256 * 1024
LIMIT_BYTES = 2 * 2**30
"""Bytes that all waiting bodies together may take: about forty of the largest."""


class KeptBodies(Protocol):
    """Bodies that wait, by the ids of their ledger rows: in a folder, or in a database."""

    async def keep(self, record_id: str, body: Body) -> bool:
        """Write a body down whole; False when there is no room left for it below the limit."""
        ...

    async def body(self, record_id: str) -> Body | None:
        """The body of a row; None when it is not here any more."""
        ...

    async def drop(self, record_id: str) -> None:
        """Forget a body that was sent or refused."""
        ...

    async def kept(self) -> frozenset[str]:
        """The ids of all rows that something lies here for."""
        ...

    async def sweep(self, record_ids: Collection[str]) -> None:
        """Remove whatever lies here for these rows."""
        ...


class SpooledBody:
    """A body that lies on disk. Reading it raises NotConfigured when it is gone by then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.content_length = path.stat().st_size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            opened = self._path.open("rb")
        except OSError as error:
            raise _unusable(self._path.parent, error) from error
        with opened as file:
            while chunk := await to_thread.run_sync(file.read, CHUNK_BYTES):
                yield chunk


class FolderQueue:
    """A folder of bodies by the ids of their ledger rows.

    Raises NotConfigured when the disk does not take or give a body.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    async def keep(self, record_id: str, body: Body) -> bool:
        """Write a body down whole; False when there is no room left for it below the limit."""
        path = self._path(record_id)
        if path.exists():
            return True
        try:
            if await to_thread.run_sync(self._used) + body.content_length > self._limit_bytes:
                return False
            part = path.with_suffix(".part")
            try:
                with part.open("wb") as file:
                    async for chunk in body:
                        await to_thread.run_sync(file.write, chunk)
                part.rename(path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self._folder, error) from error
        return True

    async def body(self, record_id: str) -> SpooledBody | None:
        """The body of a row; None when it is not here any more."""
        try:
            return await to_thread.run_sync(SpooledBody, self._path(record_id))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self._folder, error) from error

    async def drop(self, record_id: str) -> None:
        """Forget a body that was sent or refused; one that cannot be removed is left for `sweep`,
        as the create is over and known."""
        await to_thread.run_sync(_removed, self._path(record_id))

    async def kept(self) -> frozenset[str]:
        """The ids of all rows that something lies here for, also half a body of a dead process."""
        return await to_thread.run_sync(self._ids)

    async def sweep(self, record_ids: Collection[str]) -> None:
        """Remove whatever lies here for these rows."""
        for record_id in record_ids:
            path = self._path(record_id)
            await to_thread.run_sync(_removed, path)
            await to_thread.run_sync(_removed, path.with_suffix(".part"))

    def _ids(self) -> frozenset[str]:
        try:
            return frozenset(path.stem for path in self._folder.iterdir())
        except OSError:
            return frozenset()

    def _used(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        return sum(_size(path) for path in self._folder.iterdir())

    def _path(self, record_id: str) -> Path:
        return self._folder / f"{record_id}.json"


def _removed(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    """Bytes of a file, none when another process has just sent it off."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _unusable(folder: Path, error: OSError) -> NotConfigured:
    return NotConfigured(
        f"The folder {folder} for waiting requests cannot be used: {error.strerror or error}.",
        advice="Nothing was sent. Check the disk, or set KLING_MCP_HOME to another folder.",
    )

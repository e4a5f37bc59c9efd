"""The queue: bodies of creates that wait for a free slot, with their pictures: on disk, or in the
database of a shared ledger."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from anyio import to_thread

from kling_mcp.ledger.engine import Database, Engine
from kling_mcp.providers.json_body import Body
from kling_tools.errors import NotConfigured

__all__ = [
    "BodyDamaged",
    "FolderQueue",
    "KeptBodies",
    "KeptBody",
    "SharedQueue",
    "SpooledBody",
    "is_whole",
]


CHUNK_BYTES = 256 * 1024
LIMIT_BYTES = 2 * 2**30
"""Bytes that all waiting bodies may take together: about forty of the largest."""


class BodyDamaged(NotConfigured):
    """A part of a kept body is missing."""


class KeptBody:
    """A body as it lies in a queue."""

    content_length: int

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise NotImplementedError


async def is_whole(body: KeptBody, sha256: str) -> bool:
    """Whether a kept body has the bytes that were kept, by their SHA-256; empty for a body that an
    earlier version kept, which cannot be checked. Raises NotConfigured like its iteration."""
    if not sha256:
        return True
    found = hashlib.sha256()
    try:
        async for chunk in body:
            found.update(chunk)
    except BodyDamaged:
        return False
    return found.hexdigest() == sha256


class KeptBodies(Protocol):
    """Waiting bodies by the ids of their ledger rows: in a folder, or in a database.

    Every method raises NotConfigured when the folder or the database cannot be used; `drop`,
    `kept` and `sweep` of a folder do not.
    """

    async def keep(self, record_id: str, body: Body) -> str | None:
        """Store a whole body. Returns its SHA-256 (hex), None when it would exceed the limit."""
        ...

    async def body(self, record_id: str) -> KeptBody | None:
        """The body of a row; None when it is no longer here."""
        ...

    async def drop(self, record_id: str) -> None:
        """Remove the body of a create that was sent or refused. One that cannot be removed now is
        left for `sweep`."""
        ...

    async def kept(self) -> frozenset[str]:
        """The ids of all rows with a body here, or with a part of one that a dead process left."""
        ...

    async def sweep(self, record_ids: Collection[str]) -> None:
        """Remove the bodies of these rows, and parts of them."""
        ...


class SpooledBody(KeptBody):
    """A body on disk. Reading it raises NotConfigured when the file has gone."""

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
    """A folder of bodies, named by the ids of their ledger rows; of `limit_bytes` at most."""

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    async def keep(self, record_id: str, body: Body) -> str | None:
        """Store a whole body; see `KeptBodies.keep`."""
        path, written = self._path(record_id), hashlib.sha256()
        try:
            if await to_thread.run_sync(self._used) + body.content_length > self._limit_bytes:
                return None
            part = path.with_suffix(".part")
            try:
                with part.open("wb") as file:
                    async for chunk in body:
                        written.update(chunk)
                        await to_thread.run_sync(file.write, chunk)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self._folder, error) from error
        return written.hexdigest()

    async def body(self, record_id: str) -> SpooledBody | None:
        """The body of a row; None when it is no longer here."""
        try:
            return await to_thread.run_sync(SpooledBody, self._path(record_id))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self._folder, error) from error

    async def drop(self, record_id: str) -> None:
        """Remove a body that was sent or refused; see `KeptBodies.drop`."""
        await to_thread.run_sync(_removed, self._path(record_id))

    async def kept(self) -> frozenset[str]:
        """The ids of all rows with a whole body or a part of one here."""
        return await to_thread.run_sync(self._ids)

    async def sweep(self, record_ids: Collection[str]) -> None:
        """Remove the bodies of these rows, and parts of them."""
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
    """Bytes of a file; 0 when another process has just removed it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _unusable(folder: Path, error: OSError) -> NotConfigured:
    return NotConfigured(
        f"The folder {folder} for waiting requests cannot be used: {error.strerror or error}.",
        advice="Nothing was sent. Check the disk, or set KLING_MCP_HOME to another folder.",
    )


PART_BYTES = 1024 * 1024
"""Bytes of a body that one statement writes or reads."""


class SharedBody(KeptBody):
    """A body in the database. Reading it raises BodyDamaged when a part of it has gone."""

    def __init__(self, engine: Engine, record_id: str, content_length: int) -> None:
        self._engine = engine
        self._record_id = record_id
        self.content_length = content_length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        while read < self.content_length:
            number = read // PART_BYTES
            part = await self._engine.read(partial(self._part, number=number))
            read += len(part)
            yield part

    def _part(self, db: Database, number: int) -> bytes:
        row = db.execute(
            "SELECT data FROM bodies WHERE record_id = ? AND part = ?", (self._record_id, number)
        ).fetchone()
        if row is None or not row["data"]:
            raise BodyDamaged(
                "A waiting request is no longer in the database.",
                advice="Nothing was sent. Submit it again.",
            )
        return bytes(row["data"])


class SharedQueue:
    """Bodies in the database, by the ids of their ledger rows; of `limit_bytes` in all at most.
    See `KeptBodies`."""

    def __init__(self, engine: Engine, limit_bytes: int = LIMIT_BYTES) -> None:
        self._engine = engine
        self._limit_bytes = limit_bytes

    async def keep(self, record_id: str, body: Body) -> str | None:
        """Store a whole body; see `KeptBodies.keep`."""
        if await self._engine.read(_used) + body.content_length > self._limit_bytes:
            return None
        number, waiting, written = 0, b"", hashlib.sha256()
        async for chunk in body:
            written.update(chunk)
            waiting += chunk
            while len(waiting) >= PART_BYTES:
                await self._write(record_id, number, waiting[:PART_BYTES])
                number, waiting = number + 1, waiting[PART_BYTES:]
        await self._write(record_id, number, waiting)
        await self._engine.write(
            lambda db: db.execute(
                "INSERT INTO whole_bodies (record_id, bytes) VALUES (?, ?) "
                "ON CONFLICT (record_id) DO UPDATE SET bytes = excluded.bytes",
                (record_id, body.content_length),
            )
        )
        return written.hexdigest()

    async def body(self, record_id: str) -> SharedBody | None:
        """The body of a row; None when it is no longer here."""
        row = await self._engine.read(
            lambda db: db.execute(
                "SELECT bytes FROM whole_bodies WHERE record_id = ?", (record_id,)
            ).fetchone()
        )
        return SharedBody(self._engine, record_id, row["bytes"]) if row else None

    async def drop(self, record_id: str) -> None:
        """Remove a body that was sent or refused; see `KeptBodies.drop`. Raises nothing."""
        try:
            await self.sweep([record_id])
        except NotConfigured:
            return

    async def kept(self) -> frozenset[str]:
        """The ids of all rows with a whole body or a part of one here."""
        rows = await self._engine.read(
            lambda db: db.execute("SELECT DISTINCT record_id FROM bodies").fetchall()
        )
        return frozenset(row["record_id"] for row in rows)

    async def sweep(self, record_ids: Collection[str]) -> None:
        """Remove the bodies of these rows, and parts of them."""
        for record_id in record_ids:
            await self._engine.write(partial(_remove, record_id=record_id))

    async def _write(self, record_id: str, number: int, data: bytes) -> None:
        await self._engine.write(
            lambda db: db.execute(
                "INSERT INTO bodies (record_id, part, data) VALUES (?, ?, ?) "
                "ON CONFLICT (record_id, part) DO UPDATE SET data = excluded.data",
                (record_id, number, data),
            )
        )


def _used(db: Database) -> int:
    row = db.execute("SELECT coalesce(sum(bytes), 0) AS bytes FROM whole_bodies").fetchone()
    return int(row["bytes"])


def _remove(db: Database, record_id: str) -> None:
    db.execute("DELETE FROM whole_bodies WHERE record_id = ?", (record_id,))
    db.execute("DELETE FROM bodies WHERE record_id = ?", (record_id,))

"""The queue of several servers: its bodies lie in their database, so any server can send one."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection
from functools import partial

from kling_mcp.ledger.engine import Database, Engine
from kling_mcp.providers.json_body import Body
from kling_mcp.submission.queue import LIMIT_BYTES, BodyDamaged, KeptBody
from kling_tools.errors import NotConfigured

__all__ = ["SharedQueue"]

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

"""Checks of the ledger and of the folders for videos and pictures."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from anyio import to_thread

from kling_mcp.doctor.findings import Finding, Level
from kling_mcp.ledger.engine import newer, statements_for
from kling_mcp.ledger.postgres import POSTGRES_STEPS
from kling_mcp.ledger.sqlite import STEPS, columns_of, unusable, version_of
from kling_tools.errors import NotConfigured
from kling_tools.quoting import counted

__all__ = ["ledger_finding", "output_findings", "root_findings", "shared_ledger_finding"]


_OLDER = " It has an older version and will be updated."


async def shared_ledger_finding(address: str) -> Finding:
    """Whether the shared ledger can be read. Changes nothing and creates no table."""
    from kling_mcp.ledger.postgres import PostgresEngine

    try:
        engine = PostgresEngine(address)
        version, rows, open_rows = await to_thread.run_sync(engine.looked_at)
    except NotConfigured as error:
        return Finding("ledger", "wrong", error.message, error.advice)
    facts = {
        "place": engine.place,
        "schema": version or None,
        "rows": rows,
        "open_rows": open_rows,
    }
    if not version:
        text = f"The database {engine.place} is empty; the first video begins the ledger."
        return Finding("ledger", "good", text, "", facts)
    if version > len(POSTGRES_STEPS):
        trouble = newer(engine.place, version, len(POSTGRES_STEPS))
        return Finding("ledger", "wrong", trouble.message, trouble.advice, facts)
    waiting = f", {open_rows} of them waiting to be sent or looked for" if open_rows else ""
    older = _OLDER if version < len(POSTGRES_STEPS) else ""
    text = f"The ledger opens: {counted(rows, 'task')}{waiting} ({engine.place}).{older}"
    return Finding("ledger", "good", text, "", facts)


LITTLE_BYTES = 500 * 2**20
TOO_LITTLE_BYTES = 50 * 2**20
"""A video of 15 s in 4k takes up to about 50 MB."""

WAIT_S = 1.0
"""Seconds to wait for the ledger while another process writes to it."""


def ledger_finding(home: Path) -> Finding:
    """Whether the ledger can be read and written. Changes nothing."""
    path = home / "ledger.sqlite3"
    facts = {"path": str(path)}
    try:
        if not path.exists():
            _try_writing(home)
            text = f"No ledger yet; the first video begins it ({path})."
            return Finding("ledger", "good", text, "", facts)
        with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=rw", uri=True)) as db:
            return _opened(db, path)
    except (sqlite3.Error, OSError) as error:
        trouble = unusable(path, error)
        return Finding("ledger", "wrong", trouble.message, trouble.advice, facts)


def _opened(db: sqlite3.Connection, path: Path) -> Finding:
    db.execute(f"PRAGMA busy_timeout = {int(WAIT_S * 1000)}")
    db.isolation_level = None
    db.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(db)
        rows = open_rows = 0
        columns = columns_of(db)
        if version:
            counts = dict(db.execute("SELECT status, count(*) FROM tasks GROUP BY status"))
            rows = sum(counts.values())
            open_rows = sum(counts.get(status, 0) for status in ("queued", "sending", "unknown"))
    finally:
        db.execute("ROLLBACK")
    facts = {
        "path": str(path),
        "schema": version or None,
        "rows": rows,
        "open_rows": open_rows,
    }
    if version > len(STEPS):
        trouble = newer(str(path), version, len(STEPS))
        return Finding("ledger", "wrong", trouble.message, trouble.advice, facts)
    try:
        lacks = bool(version == len(STEPS) and statements_for(STEPS, columns, str(path)))
    except NotConfigured as error:
        return Finding("ledger", "wrong", error.message, error.advice, facts)
    waiting = f", {open_rows} of them waiting to be sent or looked for" if open_rows else ""
    older = _OLDER if lacks or version < len(STEPS) else ""
    text = f"The ledger opens and can be written: {counted(rows, 'task')}{waiting} ({path}).{older}"
    return Finding("ledger", "good", text, "", facts)


def output_findings(folder: Path) -> list[Finding]:
    """Whether videos can be saved in the folder, and whether its disk has room."""
    facts: dict[str, Any] = {"path": str(folder)}
    try:
        existing = _try_writing(folder)
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return [
            Finding(
                "videos",
                "wrong",
                f"Videos cannot be saved in {folder}: {error.strerror or error}.",
                "Set KLING_MCP_OUTPUT_DIR to a folder that this user can write to.",
                facts,
            )
        ]
    saved = f"Videos are saved in {folder}"
    made = "" if folder.exists() else ", which is created when needed"
    facts = {**facts, "free_bytes": free}
    space = (
        f"{free / 2**30:.1f} GB are free" if free >= 2**30 else f"{free / 2**20:.0f} MB are free"
    )
    if free >= LITTLE_BYTES:
        return [Finding("videos", "good", f"{saved}{made}; {space}.", "", facts)]
    level: Level = "wrong" if free < TOO_LITTLE_BYTES else "warning"
    advice = "Free some space, or set KLING_MCP_OUTPUT_DIR to a folder on another disk."
    return [Finding("videos", level, f"{saved}{made}; only {space}.", advice, facts)]


def root_findings(roots: Sequence[Path]) -> list[Finding]:
    """Whether the folders of pictures exist and can be read."""
    found = []
    for root in roots:
        facts = {"path": str(root)}
        if not root.is_dir():
            text = f"Pictures may come from {root}, which is not a folder."
            advice = "Correct KLING_MCP_IMAGE_ROOTS."
            found.append(Finding("pictures", "warning", text, advice, facts))
        elif not os.access(root, os.R_OK | os.X_OK):
            text = f"Pictures may come from {root}, which this user cannot read."
            found.append(Finding("pictures", "warning", text, "Let this user read it.", facts))
        else:
            found.append(Finding("pictures", "good", f"Pictures may come from {root}.", "", facts))
    if not roots:
        text = "Pictures may come from no folder, only from the web."
        found.append(Finding("pictures", "note", text, "Set KLING_MCP_IMAGE_ROOTS to change it."))
    return found


def _try_writing(folder: Path) -> Path:
    """Write a temporary file into the folder, or into its nearest existing parent.

    Returns the folder that was written to. Raises OSError.
    """
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    with tempfile.TemporaryFile(dir=existing) as file:
        file.write(b"kling-mcp doctor")
        file.flush()
        os.fsync(file.fileno())
    return existing

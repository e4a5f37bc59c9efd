"""Why the ledger's file cannot be used, and what its owner can do about it."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from kling_tools.errors import NotConfigured

__all__ = ["unusable"]

_ELSEWHERE = "or set KLING_MCP_HOME to another folder"
_SPACE = f"Free some space on its disk, {_ELSEWHERE}."
_RIGHTS = f"Allow this user to write to the file and its folder, {_ELSEWHERE}."
_HELD = (
    "Another program has held it for too long: close what has the file open, or a server that "
    "hangs, and call again."
)
_STRANGE = (
    "Put back a copy of it, or move the file away to begin a new one; without it the server does "
    "not know what was paid before."
)
_ANY = f"Check the disk and the folder's rights, {_ELSEWHERE}."

_BY_SQLITE = {
    sqlite3.SQLITE_FULL: _SPACE,
    sqlite3.SQLITE_IOERR: f"Its disk is full or broken: free some space, {_ELSEWHERE}.",
    sqlite3.SQLITE_READONLY: _RIGHTS,
    sqlite3.SQLITE_PERM: _RIGHTS,
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_LOCKED: _HELD,
    sqlite3.SQLITE_NOTADB: _STRANGE,
    sqlite3.SQLITE_CORRUPT: _STRANGE,
}
"""By SQLite's primary result code (sqlite.org/rescode.html)."""

_BY_ERRNO = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
}


def unusable(path: Path, error: sqlite3.Error | OSError) -> NotConfigured:
    """The error that says why the ledger cannot be used and how to mend it."""
    if isinstance(error, OSError):
        advice = _BY_ERRNO.get(error.errno or 0, _ANY)
    else:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        advice = _BY_SQLITE.get(code, _ANY)
    return NotConfigured(f"The ledger {path} cannot be used: {error}.", advice=advice)

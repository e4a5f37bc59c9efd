"""Where uploaded pictures wait for the request that they are for: a folder, or a bucket."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kling_mcp.hosting.bucket import Bucket

__all__ = ["BucketTray", "FolderTray", "Tray"]

_SWEPT = 1000
"""Old pictures that one sweep of a bucket looks at."""


class Tray(Protocol):
    """Pictures by owner and name. Every method blocks; times are seconds since the epoch.

    Raises OSError, and KlingError where a bucket cannot be used.
    """

    def put(self, owner: str, name: str, file: IO[bytes]) -> bool:
        """Keep what the file holds from its position on; False when the name is taken."""
        ...

    def take(self, owner: str, name: str, since: float) -> IO[bytes] | None:
        """The picture as an open file; None when there is none that was put there `since`."""
        ...

    def count(self, owner: str, most: int) -> int:
        """How many pictures the owner has there; not counted beyond `most`."""
        ...

    def sweep(self, before: float) -> None:
        """Remove what was put there before."""
        ...


class FolderTray:
    """Below one folder, which is made when first needed; replicas have to share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, owner: str, name: str, file: IO[bytes]) -> bool:
        """Keep it under its name only when it is whole."""
        folder = self._folder / owner
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{name}.{secrets.token_hex(4)}.part"
        try:
            with part.open("xb") as kept:
                shutil.copyfileobj(file, kept)
            os.link(part, folder / name)
        except FileExistsError:
            return False
        finally:
            part.unlink(missing_ok=True)
        return True

    def take(self, owner: str, name: str, since: float) -> IO[bytes] | None:
        """The file itself, open."""
        try:
            file = (self._folder / owner / name).open("rb", buffering=0)
        except FileNotFoundError:
            return None
        if os.fstat(file.fileno()).st_mtime < since:
            file.close()
            return None
        return file

    def count(self, owner: str, most: int) -> int:
        """Files in the owner's folder."""
        try:
            return min(most, sum(1 for _ in (self._folder / owner).iterdir()))
        except FileNotFoundError:
            return 0

    def sweep(self, before: float) -> None:
        """Parts that were never finished go as well."""
        for path in self._folder.glob("*/*"):
            try:
                if path.stat().st_mtime < before:
                    path.unlink()
            except FileNotFoundError:
                continue


class BucketTray:
    """Below `uploads/` in the bucket of the videos."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put(self, owner: str, name: str, file: IO[bytes]) -> bool:
        """One request, which the bucket refuses when the key is taken."""
        return self._bucket.put_new(_key(owner, name), file, "application/octet-stream")

    def take(self, owner: str, name: str, since: float) -> IO[bytes] | None:
        """A copy in a temporary file."""
        key = _key(owner, name)
        written_at = self._bucket.written_at(key)
        if written_at is None or written_at < since:
            return None
        with ExitStack() as undo:
            file = undo.enter_context(tempfile.TemporaryFile(buffering=0))
            if not self._bucket.read(key, file):
                return None
            undo.pop_all()
            return file

    def count(self, owner: str, most: int) -> int:
        """Keys of the owner."""
        return len(self._bucket.listed(_key(owner, ""), most))

    def sweep(self, before: float) -> None:
        """Look at some of the keys; a lifecycle rule of the bucket does the same for good."""
        for key, written_at in self._bucket.listed("uploads/", _SWEPT):
            if written_at < before:
                self._bucket.remove(key)


def _key(owner: str, name: str) -> str:
    return f"uploads/{owner}/{name}"

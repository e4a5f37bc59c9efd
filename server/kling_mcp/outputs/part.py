"""The hidden file that a download is written to until it is whole and gets its name."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from kling_tools.errors import SaveFailed

__all__ = [
    "STILL_THERE",
    "Originals",
    "Part",
    "copied",
    "disk_errors",
    "numbered",
    "sweep_parts",
]

STILL_THERE = "The finished video still exists at the provider and is not paid again;"

LEFT_BEHIND_S = 3_600.0
"""Seconds without a new byte after which a part has no writer: downloads are given up sooner."""

MOST_ENTRIES = 50_000
"""Files and folders that are searched for parts at most: a folder may be a whole home."""

_PART_NAME = re.compile(r"\..+\.(mp4|json|png|jpe?g|webp)\.[0-9a-f]{8}\.part", re.IGNORECASE)

_DISK_FAULTS = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EFBIG: ("the file system takes no file of that size", "choose another folder"),
    errno.EROFS: ("the disk is read-only", "choose another folder with KLING_MCP_OUTPUT_DIR"),
    errno.EACCES: ("the folder may not be written", "allow it or set KLING_MCP_OUTPUT_DIR"),
    errno.EPERM: ("the folder may not be written", "allow it or set KLING_MCP_OUTPUT_DIR"),
    errno.ENOTDIR: ("a file stands where a folder should be", "choose another path"),
    errno.EEXIST: ("a file stands where a folder should be", "choose another path"),
    errno.EMLINK: ("thousands of files have that name", "choose another path"),
    errno.ENAMETOOLONG: ("the path is too long for this disk", "choose a shorter path"),
}


@contextmanager
def disk_errors(
    target: Path, *, still: str = STILL_THERE, again: str = "call kling_save_video"
) -> Iterator[None]:
    """Turn an `OSError` of the disk into `SaveFailed` with advice: what is not lost, and what to do
    once the disk is well."""
    try:
        yield
    except OSError as error:
        reason, remedy = _DISK_FAULTS.get(
            error.errno or 0, (error.strerror or type(error).__name__, "look at the folder")
        )
        raise SaveFailed(
            f"The video could not be written to {target}: {reason}.",
            advice=f"{still} {remedy}, then {again}.",
            of_disk=True,
        ) from error


class Part:
    """An open, hidden file beside `target` that only this download writes to. While the download
    waits for its turn, the file is closed.

    Every method blocks and may raise `OSError`; `bytes` counts the bytes written so far.
    """

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self.target = target
        self.path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        self.bytes = 0
        self._digest = hashlib.sha256()
        self._file: BinaryIO = self.path.open("xb", buffering=0)

    def reopen(self) -> None:
        """Open the file behind the bytes written so far; begin anew if they are gone."""
        self._file = self.path.open("ab", buffering=0)
        if self._file.tell() != self.bytes:
            self.restart()

    def close(self) -> None:
        """Close the file until `reopen`."""
        self._file.close()

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the bytes written so far."""
        return self._digest.hexdigest()

    def append(self, data: bytes) -> None:
        """Write all of the data at the end."""
        view = memoryview(data)
        while view:
            written = self._file.write(view) or 0
            self._digest.update(view[:written])
            self.bytes += written
            view = view[written:]

    def restart(self) -> None:
        """Discard all bytes written so far."""
        self._file.seek(0)
        self._file.truncate()
        self.bytes = 0
        self._digest = hashlib.sha256()

    def read_back(self) -> None:
        """Take over the bytes that another writer, such as FFmpeg, put into the file at `path`."""
        with self.path.open("rb") as file:
            self._digest = hashlib.sha256()
            while piece := file.read(COPIED_BYTES):
                self._digest.update(piece)
            self.bytes = file.tell()

    def sync(self) -> None:
        """Wait until the disk holds all bytes written so far."""
        os.fsync(self._file.fileno())

    def claim(self) -> tuple[Path, bool]:
        """Give the file its name: `target`, or the first free `-2`, `-3` … beside it.

        Returns the path, and whether a file with exactly these bytes had it before. No file is
        ever overwritten, even when two processes write at once.
        """
        self._file.close()
        for name in numbered(self.target.name):
            candidate = self.target.with_name(name)
            if _move(self.path, candidate):
                return candidate, False
            if self._is_same(candidate):
                self.path.unlink()
                return candidate, True
        raise OSError(errno.EMLINK, "thousands of files have that name")

    def end_with(self, suffixes: Sequence[str]) -> None:
        """Have the name end as one of these; the first one is taken where it does not."""
        if self.target.suffix.lower() not in suffixes:
            self.target = self.target.with_suffix(suffixes[0])

    def discard(self) -> None:
        """Remove the file if it is still there; never raises."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _is_same(self, other: Path) -> bool:
        try:
            if not other.is_file() or other.stat().st_size != self.bytes:
                return False
            with other.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except OSError:
            return False


COPIED_BYTES = 1024 * 1024


REMEMBERED = 2_000
"""Files whose digests are remembered."""

_Stamp = tuple[int, int, int, int]


class Originals:
    """Whether files still have the bytes that were saved. A file is read once, and again only when
    its size, its times or its inode changed. Blocks; never raises."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[_Stamp, str]] = {}

    def remember(self, path: Path, sha256: str) -> None:
        """Take note of a file that was just written."""
        if stamp := _stamp(path):
            self._known.pop(path, None)
            self._known[path] = stamp, sha256
            while len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]

    def seems(self, path: Path, size_bytes: int | None, sha256: str | None) -> bool:
        """Whether nothing is known against the file; it is not read."""
        stamp = _stamp(path)
        known = self._known.get(path)
        return (
            stamp is not None
            and stamp[0] == size_bytes
            and (known is None or known[0] != stamp or sha256 in (None, known[1]))
        )

    def is_read(self, path: Path) -> bool:
        """Whether its digest is known without reading it."""
        known = self._known.get(path)
        return known is not None and known[0] == _stamp(path)

    def has(self, path: Path, size_bytes: int | None, sha256: str | None) -> bool:
        """Whether a regular file with exactly these bytes is at the path."""
        if self.seems(path, size_bytes, sha256) and not self.is_read(path):
            try:
                with path.open("rb") as file:
                    self.remember(path, hashlib.file_digest(file, "sha256").hexdigest())
            except OSError:
                return False
        return self.is_read(path) and self.seems(path, size_bytes, sha256)


def _stamp(path: Path) -> _Stamp | None:
    """What changes with the bytes of a regular file; None without one."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def copied(source: Path, target: Path) -> tuple[Path, bool]:
    """Copy a file to `target`, or to the first free `-2`, `-3` … beside it.

    Returns the path, and whether a file with exactly these bytes had it before. Blocks. Raises
    `OSError`.
    """
    part = Part(target)
    try:
        with source.open("rb") as file:
            while piece := file.read(COPIED_BYTES):
                part.append(piece)
        part.sync()
        return part.claim()
    finally:
        part.discard()


def _move(part: Path, name: Path) -> bool:
    """Rename without overwriting; False when the name is taken."""
    try:
        os.link(part, name)
    except FileExistsError:
        return False
    except OSError:
        return _move_without_links(part, name)
    with suppress(OSError):
        part.unlink()
    return True


def _move_without_links(part: Path, name: Path) -> bool:
    """Rename on file systems without hard links, such as FAT and some network shares."""
    try:
        name.open("xb").close()
    except FileExistsError:
        return False
    try:
        part.replace(name)
    except OSError:
        name.unlink(missing_ok=True)
        raise
    return True


def numbered(name: str) -> Iterator[str]:
    """The name itself, then `name-2`, `name-3` … with the suffix kept at the end."""
    yield name
    stem, dot, suffix = name.rpartition(".")
    for number in range(2, 10_000):
        yield f"{stem}-{number}{dot}{suffix}"


def sweep_parts(root: Path, now: float | None = None) -> None:
    """Remove the parts that killed processes left below a folder; `now` is in seconds since the
    epoch. Blocks; raises nothing."""
    before = (time.time() if now is None else now) - LEFT_BEHIND_S
    looked_at = 0
    for folder, folders, names in os.walk(root):
        looked_at += len(folders) + len(names)
        for name in filter(_PART_NAME.fullmatch, names):
            path = Path(folder, name)
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
        if looked_at > MOST_ENTRIES:
            return

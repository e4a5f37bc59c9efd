"""Where a hosted server keeps videos and uploads: in folders, or in a bucket for replicas.

Callers never see these places; they get links.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from anyio import to_thread

from kling_mcp.hosting.links import owner_of, video_name
from kling_mcp.outputs.storage import FolderStorage
from kling_mcp.tasks.views import Link
from kling_tools.errors import KlingError, SaveFailed

if TYPE_CHECKING:
    from kling_mcp.hosting.bucket import Bucket
    from kling_mcp.hosting.links import VideoLinks
    from kling_mcp.ledger import Record
    from kling_mcp.outputs import SavedVideo

__all__ = ["BucketStorage", "BucketUploads", "FolderUploads", "TeamFolder", "UploadStorage"]


_SWEPT = 1000
"""Old pictures that one sweep of a bucket looks at."""


class UploadStorage(Protocol):
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


class FolderUploads:
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


class BucketUploads:
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


CACHE_BYTES = 2 * 1024**3
"""Bytes of videos that are kept on this machine besides the bucket."""


class TeamFolder(FolderStorage):
    """One folder for each principal and day below the output folder."""

    private = True

    def __init__(self, folder: Path, links: VideoLinks) -> None:
        super().__init__(folder)
        self._links = links

    def target(self, path: str, handle: str, record: Record | None) -> Path:
        """A place that the server chooses; raises KlingError when the caller wants another one, and
        for a task that was not made here."""
        own = _kept_here(path, handle, record)
        return self.root / _place_of(own) / video_name(own)

    def link(self, record: Record) -> Link:
        """A signed address of this server."""
        return self._links.link(record)


class BucketStorage:
    """Videos in a bucket, and a copy of those that were lately used in `cache`."""

    private = True

    def __init__(self, bucket: Bucket, cache: Path, links: VideoLinks) -> None:
        self.bucket = bucket
        self._cache = self.root = cache
        self._links = links

    def target(self, path: str, handle: str, record: Record | None) -> Path:
        """Where the download grows: a place in the cache; raises the same."""
        return self._cache / _kept_here(path, handle, record).id / "video.mp4"

    async def keep(self, saved: SavedVideo, record: Record) -> str:
        """Upload the file; its address. Raises SaveFailed when the bucket does not take it."""
        key = f"videos/{_place_of(record)}/{record.id}.mp4"
        metadata = {"sha256": saved.sha256, "task": record.id}
        try:
            await to_thread.run_sync(self.bucket.put, key, saved.path, "video/mp4", metadata)
        except KlingError as error:
            raise SaveFailed(error.message, advice="Save it again later.") from error
        await to_thread.run_sync(self._make_room, saved.path)
        return self.bucket.address(key)

    async def file(self, record: Record) -> Path | None:
        """The copy in the cache, fetched if need be; None when the bucket has it no more.

        Raises KlingError when the bucket cannot be asked.
        """
        key = self.bucket.key_of(record.path or "")
        if key is None:
            return None
        return await to_thread.run_sync(self._fetched, key, record)

    def link(self, record: Record) -> Link:
        """A signed address of this server, which leads to the bucket's own."""
        return self._links.link(record)

    def bucket_link(self, record: Record, lasts_s: int, head: bool) -> str | None:
        """The bucket's own address of the video, for a GET or for a HEAD; None when it lies
        elsewhere. Blocks."""
        key = self.bucket.key_of(record.path or "")
        if key is None:
            return None
        return self.bucket.link(key, video_name(record), lasts_s, head=head)

    def seems_there(self, record: Record) -> bool:
        """Whether it was put into this bucket; nobody is asked."""
        return self.bucket.key_of(record.path or "") is not None

    def _fetched(self, key: str, record: Record) -> Path | None:
        path = self._cache / record.id / "video.mp4"
        if _size(path) != record.bytes:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self.bucket.fetch(key, path):
                return None
            if _size(path) != record.bytes:
                path.unlink(missing_ok=True)
                return None
        os.utime(path)
        self._make_room(path)
        return path

    def _make_room(self, kept: Path) -> None:
        """Remove what was not used for longest while the cache holds too much."""
        found = []
        for path in self._cache.glob("*/*.mp4"):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((status.st_mtime, status.st_size, path))
        left = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if left <= CACHE_BYTES:
                return
            if path != kept:
                path.unlink(missing_ok=True)
                left -= size


def _kept_here(path: str, handle: str, record: Record | None) -> Record:
    if record is None:
        raise KlingError(
            f"Task {handle} was not made by this server, which keeps no video of it.",
            charged="no",
            advice="kling_get_task has its URL.",
        )
    if path:
        raise KlingError(
            "This server keeps videos itself and hands out links: it writes to no path.",
            charged="no",
            advice="Leave path out; the answer has a link.",
        )
    return record


def _place_of(record: Record) -> str:
    day = datetime.fromtimestamp(record.created_at, UTC).strftime("%Y-%m-%d")
    return f"{owner_of(record.principal)}/{day}"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None

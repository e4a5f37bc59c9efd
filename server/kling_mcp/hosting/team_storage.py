"""The storage of a hosted server's videos and uploads: folders, or a bucket for replicas.

Callers never see its paths; they get links.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from anyio import to_thread

from kling_mcp.hosting.links import owner_of
from kling_mcp.outputs.storage import FolderStorage, media_type, name_of
from kling_mcp.tasks.views import Link
from kling_tools.errors import KlingError, SaveFailed

if TYPE_CHECKING:
    from kling_mcp.hosting.bucket import Bucket
    from kling_mcp.hosting.links import VideoLinks
    from kling_mcp.ledger import Record
    from kling_mcp.outputs import VideoFile

__all__ = [
    "BucketStorage",
    "BucketUploads",
    "FolderUploads",
    "TeamFolder",
    "UploadStorage",
]


_SWEPT = 1000
"""Most keys that one sweep of a bucket examines."""


class UploadStorage(Protocol):
    """Pictures by owner and name. Every method blocks; times are seconds since the epoch.

    Raises OSError, and KlingError where a bucket cannot be used.
    """

    def put(self, owner: str, name: str, file: IO[bytes]) -> bool:
        """Store the file's content from its position on. Returns False when the name is taken."""
        ...

    def take(self, owner: str, name: str, since: float) -> IO[bytes] | None:
        """The picture as an open file; None when it does not exist or is older than `since`."""
        ...

    def handed_out(self, owner: str, name: str, lasts_s: int, *, head: bool) -> Path | str | None:
        """The file's path, or an address of it that lasts so many seconds (`head`: for a HEAD);
        None when it does not exist."""
        ...

    def held(self, owner: str, most: int) -> tuple[int, int]:
        """How many files the owner has, counted up to `most`, and how many bytes those have."""
        ...

    def sweep(self, before: float) -> None:
        """Remove all pictures stored before that time."""
        ...


class FolderUploads:
    """Uploads below one folder, made when first needed. Replicas must share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, owner: str, name: str, file: IO[bytes]) -> bool:
        """Write a part file first; the name appears only once the picture is whole."""
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

    def handed_out(self, owner: str, name: str, lasts_s: int, *, head: bool) -> Path | str | None:
        """The path."""
        path = self._folder / owner / name
        return path if path.is_file() else None

    def held(self, owner: str, most: int) -> tuple[int, int]:
        """Files in the owner's folder."""
        sizes = []
        try:
            with os.scandir(self._folder / owner) as entries:
                for entry in islice(entries, most):
                    with suppress(FileNotFoundError):
                        sizes.append(entry.stat().st_size)
        except FileNotFoundError:
            pass
        return len(sizes), sum(sizes)

    def sweep(self, before: float) -> None:
        """Remove old pictures, and old part files too."""
        for path in self._folder.glob("*/*"):
            try:
                if path.stat().st_mtime < before:
                    path.unlink()
            except FileNotFoundError:
                continue


class BucketUploads:
    """Uploads below `uploads/` in the bucket of the videos."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put(self, owner: str, name: str, file: IO[bytes]) -> bool:
        """Upload in one request; the bucket refuses a key that is taken."""
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

    def handed_out(self, owner: str, name: str, lasts_s: int, *, head: bool) -> Path | str | None:
        """A presigned address."""
        key = _key(owner, name)
        if self._bucket.written_at(key) is None:
            return None
        return self._bucket.link(key, name, lasts_s, head=head)

    def held(self, owner: str, most: int) -> tuple[int, int]:
        """Keys of the owner."""
        found = self._bucket.listed(_key(owner, ""), most)
        return len(found), sum(size for _, _, size in found)

    def sweep(self, before: float) -> None:
        """Examine some of the keys. A lifecycle rule of the bucket would cover all of them."""
        for key, written_at, _ in self._bucket.listed("uploads/", _SWEPT):
            if written_at < before:
                self._bucket.remove(key)


def _key(owner: str, name: str) -> str:
    return f"uploads/{owner}/{name}"


CACHE_BYTES = 2 * 1024**3
"""Most bytes of videos in the local cache of a bucket."""


class TeamFolder(FolderStorage):
    """One folder for each principal and day below the output folder."""

    private = True

    def __init__(self, folder: Path, links: VideoLinks) -> None:
        super().__init__(folder)
        self._links = links

    def target(self, path: str, handle: str, record: Record | None) -> Path:
        """The path, chosen by the server. Raises KlingError when the caller names a path, and for a
        task that this server did not make."""
        own = _kept_here(path, handle, record)
        return self.root / _place_of(own) / name_of(own)

    def link(self, record: Record) -> Link:
        """A signed address of this server."""
        return self._links.link(record)


class BucketStorage:
    """Videos in a bucket, with copies of the recently used ones in `cache`."""

    private = True

    def __init__(self, bucket: Bucket, cache: Path, links: VideoLinks) -> None:
        self.bucket = bucket
        self._cache = self.root = cache
        self._links = links

    def target(self, path: str, handle: str, record: Record | None) -> Path:
        """The path in the cache to download to. Raises KlingError as `TeamFolder.target` does."""
        own = _kept_here(path, handle, record)
        return self._cache / own.id / _cached(own)

    async def store(self, saved: VideoFile, record: Record) -> str:
        """Upload the file and return its address. Raises SaveFailed when the bucket refuses it."""
        key = f"videos/{_place_of(record)}/{record.id}.mp4"
        if record.result == "picture":
            key = f"videos/{_place_of(record)}/{record.id}/{saved.path.name}"
        metadata = {"sha256": saved.sha256, "task": record.id}
        try:
            await to_thread.run_sync(self.bucket.put, key, saved.path, media_type(key), metadata)
        except KlingError as error:
            raise SaveFailed(error.message, advice="Save it again later.", of_disk=True) from error
        await to_thread.run_sync(self._make_room, saved.path)
        return self.bucket.address(key)

    async def file(self, record: Record) -> Path | None:
        """The copy in the cache, fetched if needed; None when the bucket no longer has the video.

        Raises KlingError when the bucket cannot be used.
        """
        key = self.bucket.key_of(record.path or "")
        if key is None:
            return None
        return await to_thread.run_sync(self._fetched, key, record)

    def link(self, record: Record) -> Link:
        """A signed address of this server, which redirects to the bucket."""
        return self._links.link(record)

    def bucket_link(self, record: Record, lasts_s: int, head: bool) -> str | None:
        """The bucket's own address of the video, for a GET or for a HEAD; None when the video is
        stored elsewhere. Blocks."""
        key = self.bucket.key_of(record.path or "")
        if key is None:
            return None
        return self.bucket.link(key, name_of(record), lasts_s, head=head)

    def seems_there(self, record: Record) -> bool:
        """Whether the row names a key of this bucket; sends no request."""
        return all(self.bucket.key_of(each.path or "") is not None for each in record.each_file())

    async def examine(self, records: Sequence[Record]) -> None:
        """Nothing: only this server writes into the bucket."""

    def is_changed(self, record: Record) -> bool:
        """False, for the same reason."""
        return False

    def _fetched(self, key: str, record: Record) -> Path | None:
        named = Path(key).name if record.result == "picture" else _cached(record)
        path = self._cache / record.id / named
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
        """Remove the least recently used videos until the cache is within CACHE_BYTES."""
        found = []
        for path in self._cache.glob("*/*.*"):
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
            f"This server did not make task {handle} and has no video of it.",
            charged="no",
            advice="kling_get_task has its URL.",
        )
    if path:
        raise KlingError(
            "This server stores videos itself and answers with links. It writes to no path.",
            charged="no",
            advice="Leave path out; the answer has a link.",
        )
    return record


def _cached(record: Record) -> str:
    """The name of a row's file in the cache; a picture's may get another ending."""
    return f"picture-{record.number}.png" if record.result == "picture" else "video.mp4"


def _place_of(record: Record) -> str:
    day = datetime.fromtimestamp(record.created_at, UTC).strftime("%Y-%m-%d")
    return f"{owner_of(record.principal)}/{day}"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None

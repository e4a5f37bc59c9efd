"""Where saved videos lie: in a folder of this machine, or wherever a hosted server keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio

from kling_mcp.outputs import VideoFile, VideoFolder

if TYPE_CHECKING:
    from kling_mcp.ledger import Record
    from kling_mcp.tasks.views import Link

__all__ = ["FolderStorage", "VideoStorage"]


class VideoStorage(Protocol):
    """What writes down where a video lies, in the row's `path`, and finds it again.

    `private` says that no caller is to hear of paths: they are those of somebody else's machine.
    Downloads grow below `root`.
    """

    private: bool
    root: Path

    def target(self, path: str, handle: str, record: Record | None) -> Path:
        """The file that a task's video is to be written to. `path` is what the caller asked for,
        empty for nothing. Raises UnsafePath and other KlingErrors."""
        ...

    async def keep(self, saved: VideoFile, record: Record) -> str:
        """Take the file that was written; what the row's `path` is to say. Raises SaveFailed."""
        ...

    async def file(self, record: Record) -> Path | None:
        """A file of this machine with the row's saved video, None when it is not there any more.
        Raises KlingError when that cannot be told now."""
        ...

    def seems_there(self, record: Record) -> bool:
        """Whether the row's video is where it was put, as far as a quick look tells."""
        ...

    def link(self, record: Record) -> Link | None:
        """An address at which the row's video can be read; None where callers read the file."""
        ...


class FolderStorage:
    """Videos below one folder, under the names that callers ask for."""

    private = False

    def __init__(self, folder: Path) -> None:
        self._folder = VideoFolder(folder)
        self.root = self._folder.root

    def target(self, path: str, handle: str, record: Record | None) -> Path:
        """A path below the folder; see `VideoFolder.target`."""
        prompt = record.prompt if record else ""
        return self._folder.target(path or None, prompt=prompt, task_id=handle)

    async def keep(self, saved: VideoFile, record: Record) -> str:
        """The file stays where it is."""
        return str(saved.path)

    async def file(self, record: Record) -> Path | None:
        """The file, unless it was moved, deleted or changed."""
        if record.path is None:
            return None
        try:
            size = (await anyio.Path(record.path).stat()).st_size
        except OSError:
            return None
        return Path(record.path) if size == record.bytes else None

    def seems_there(self, record: Record) -> bool:
        """Whether a file of that name exists."""
        return record.path is not None and Path(record.path).exists()

    def link(self, record: Record) -> Link | None:
        """None: whoever asks reads the file itself."""
        return None

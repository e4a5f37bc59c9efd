"""Signed addresses of videos: they say until when they hold, and nobody can change that."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["VideoLinks"]

_NAME = re.compile(r"(?P<task_id>[0-9]+)-0_(?:raw|watermark)_video_1\.mp4")


@dataclass(frozen=True, slots=True)
class VideoLinks:
    """Makes and checks addresses below `public_url`, signed with what `key` answers."""

    public_url: str
    key: Callable[[], bytes]

    def url(self, product: str, task_id: str, expires: int, *, marked: bool = False) -> str:
        """The address of a task's video until the Unix second `expires`."""
        kind = "watermark" if marked else "raw"
        path = f"/videos/{product}/{task_id}-0_{kind}_video_1.mp4"
        return f"{self.public_url}{path}?expires={expires}&sig={self._signature(path, expires)}"

    def task_id(self, path: str) -> str | None:
        """The task whose video has that path, None for a path that is no video's."""
        found = _NAME.fullmatch(path.rpartition("/")[2])
        return found["task_id"] if found else None

    def holds(self, path: str, expires: str, signature: str, now: float) -> bool:
        """Whether the address was made here and has not expired."""
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
            return False
        expected = self._signature(path, int(expires))
        return hmac.compare_digest(signature.encode(), expected.encode()) and now < int(expires)

    def _signature(self, path: str, expires: int) -> str:
        said = f"{path}\n{expires}".encode()
        return hmac.new(self.key(), said, hashlib.sha256).hexdigest()[:32]

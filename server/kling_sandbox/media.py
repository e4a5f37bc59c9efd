"""The videos of requests: those that this sandbox made itself, and files that were handed in.

It fetches nothing: of a video at any other address it knows the address alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kling_sandbox.answers.refusals import refused
from kling_sandbox.intake import Lifted
from kling_sandbox.orders import GivenVideo, Task

if TYPE_CHECKING:
    from kling_sandbox.answers.documents import VideoLinks

__all__ = ["HANDED_IN", "GivenVideos"]

HANDED_IN = "/sandbox/inputs"
"""The path below which files are handed in. Kling has no such path."""

MOST_BYTES = 200 * 1024 * 1024
MOST_SOUND_BYTES = 5 * 1024 * 1024
_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class GivenVideos:
    """The folder of files that were handed in. `filmed` finds a task by its id, `clip` makes the
    file of its video."""

    folder: Path
    links: VideoLinks
    filmed: Callable[[str], Task | None]
    clip: Callable[[Task], Awaitable[Path]]

    async def take(self, name: str, chunks: AsyncIterator[bytes]) -> str:
        """Keep a file under the hash of its bytes; returns its address. Raises `Refusal` for other
        bytes, and for too many."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{secrets.token_hex(8)}.part"
        digest, size = hashlib.sha256(), 0
        try:
            with part.open("xb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size <= MOST_BYTES:
                        file.write(chunk)
                        digest.update(chunk)
            if size > MOST_BYTES or digest.hexdigest() != name:
                raise refused("not_base64")
            part.replace(self.folder / name)
        finally:
            part.unlink(missing_ok=True)
        return f"{self.links.public_url}{HANDED_IN}/{name}"

    def find(self, url: str, now: float) -> GivenVideo:
        """The video at an address; one that is elsewhere has neither file nor task."""
        base, path = self.links.public_url, urlsplit(url).path
        if url.startswith(f"{base}{HANDED_IN}/"):
            name = path.rpartition("/")[2]
            if _NAME.fullmatch(name) and (self.folder / name).is_file():
                return self._measured(GivenVideo(url, name=name), self.folder / name)
        elif url.startswith(f"{base}/videos/"):
            task = self.filmed(self.links.task_id(path) or "")
            if task is not None and task.status(now) == "succeed" and not task.order.made:
                return GivenVideo(url, task_id=task.task_id, seconds=task.order.frames / 24)
        return GivenVideo(url)

    def keep_sound(self, given: str | Lifted) -> GivenVideo:
        """Keep a sound that came as base64, and measure it. Raises `Refusal` for other text, and
        for more than 5 MB."""
        try:
            raw = (
                given.path.read_bytes()
                if isinstance(given, Lifted)
                else base64.b64decode(given, validate=True)
            )
        except (binascii.Error, ValueError):
            raise refused("not_base64") from None
        if len(raw) > MOST_SOUND_BYTES:
            raise refused("picture_size", field="sound_file", most=MOST_SOUND_BYTES >> 20)
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(raw).hexdigest()
        part = self.folder / f"{secrets.token_hex(8)}.part"
        part.write_bytes(raw)
        part.replace(self.folder / name)
        seconds = _seconds_of_sound(self.folder / name)
        return GivenVideo("", name=name, seconds=seconds, broken=not seconds)

    def _measured(self, video: GivenVideo, path: Path) -> GivenVideo:
        """The video with its length and size; an unreadable one has neither."""
        import av  # it loads a hundred megabytes

        try:
            with av.open(str(path), "r") as container:
                stream = container.streams.video[0]
                seconds = (container.duration or 0) / av.time_base
                if stream.duration is not None and stream.time_base is not None:
                    seconds = float(stream.duration * stream.time_base)
                return GivenVideo(
                    video.url,
                    name=video.name,
                    seconds=round(seconds, 3),
                    width=stream.width,
                    height=stream.height,
                )
        except (OSError, ValueError, IndexError):  # av's own errors are both of the first two
            return GivenVideo(video.url, name=video.name, broken=True)

    async def path(self, video: GivenVideo) -> Path | None:
        """The file of the video; None for one that is elsewhere. Raises `OSError`."""
        if video.name:
            return self.folder / video.name
        task = self.filmed(video.task_id) if video.task_id else None
        return await self.clip(task) if task else None


def _seconds_of_sound(path: Path) -> float:
    """How long the sound is, by decoding it; 0 for what is no sound."""
    import av  # it loads a hundred megabytes

    try:
        with av.open(str(path), "r") as container:
            frames = container.decode(audio=0)
            return round(sum(frame.samples / frame.sample_rate for frame in frames), 3)
    except (OSError, ValueError, IndexError):  # av's own errors are both of the first two
        return 0.0

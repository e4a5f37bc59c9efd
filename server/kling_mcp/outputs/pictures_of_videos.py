"""Frames, contact sheets and posters of the videos of tasks."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, unquote

import anyio

from kling_mcp.inputs.decoding import DECODING, Decoding, shrink
from kling_mcp.inputs.policy import TaskPicture
from kling_mcp.tasks.lookup import not_found
from kling_tools.addresses import VIDEO_URI
from kling_tools.decorations import decoration
from kling_tools.errors import KlingError
from kling_tools.service import Poster

if TYPE_CHECKING:
    from PIL.Image import Image

    from kling_mcp.ledger import Record
    from kling_mcp.outputs.downloads import Downloads
    from kling_mcp.outputs.frames import Moment
    from kling_mcp.principal import Principal
    from kling_mcp.providers.client import KlingClient
    from kling_mcp.tasks.reader import TaskReader

__all__ = [
    "ELEMENT_PICTURES",
    "POSTERS",
    "POSTER_BYTES",
    "Frames",
    "element_pictures",
    "make_posters",
]


_ADDRESS = re.compile(
    r"kling://tasks/(?P<task>[^/?#]+)/(?:frames/(?P<which>[^/?#]+)|contact-sheet)", re.IGNORECASE
)
_TASK = re.compile(r"kling://tasks/([\w.-]{1,128})(?:/|$)", re.IGNORECASE)
NO_PICTURE = "kling:// names a picture as kling://tasks/ID/frames/last (or first, or seconds)"

T = TypeVar("T")


class Frames:
    """Reads frames from saved files; a video that is not saved yet is saved first.

    Every method takes a task_id, external_task_id or row id, and raises TaskFailed for a failed
    task, TaskNotFound, SaveFailed, ProviderError, and KlingError where there is no such frame.
    """

    def __init__(
        self,
        rows: TaskReader,
        downloads: Downloads,
        decoding: Decoding = DECODING,
    ) -> None:
        self._rows = rows
        self._downloads = downloads
        self.decoding = decoding

    def of(self, principal: Principal) -> Frames:
        """Frames of this principal's tasks alone."""
        rows = self._rows.of(principal)
        if rows is self._rows:
            return self
        return Frames(rows, self._downloads, self.decoding)

    async def picture(self, address: str) -> TaskPicture:
        """The frame or contact sheet at an address such as kling://tasks/ID/frames/last."""
        match = _ADDRESS.fullmatch(address)
        if match is None:
            task = _TASK.match(address)
            named = NO_PICTURE.replace("ID", task[1]) if task else NO_PICTURE
            raise KlingError(f"{named}, not {address[:80]}.", charged="no")
        task_id, which = unquote(match["task"]), match["which"]
        if which is None:
            return await self.contact_sheet(task_id)
        return await self.frame(task_id, unquote(which))

    async def frame(self, task_id: str, which: str) -> TaskPicture:
        """The `first` or `last` frame, or that at so many seconds: a PNG in full size."""
        from kling_mcp.outputs.frames import png_bytes, read_frame

        def read() -> tuple[int, bytes]:
            frame = read_frame(path, moment, self.decoding)
            return frame.pts, png_bytes(frame.picture)

        moment = self.moment(which)
        _, path, sha256 = await self.saved(task_id)
        pts, data = await self.run(read)
        place = which.strip().lower()
        named = f"{place} frame" if place in ("first", "last") else f"frame at {place} s"
        label = f"{named} of {task_id}"
        return TaskPicture(label, data, _digest(sha256, f"frame {pts}"))

    async def contact_sheet(self, task_id: str) -> TaskPicture:
        """Eight evenly spaced frames, each with its time, in one JPEG."""
        from kling_mcp.outputs.contact_sheet import contact_sheet_jpeg

        _, path, sha256 = await self.saved(task_id)
        data = await self.run(lambda: contact_sheet_jpeg(path, decoding=self.decoding))
        return TaskPicture(f"contact sheet of {task_id}", data, _digest(sha256, "contact sheet"))

    async def saved_first_frame(
        self, task_id: str, draw: Callable[[Image], T]
    ) -> tuple[T, int] | None:
        """What `draw` makes of a saved file's first frame, and the file's length in bytes; None
        when the file is gone."""
        from kling_mcp.outputs.frames import moment_of, read_frame

        record = await self._rows.find(task_id)
        path = await self._downloads.storage.file(record) if record else None
        if record is None or path is None:
            return None
        drawn = await self.run(
            lambda: draw(read_frame(path, moment_of("first"), self.decoding).picture)
        )
        return drawn, record.bytes or 0

    @staticmethod
    def moment(which: str) -> Moment:
        """The moment that `first`, `last` or seconds mean; raises KlingError."""
        from kling_mcp.outputs.frames import NoSuchMoment, moment_of

        try:
            return moment_of(which)
        except NoSuchMoment as error:
            raise KlingError(str(error), charged="no") from error

    async def run(self, read: Callable[[], T]) -> T:
        """What `read` returns, in a thread; raises KlingError for a file that cannot be read."""
        from kling_mcp.outputs import NotWholeMp4
        from kling_mcp.outputs.frames import NoSuchMoment

        try:
            return await self.decoding.run(read)
        except NoSuchMoment as error:
            raise KlingError(str(error), charged="no") from error
        except NotWholeMp4 as error:
            raise KlingError(error.reason, charged="no") from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise KlingError(f"The saved video cannot be read: {reason}.", charged="no") from error

    async def saved(self, task_id: str) -> tuple[Record | None, Path, str]:
        """A task's row, where there is one, its saved file and the SHA-256 of that; it is saved
        now if it is not there."""
        record = await self._rows.find(task_id)
        if record is None and self._rows.only is not None:
            raise not_found(task_id)
        if record is None:
            file, _ = await self._downloads.fetch(task_id, "")
            return None, file.path, file.sha256
        path = await self._downloads.storage.file(record)
        if path is None:
            saved = await self._downloads.save_row(
                replace(record, path=None), self._downloads.limits.file_s
            )
            if isinstance(saved, KlingError):
                raise saved
            record = saved
            path = await self._downloads.storage.file(record)
        if path is None or record.sha256 is None:
            raise KlingError(
                f"The video of {record.handle} is still being saved.",
                charged="no",
                advice="Ask again in a moment.",
            )
        return record, path, record.sha256


def _digest(video_sha256: str, picture: str) -> str:
    """Identifies the picture however its bytes are encoded: with a newer encoder the same request
    must not become a new one, which would be paid again."""
    return hashlib.sha256(f"{video_sha256} {picture}".encode()).hexdigest()


POSTER_BYTES = 45_000
"""Bytes of one JPEG at most: 60 kB as base64, which is what stands in an answer."""

POSTERS = 4
"""Posters in one answer at most; further videos have none."""

_SIZES_AND_QUALITIES = ((512, 80), (512, 60), (384, 60), (256, 50), (256, 20))
"""Longer sides in px and qualities that are tried one after the other; the last always fits."""


async def make_posters(frames: Frames, task_ids: Sequence[str]) -> list[Poster]:
    """Posters of the tasks whose files are saved. No video is saved for a poster, and a file that
    cannot be read has none."""
    posters: list[Poster] = []
    for task_id in dict.fromkeys(task_ids):
        if len(posters) == POSTERS:
            break
        try:
            found = await frames.saved_first_frame(task_id, _small_jpeg)
        except KlingError:
            continue
        if found is not None:
            jpeg, video_bytes = found
            uri = VIDEO_URI.format(task_id=quote(task_id, safe=""))
            posters.append(Poster(task_id, jpeg, uri, video_bytes))
    return posters


ELEMENT_PICTURES = 4
"""Elements that an answer shows with their pictures, when it has no more than these."""

ELEMENT_BYTES = 20 * 1024 * 1024
ELEMENT_S = 10.0
"""The most bytes of an element's picture that are read, and the seconds for all of them."""


async def element_pictures(
    client: KlingClient, addresses: Sequence[str], decoding: Decoding
) -> list[bytes]:
    """Small JPEGs of the pictures at these addresses, in their order. Those that do not come in
    time, or cannot be read, are left out."""
    found: dict[int, bytes] = {}

    async def fetch(place: int, address: str) -> None:
        with decoration("the picture of an element"):
            data = b""
            async with client.open_video(address) as stream:
                async for chunk in stream.chunks:
                    data += chunk
                    if len(data) > ELEMENT_BYTES:
                        return
            found[place] = await decoding.run(partial(_small_likeness, data, decoding))

    with anyio.move_on_after(ELEMENT_S):
        async with anyio.create_task_group() as group:
            for place, address in enumerate(addresses):
                group.start_soon(fetch, place, address)
    return [found[place] for place in sorted(found)]


def _small_likeness(data: bytes, decoding: Decoding) -> bytes:
    """Raises Pillow's errors for what is no JPEG or PNG."""
    from PIL import Image

    longest, _ = _SIZES_AND_QUALITIES[0]
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
        return _small_jpeg(shrink(picture, longest, decoding).convert("RGB"))


def _small_jpeg(picture: Image) -> bytes:
    from kling_mcp.outputs.contact_sheet import jpeg_within

    return jpeg_within(picture, POSTER_BYTES, _SIZES_AND_QUALITIES)

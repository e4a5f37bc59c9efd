"""Frames, contact sheets and posters of the videos of tasks."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, unquote

import anyio

from kling_mcp.inputs.decoding import DECODING, Decoding, shrink
from kling_mcp.inputs.held import held_file
from kling_mcp.inputs.mp4 import Mp4Facts
from kling_mcp.inputs.policy import TaskPicture, TaskVideo
from kling_mcp.outputs.storage import media_type
from kling_mcp.tasks.lookup import not_found
from kling_tools.addresses import IMAGE_URI, VIDEO_URI, task_of
from kling_tools.decorations import decoration
from kling_tools.errors import KlingError
from kling_tools.products import Result
from kling_tools.quoting import counted
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
    r"kling://tasks/(?P<task>[^/?#]+)/"
    r"(?:frames/(?P<which>[^/?#]+)|images/(?P<number>\d{1,3})|contact-sheet)",
    re.IGNORECASE,
)
NO_PICTURE = (
    "kling:// names a picture as kling://tasks/ID/frames/last (or first, or seconds), or "
    "kling://tasks/ID/images/1"
)
_TASK = re.compile(r"kling://tasks/([\w.-]{1,128})(?:/|$)", re.IGNORECASE)

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
            named = NO_PICTURE.replace("/ID/", f"/{task[1]}/") if task else NO_PICTURE
            if task and (whole := task_of(address)) is not None:
                raise await self._whole_task(unquote(whole))
            raise KlingError(f"{named}, not {address[:80]}.", charged="no")
        task_id, which = unquote(match["task"]), match["which"]
        if match["number"]:
            return await self.image(task_id, int(match["number"]))
        if which is None:
            return await self.contact_sheet(task_id)
        return await self.frame(task_id, unquote(which))

    async def _whole_task(self, task_id: str) -> KlingError:
        """The error about a task in the place of one of its pictures, with the address to use."""
        record = await self._rows.find(task_id)
        if record is None:
            return not_found(task_id)
        uri = f"kling://tasks/{quote(record.handle, safe='')}"
        if record.result == "picture":
            return KlingError(
                f"{record.handle} is a task, not one of its pictures.",
                charged="no",
                advice=f"Use {uri}/images/1.",
            )
        return KlingError(
            f"{record.handle} is a task with a video, not a picture.",
            charged="no",
            advice=f"Use {uri}/frames/last (or first, or seconds).",
        )

    async def video(self, address: str) -> TaskVideo:
        """The video at kling://tasks/ID/video: a link that is good for now, and its saved file if
        there is one, which stands in where the link has expired."""
        task_id = unquote(task_of(address) or "")
        record = await self._rows.find(task_id)
        if record is None and self._rows.only is not None:
            raise not_found(task_id)
        there = record is not None and not record.is_outdated
        path = await self._downloads.storage.file(record) if record and there else None
        try:
            found = await self._downloads.with_link(record.id if record else task_id, record)
        except KlingError:
            if path is None:
                raise
            found = None
        video = found.state.videos[0] if found else None
        known_by = record.handle if record else task_id
        label = f"video of {known_by}"
        return TaskVideo(
            label,
            _digest(known_by, "video"),
            seconds=video.duration_s if video else None,
            url=video.url if video else "",
            file=await self.run(partial(held_file, path, label)) if path else None,
            sandbox=bool(record and record.sandbox),
        )

    async def frame(self, task_id: str, which: str) -> TaskPicture:
        """The `first` or `last` frame, or that at so many seconds: a PNG in full size."""
        from kling_mcp.outputs.frames import png_bytes, read_frame

        def read() -> tuple[int, bytes]:
            frame = read_frame(file.path, moment, self.decoding)
            return frame.pts, png_bytes(frame.picture)

        moment = self.moment(which)
        file = await self._video(task_id)
        pts, data = await self.run(read)
        place = which.strip().lower()
        named = f"{place} frame" if place in ("first", "last") else f"frame at {place} s"
        return TaskPicture(f"{named} of {file.of}", data, _digest(file.sha256, f"frame {pts}"))

    async def image_png(self, task_id: str, number: int) -> bytes:
        """A picture that the task made, counted from 1, as a PNG."""
        from kling_mcp.outputs.frames import png_bytes
        from kling_mcp.outputs.pictures import picture_of

        file = await self._picture(task_id, number)
        if media_type(file.path.name) == "image/png":
            return await self.run(file.path.read_bytes)
        return await self.run(lambda: png_bytes(picture_of(file.path, LONGEST_PX, self.decoding)))

    async def image(self, task_id: str, number: int) -> TaskPicture:
        """The same as its bytes are."""
        file = await self._picture(task_id, number)
        data = await self.run(file.path.read_bytes)
        return TaskPicture(f"picture {number} of {file.of}", data, file.sha256)

    async def _picture(self, task_id: str, number: int) -> TaskFile:
        """The file of a picture. Raises KlingError where there is none with this number."""
        _, files = await self.files(task_id)
        task_id = files[0].of
        if files[0].kind == "video":
            raise KlingError(
                f"{task_id} makes a video, not pictures.",
                charged="no",
                advice=f"Its frames are at kling://tasks/{task_id}/frames/last (or first, or "
                "seconds).",
            )
        if not 1 <= number <= len(files):
            raise KlingError(
                f"{task_id} has {counted(len(files), 'picture')}, none with the number {number}.",
                charged="no",
                advice=f"Use kling://tasks/{task_id}/images/{len(files)}"
                + (", or a lower number." if len(files) > 1 else "."),
            )
        return files[number - 1]

    async def _video(self, task_id: str) -> TaskFile:
        """A task's saved video. Raises KlingError for a task of pictures."""
        _, (file, *_) = await self.files(task_id)
        if file.kind == "picture":
            raise KlingError(
                f"{file.of} makes pictures, which have no frames.",
                charged="no",
                advice=f"Give kling://tasks/{file.of}/images/1.",
            )
        return file

    async def contact_sheet(self, task_id: str) -> TaskPicture:
        """Eight evenly spaced frames, each with its time, in one JPEG."""
        from kling_mcp.outputs.frames import contact_sheet_jpeg

        file = await self._video(task_id)
        data = await self.run(lambda: contact_sheet_jpeg(file.path, decoding=self.decoding))
        digest = _digest(file.sha256, "contact sheet")
        return TaskPicture(f"contact sheet of {file.of}", data, digest)

    async def saved_first_frame(
        self, task_id: str, draw: Callable[[Image], T]
    ) -> tuple[T, int] | None:
        """What `draw` makes of a saved file's first frame, and the file's length in bytes; None
        when the file is gone."""
        from kling_mcp.outputs.frames import moment_of, read_frame
        from kling_mcp.outputs.pictures import picture_of

        record = await self._rows.find(task_id)
        path = await self._downloads.storage.file(record) if record else None
        if record is None or path is None:
            return None

        def drawing() -> T:
            if record.result == "picture":
                return draw(picture_of(path, POSTER_PX, self.decoding))
            return draw(read_frame(path, moment_of("first"), self.decoding).picture)

        drawn = await self.run(drawing)
        return drawn, record.bytes or 0

    async def poster(self, task_id: str, jpeg: bytes, size_bytes: int) -> Poster:
        """The poster of a saved task, with the address of its video, or of its first picture."""
        record = await self._rows.find(task_id)
        uri = IMAGE_URI if record and record.result == "picture" else VIDEO_URI
        named = Path(record.path or "").suffix if record else ""
        return Poster(
            task_id,
            jpeg,
            uri.format(task_id=quote(task_id, safe=""), number=1),
            size_bytes,
            named or ".mp4",
            media_type(named or ".mp4"),
        )

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
        from kling_mcp.outputs.pictures import NotWholePicture

        try:
            return await self.decoding.run(read)
        except NoSuchMoment as error:
            raise KlingError(str(error), charged="no") from error
        except (NotWholeMp4, NotWholePicture) as error:
            raise KlingError(error.reason, charged="no") from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise KlingError(f"The saved file cannot be read: {reason}.", charged="no") from error

    async def files(self, task_id: str) -> tuple[Record | None, list[TaskFile]]:
        """A task's row, where there is one, and its saved files, at least one; they are saved now
        if they are not there."""
        record = await self._rows.find(task_id)
        if record is None and self._rows.only is not None:
            raise not_found(task_id)
        if record is None:
            file, _ = await self._downloads.fetch(task_id, "")
            kind: Result = "video" if isinstance(file.facts, Mp4Facts) else "picture"
            every = (file, *file.more)
            return None, [TaskFile(kind, each.path, each.sha256, task_id) for each in every]
        found = await self._there(record)
        if not found:
            saved = await self._downloads.save_row(
                replace(record, path=None), self._downloads.limits.file_s
            )
            if isinstance(saved, KlingError):
                raise saved
            record = saved
            found = await self._there(record)
        if not found:
            raise KlingError(
                f"The {record.result} of {record.handle} is still being saved.",
                charged="no",
                advice="Ask again in a moment.",
            )
        return record, found

    async def _there(self, record: Record) -> list[TaskFile]:
        """The saved files of a row; none when one of them is missing, or is outdated."""
        found: list[TaskFile] = []
        if record.is_outdated:
            return found
        for each in record.each_file():
            path = await self._downloads.storage.file(each)
            if path is None or each.sha256 is None:
                return []
            found.append(TaskFile(record.result, path, each.sha256, record.handle))
        return found


@dataclass(frozen=True, slots=True)
class TaskFile:
    """A saved file of a task: what it holds, where it is, its SHA-256, and the id by which an
    agent knows the task it is `of`."""

    kind: Result
    path: Path
    sha256: str
    of: str


def _digest(video_sha256: str, picture: str) -> str:
    """Identifies the picture however its bytes are encoded: with a newer encoder the same request
    must not become a new one, which would be paid again."""
    return hashlib.sha256(f"{video_sha256} {picture}".encode()).hexdigest()


POSTER_BYTES = 45_000
"""Bytes of one JPEG at most: 60 kB as base64, which is what stands in an answer."""

LONGEST_PX = 16_384
"""The longest side of a picture that is read whole."""

POSTER_PX = 512
"""The longer side of a poster."""

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
            posters.append(await frames.poster(task_id, jpeg, video_bytes))
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
    from kling_mcp.outputs.frames import jpeg_within

    return jpeg_within(picture, POSTER_BYTES, _SIZES_AND_QUALITIES)

"""Videos that are there already, as shots of a film: whatever tool made them, they join as they are
and cost nothing."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from anyio import to_thread

from kling_mcp.inputs.mp4 import Mp4Facts, NotWholeMp4, check
from kling_mcp.ledger import Record
from kling_mcp.outputs.storage import VideoStorage
from kling_tools.faults import Fault
from kling_tools.products import MADE
from kling_tools.quoting import clipped
from kling_tools.requests.normalize import task_id

__all__ = ["ExistingClips", "Found"]

_PART = re.compile(
    r"(?:kling://tasks/)?(film-[0-9a-f]+)(?:[#: ]|/(?!video/?$))\s*\S.*", re.IGNORECASE
)
"""The id of a film with more behind it than the address of its file."""

OF_HERE = "the task_id of a video of kling_list_tasks"


@dataclass(frozen=True, slots=True)
class Found:
    """The row of a video that a shot names, and what its file holds, as far as it is saved; or why
    it cannot be a shot."""

    record: Record | None = None
    facts: Mp4Facts | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def duration(self) -> str:
        """Its seconds; empty where they are not known."""
        record = self.record
        told = record.videos[0].duration_s if record and record.videos else None
        if self.facts is not None or told:
            return f"{self.facts.duration_s if self.facts else told:.6g}"
        return str(record.request.get("duration") or "") if record else ""

    @property
    def size(self) -> tuple[int, int] | None:
        """Its pixels; None where they are not known."""
        if self.facts is None or not self.facts.height:
            return None
        return self.facts.width, self.facts.height

    @property
    def shape(self) -> Fraction | None:
        """Its width by its height; None where that is not known."""
        return Fraction(*self.size) if self.size else None


@dataclass(frozen=True, slots=True)
class ExistingClips:
    """Finds the rows that a caller may name, by any id, address or path; and their files."""

    find: Callable[[str], Awaitable[Record | None]]
    storage: VideoStorage

    async def named(self, value: object, film_id: str) -> Found:
        """The video that the shot of a film names."""
        named = task_id(value)
        said = value.strip() if isinstance(value, str) else ""
        if part := _PART.fullmatch(said):
            message = f"{clipped(said, 80)} names a part of a film, which is no clip."
            use = f"the task_id of its shot: kling_get_task with {part[1]} has those"
            return Found(faults=(Fault("video", "part_of_film", message, use),))
        record = await self.find(named) if isinstance(named, str) and named else None
        faults = tuple(_faults(record, str(named)[:80], film_id))
        if faults or record is None:
            return Found(faults=faults)
        path = await self.storage.file(record)
        if path is None and record.is_film:
            message = f"the file of the film {record.handle} is gone."
            use = "its shots, or kling_film with its name and shots first, which joins it again"
            return Found(faults=(Fault("video", "clip_gone", message, use),))
        facts = await to_thread.run_sync(_facts, path) if path else None
        return Found(record, facts)


def _faults(record: Record | None, named: str, film_id: str) -> Iterator[Fault]:
    if record is None:
        message = f"{named} is no video of this server, and a film joins no others."
        yield Fault("video", "task_unknown", message, OF_HERE)
        return
    handle, made = record.handle, MADE[record.product]
    if record.is_film and record.id == film_id:
        yield Fault("video", "film_in_itself", f"{handle} is this very film.", OF_HERE)
    elif record.is_film and (record.status != "succeed" or not record.path):
        message = f"the film {handle} has no file now."
        yield Fault("video", "clip_gone", message, "its shots, each by its own task_id")
    elif not record.is_film and made.result != "video":
        use = f"image: kling://tasks/{handle}/images/1" if made.result == "picture" else OF_HERE
        yield Fault("video", "no_video", f"{handle} makes no video.", use)
    elif record.is_gone or record.is_unanswered:
        message = f"{handle} has no video: it is {record.status}."
        yield Fault("video", "clip_gone", message, OF_HERE)


def _facts(path: Path) -> Mp4Facts | None:
    try:
        return check(path)
    except (NotWholeMp4, OSError):
        return None  # the joining names the clip and says what is wrong with it

"""`kling_look` for a task that makes pictures: all of them shown, measured, and held against what
was asked for and the picture that they refer to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kling_mcp.inputs.opening import PictureChanged, likeness
from kling_mcp.outputs.frames import jpeg_within, labelled, sheet_of
from kling_mcp.outputs.pictures import PictureFacts, check_picture, likeness_of, picture_of
from kling_mcp.tasks.views import another_take
from kling_tools.errors import ImageRejected, KlingError
from kling_tools.quoting import counted
from kling_tools.requests.arguments import LookArguments
from kling_tools.results import AnotherTake, Finding, PictureLook, VideoLook

if TYPE_CHECKING:
    from PIL.Image import Image

    from kling_mcp.inputs.decoding import Decoding
    from kling_mcp.inputs.policy import PicturePolicy
    from kling_mcp.ledger import Ledger, Record
    from kling_mcp.providers.pool import Clients
    from kling_tools.rules.capabilities import Capabilities

__all__ = ["look_at_pictures"]

SIDE_PX = 1200
JPEG_BYTES, DETAIL_BYTES = 60_000, 150_000
NOT_JUDGED = "The words of the prompt are yours to judge, by what you see."
SIDES_AND_QUALITIES = ((1200, 85), (1200, 70), (1200, 50), (800, 50), (600, 40), (480, 20))

BLACK = 8
"""The lightest grey (0 to 255) of a black picture."""

RATIO_APART = 0.05
"""Sides are rounded, so that ratios differ a little."""


@dataclass(frozen=True, slots=True)
class _Seen:
    number: int
    facts: PictureFacts
    picture: Image

    @property
    def is_black(self) -> bool:
        lightest = self.picture.convert("L").getextrema()[1]
        return isinstance(lightest, int | float) and lightest <= BLACK


async def look_at_pictures(
    query: LookArguments,
    record: Record | None,
    files: Sequence[Path],
    policy: PicturePolicy,
    decoding: Decoding,
    ledger: Ledger,
    clients: Clients,
    capabilities: Capabilities,
    asked: Mapping[str, Any],
) -> VideoLook:
    """A task's pictures, those that `at` names (1, 2 …) or all, with what was `asked` for.

    Raises KlingError for one that does not exist, ImageRejected for a picture of the query, and
    what `check_picture` raises.
    """
    numbers = _numbers(query.at, len(files))
    reference, left_out = await _reference(query, record, policy)

    def read() -> tuple[list[_Seen], bytes]:
        seen = [
            _Seen(number, check_picture(path), picture_of(path, SIDE_PX, decoding))
            for number, path in enumerate(files, start=1)
            if number in numbers
        ]
        return seen, _sheet(seen, reference, DETAIL_BYTES if query.at else JPEG_BYTES)

    seen, jpeg = await decoding.run(read)
    first = seen[0].facts
    found: list[Finding] = []
    take: AnotherTake | None = None
    if record is not None and record.request:
        take = another_take(record, await ledger.takes(record), clients, capabilities)
        found = list(_findings(seen, len(files), record, take.text(sandbox=record.sandbox)))
    beside = "; image_list[0] beside them" if reference else ""
    answer = VideoLook(
        task_id=record.handle if record else query.task_id,
        shows=f"{counted(len(seen), 'picture')}{beside}",
        findings=found,
        width=first.width,
        height=first.height,
        codec=first.file_type.name,
        seen=[_measured(each, reference) for each in seen],
        not_compared=left_out,
        not_judged=NOT_JUDGED,
        **asked,
        another_take=take if found else None,
        sandbox=(record.sandbox or None) if record else None,
    )
    answer.show(jpeg)
    return answer


def _numbers(at: Sequence[str], count: int) -> set[int]:
    """The pictures that are to be shown: those that are named, else all."""
    words = {"first": 1, "last": count}
    numbers = {words.get(word, int(word) if word.isdecimal() else 0) for word in at}
    if not numbers <= set(range(1, count + 1)):
        raise KlingError(
            f"The task has {counted(count, 'picture')}, and no other than "
            f"{'1' if count == 1 else f'1 to {count}'} can be shown.",
            charged="no",
            advice="Leave at out to see all.",
        )
    return numbers or set(range(1, count + 1))


async def _reference(
    query: LookArguments, record: Record | None, policy: PicturePolicy
) -> tuple[Image | None, str | None]:
    """The picture to hold them against: that of the query, else the first of the request; and why
    there is none where the request had one."""
    listed = (record.arguments.get("image_list") if record else None) or [None]
    value, field = (query.image, "image") if query.image else (listed[0], "image_list[0]")
    if record is None:
        return None, "Not compared with the request, which is not in this ledger."
    again = f"Not compared with {field}: give the same again as image (no URL) for that."
    if not isinstance(value, str):
        return None, again if record.pictures else None
    try:
        then = "" if query.image else record.picture_hashes.get(field, "")
        found = await likeness(field, value, policy, then)
    except PictureChanged:
        return None, f"The picture file of {field} has changed since the request. {again}"
    except ImageRejected:
        if query.image:
            raise
        return None, again
    return found, None if found else again


def _measured(seen: _Seen, reference: Image | None) -> PictureLook:
    return PictureLook(
        width=seen.facts.width,
        height=seen.facts.height,
        format=seen.facts.file_type.name,
        black=seen.is_black or None,
        like=likeness_of(seen.picture, reference) if reference else None,
    )


def _findings(seen: Sequence[_Seen], count: int, record: Record, anew: str) -> Iterator[Finding]:
    """What is not as it was asked for, each with the cheapest next step; `anew` says what another
    take costs."""
    asked = record.request.get("n")
    if isinstance(asked, int) and asked != count:
        says = f"It has {counted(count, 'picture')}; {asked} were asked for."
        yield Finding(kind="count", says=says, next=anew)
    wide, _, high = str(record.request.get("aspect_ratio", "")).partition(":")
    ratio = int(wide) / int(high) if wide.isdecimal() and high.isdecimal() and int(high) else 0.0
    for each in seen:
        if each.is_black:
            yield Finding(kind="black", says=f"Picture {each.number} is black.", next=anew)
        facts = each.facts
        if ratio and abs(facts.width / facts.height / ratio - 1) > RATIO_APART:
            yield Finding(
                kind="shape",
                says=f"Picture {each.number} is {facts.width}x{facts.height}; {wide}:{high} was "
                "asked for.",
                next=f"Cropping it on this computer costs nothing. {anew}",
            )


def _sheet(seen: Sequence[_Seen], reference: Image | None, most_bytes: int) -> bytes:
    """All in one JPEG, each with its number, the reference last."""
    from PIL import ImageOps

    tiles = [(str(each.number), each.picture) for each in seen]
    tiles += [("image_list[0]", reference)] if reference else []
    columns = min(len(tiles), 1 if len(tiles) == 1 else 2 if len(tiles) < 5 else 3)
    rows = -(-len(tiles) // columns)
    width, height = tiles[0][1].size
    scale = min(SIDE_PX / (columns * width), SIDE_PX / (rows * height), 1.0)
    size = max(1, int(width * scale)), max(1, int(height * scale))
    drawn = [labelled(ImageOps.pad(picture, size), label) for label, picture in tiles]
    return jpeg_within(sheet_of(drawn, columns), most_bytes, SIDES_AND_QUALITIES)

"""`kling_look`: a finished video shown, and held against what was asked for.

A stretch or a cut is a fact; it is a finding only where the wish does not ask for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from kling_mcp.inputs.mp4 import Mp4Facts
from kling_mcp.inputs.opening import PictureChanged, likeness
from kling_mcp.outputs.downloads import APART_S, APART_SHARE
from kling_mcp.outputs.ffmpeg_filters import (
    JOINED_S,
    SHEET_FRAMES,
    SHEET_PX,
    Seen,
    may_ask_for,
    outside,
    watch,
)
from kling_mcp.outputs.frames import jpeg_within, labelled, sheet_of, time_text
from kling_mcp.outputs.picture_look import look_at_pictures
from kling_mcp.tasks.views import another_take
from kling_tools.errors import ImageRejected
from kling_tools.quoting import clipped
from kling_tools.requests.arguments import LookArguments
from kling_tools.results import AnotherTake, Finding, VideoLook
from kling_tools.rules.capabilities import Capabilities

if TYPE_CHECKING:
    from PIL.Image import Image

    from kling_mcp.inputs.policy import PicturePolicy
    from kling_mcp.ledger import Ledger, Record
    from kling_mcp.outputs.pictures_of_videos import Frames
    from kling_mcp.providers.pool import Clients

__all__ = ["JPEG_BYTES", "Wish", "findings", "look", "sheet_jpeg"]

JPEG_BYTES, DETAIL_BYTES = 60_000, 150_000
"""The most bytes of a sheet, and of the frames at moments that the query names."""

NAMED = 6
"""Frames of which each one's time is told in words; it stands on each in any case."""

SIDES_AND_QUALITIES = (
    *((1200, quality) for quality in (85, 70, 55)),
    *((1000, 60), (1000, 45), (800, 50), (800, 40), (600, 40), (480, 20)),
)

MOST_PICTURES = 4
"""Pictures of a request for several that are shown behind the frames."""

PROMPT_SHOWN = 1000
"""Characters of the prompt that the answer has, to judge the frames by."""

SILENT_SHARE = 0.5

RATIO_APART = 0.05
"""Sides are rounded to what a codec takes, so that ratios differ a little."""

ALIKE_PX = 24
LEAST_CORRELATION, MOST_APART = 0.5, 45.0
"""Two pictures, each shrunk to 24x24, differ when their greys correlate less and their colours (0
to 255) are further apart. Measured: the same photograph cropped, lighter or blurred correlates by
0.87 and more, another one by 0.33 at most."""


async def look(
    query: LookArguments,
    frames: Frames,
    policy: PicturePolicy,
    ledger: Ledger,
    clients: Clients,
    capabilities: Capabilities,
) -> VideoLook:
    """A task's video with the frames that the query names, and what is not as it was wished. The
    wished pictures are read again, as the query names them, else as the request did.

    Raises like the methods of `Frames`, and ImageRejected for a picture of the query.
    """
    record, files = await frames.files(query.task_id)
    if files[0].kind == "picture":
        paths = [file.path for file in files]
        return await look_at_pictures(
            query,
            record,
            paths,
            policy,
            frames.decoding,
            ledger,
            clients,
            capabilities,
            _asked_for(record),
        )
    moments, path = [frames.moment(which) for which in query.at], files[0].path
    given = await _wished(query, record, policy)
    pictures = given.pictures

    def read() -> tuple[Seen, bytes, str]:
        sheet = SHEET_FRAMES - len(pictures.keys() - {"image"})
        seen = watch(path, moments, most_frames=sheet, decoding=frames.decoding)
        return seen, *sheet_jpeg(seen, pictures, beside=query.wished(), at=bool(moments))

    seen, jpeg, shows = await frames.run(read)
    facts = seen.facts
    found: list[Finding] = []
    take: AnotherTake | None = None
    left_out: str | None = NO_WISH
    if record is not None and record.is_film:
        given = _Given()
        found = list(findings(seen, Wish.of(record, given), MADE_OF_SHOTS))
        left_out = None
    elif record is not None and record.request:
        take = another_take(record, await ledger.takes(record), clients, capabilities)
        wish = Wish.of(record, given)
        found = list(findings(seen, wish, take.text(sandbox=record.sandbox)))
        left_out = _left_out(record, given, seen)
    repeat = take and any(
        take.text(sandbox=bool(record and record.sandbox)) in f.next for f in found
    )
    answer = VideoLook(
        task_id=record.handle if record else query.task_id,
        shows=shows,
        findings=found,
        width=facts.width,
        height=facts.height,
        duration_s=facts.duration_s,
        fps=facts.fps,
        codec=facts.video_codec,
        audio=facts.has_audio,
        black=[*seen.black],
        frozen=[*seen.frozen],
        silent=[*seen.silent],
        cuts=[*seen.cuts],
        not_compared=left_out,
        not_judged=NOT_JUDGED,
        **_asked_for(record),
        another_take=take if repeat else None,
        sandbox=(record.sandbox or None) if record else None,
    )
    answer.show(jpeg)
    return answer


NO_WISH = "Not compared with the request, which is not in this ledger."

MADE_OF_SHOTS = (
    "Find its shot with kling_get_task; kling_film with that shot changed keeps the others."
)

NOT_JUDGED = "Motion and the words of the prompt are yours to judge, by the frames."

ENDS = ("image", "image_tail")


def _asked_for(record: Record | None) -> dict[str, Any]:
    """The request as far as it tells what the video was to show."""
    if record is None:
        return {}
    seconds = str(record.request.get("duration", ""))
    return {
        "prompt": clipped(" ".join(record.prompt.split()), PROMPT_SHOWN) or None,
        "pictures": [*record.pictures],
        "model_name": record.model_name or None,
        "mode": record.request.get("mode") or record.request.get("resolution"),
        "asked_s": int(seconds) if seconds.isdecimal() else None,
        "take": record.take or None,
    }


@dataclass(frozen=True, slots=True)
class _Given:
    """The pictures to compare with, by field, those that can be read; the fields whose files have
    `changed` since the request; and those of `others`: the query gave another picture than the
    request had, or one of which that is not known."""

    pictures: dict[str, Image] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    others: dict[str, Literal["other", "unknown"]] = field(default_factory=dict)


async def _wished(query: LookArguments, record: Record | None, policy: PicturePolicy) -> _Given:
    """The pictures to begin and to end with, and those that the video was to combine. Raises
    ImageRejected for one of the query."""
    given, found = query.wished(), _Given()
    arguments = record.arguments if record else {}
    several = arguments.get("image_list")
    listed = enumerate(several[:MOST_PICTURES] if isinstance(several, list) else ())
    begins = record.request if record else {}  # the body calls a figure that moves otherwise
    wished = {
        name: given.get(name) or (arguments.get(name) if name in begins else None) for name in ENDS
    } | {f"image_list[{place}]": value for place, value in listed}
    for name, value in wished.items():
        if not isinstance(value, str):
            continue
        then = record.picture_hashes.get(name, "") if record else ""
        try:
            picture = await likeness(name, value, policy, then)
            if name in given and not then and value != arguments.get(name):
                found.others[name] = "unknown"
        except PictureChanged:
            if name not in given:
                found.changed.append(name)
                continue
            picture = await likeness(name, value, policy)
            found.others[name] = "other"
        except ImageRejected:
            if name in given:
                raise
            continue
        if picture is not None:
            found.pictures[name] = picture
    return found


def _left_out(record: Record, given: _Given, seen: Seen) -> str | None:
    """The pictures of the request that could not be read again, or are others now, and those that
    were compared only in part."""
    said = [f"The picture file of {name} has changed since the request." for name in given.changed]
    names = [name for name in ENDS if name in record.request and name not in given.pictures]
    if names:
        said.append(f"Not compared with {' and '.join(names)}: give the same again (no URL).")
    end = given.pictures.get("image_tail")
    if end is not None and not _same_shape(end.size, seen.last.size):
        video = f"{seen.facts.width}x{seen.facts.height}"
        said.append(
            f"image_tail is {end.width}x{end.height}, another shape than the video ({video}): "
            "what does not fit into it was not compared."
        )
    if listed := [name for name in given.pictures if name not in ENDS]:
        said.append(
            f"{' and '.join(listed)} {'stand' if len(listed) > 1 else 'stands'} behind the frames: "
            "see whether the video shows what is in them."
        )
    return " ".join(said) or None


def _same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= RATIO_APART


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a video was to be, as far as it is known; `pictures` are those that it was to begin
    (`image`) and to end with (`image_tail`)."""

    prompt: str
    duration_s: float | None
    sound: bool
    several_shots: bool
    ratio: str
    pictures: Mapping[str, Image] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record, given: _Given) -> Wish:
        """The wish of a row, compared with these pictures."""
        request = record.request
        length = str(request.get("duration", ""))
        return cls(
            prompt=f"{record.prompt} {request.get('multi_prompt', '')}",
            duration_s=float(length) if length.isdecimal() else None,
            sound=request.get("sound") == "on",
            several_shots=bool(request.get("multi_shot")),
            ratio=str(request.get("aspect_ratio") or record.arguments.get("fit", "")).split(" ")[0],
            pictures=given.pictures,
            others=given.others,
        )

    def means(self, kind: str) -> bool:
        """Whether the prompt may mean a stretch of this kind."""
        return may_ask_for(kind, self.prompt)


def findings(seen: Seen, wish: Wish, anew: str) -> Iterator[Finding]:
    """What is not as it was wished, each with the cheapest next step; `anew` says what another take
    costs."""
    length_s = seen.facts.duration_s
    for kind, stretches, says in (
        ("black", seen.black, "The picture is black"),
        ("frozen", outside(seen.frozen, seen.black), "Nothing moves"),
    ):
        for start, end in stretches if not wish.means(kind) else ():
            rest_s = length_s - (end - start)
            at_an_end = start < JOINED_S or end > length_s - JOINED_S
            cheaper = at_an_end and rest_s >= length_s / 2
            yield Finding(
                kind=kind,
                from_s=start,
                to_s=end,
                says=f"{says} from {start:g} to {end:g} s.",
                next=f"{FREE_CUT if cheaper else ''}{anew}",
            )
    if not wish.several_shots and not wish.means("cut"):
        for at in seen.cuts:
            look = f'Look at it with at ["{max(0.0, at - 0.1):.2f}", "{at:.2f}"], which is free. '
            says = f"It cuts at {at:g} s; one shot was asked for."
            yield Finding(kind="cut", from_s=at, to_s=at, says=says, next=look + anew)
    yield from _about_sound(seen, wish, anew)
    yield from _about_length(seen.facts, wish, anew)
    yield from _about_shape(seen.facts, wish, anew)
    for name, frame, at, what in (
        ("image", seen.first, 0.0, "first"),
        ("image_tail", seen.last, length_s, "last"),
    ):
        if name in wish.pictures and _differ(frame, wish.pictures[name]):
            says = f"Its {what} frame does not look like {name}."
            then = OTHER_PICTURE.get(wish.others.get(name, ""), "{anew}")
            yield Finding(
                kind=name, from_s=at, to_s=at, says=says, next=then.format(name=name, anew=anew)
            )


OTHER_PICTURE = {
    "other": (
        "The picture given here is another one than that of the request: leave {name} out to "
        "compare with the request's. A repeat would not look like it either; a video of it is a "
        "new request with it as {name}."
    ),
    "unknown": (
        "First make sure that the picture given here is the one of the request; a repeat cannot "
        "look like another one. {anew}"
    ),
}
"""What to do about a difference from a picture that the query gave."""

FREE_CUT = "Cutting that off in a video editor costs nothing; no tool here does it. "
FREE_CROP = "Cropping it in a video editor costs nothing; no tool here does it. "


def _about_sound(seen: Seen, wish: Wish, anew: str) -> Iterator[Finding]:
    length_s = seen.facts.duration_s
    if not wish.sound or wish.means("silent"):
        return
    if not seen.facts.has_audio:
        says = "Sound was asked for, and the file has none."
        yield Finding(kind="silent", from_s=0.0, to_s=length_s, says=says, next=anew)
    elif sum(end - start for start, end in seen.silent) >= SILENT_SHARE * length_s:
        for start, end in seen.silent:
            says = f"Sound was asked for, and it is silent from {start:g} to {end:g} s."
            yield Finding(kind="silent", from_s=start, to_s=end, says=says, next=anew)


def _about_length(facts: Mp4Facts, wish: Wish, anew: str) -> Iterator[Finding]:
    if wish.duration_s is None:
        return
    apart_s = facts.duration_s - wish.duration_s
    if abs(apart_s) > max(APART_S, APART_SHARE * wish.duration_s):
        start, end = sorted((facts.duration_s, wish.duration_s))
        says = f"It is {facts.duration_s:g} s long; {wish.duration_s:g} s were asked for."
        cheaper = FREE_CUT if apart_s > 0 else ""
        yield Finding(kind="length", from_s=start, to_s=end, says=says, next=cheaper + anew)


def _about_shape(facts: Mp4Facts, wish: Wish, anew: str) -> Iterator[Finding]:
    """Against the ratio that was asked for, else against that of the first picture."""
    wide, _, high = wish.ratio.partition(":")
    image = wish.pictures.get("image")
    told, ratio = f"{wish.ratio} was asked for", 0.0
    if wide.isdecimal() and high.isdecimal() and int(high):
        ratio = int(wide) / int(high)
    elif image is not None:
        told, ratio = f"image is {image.width}x{image.height}", image.width / image.height
    if not ratio or not facts.height:
        return
    if abs(facts.width / facts.height / ratio - 1) > RATIO_APART:
        yield Finding(
            kind="shape",
            says=f"It is {facts.width}x{facts.height}; {told}.",
            next=f"{FREE_CROP}{anew}",
        )


def _differ(frame: Image, picture: Image) -> bool:
    """Whether the frame shows something else, however the picture was fitted into its shape."""
    from PIL import ImageOps

    fitted = (
        ImageOps.fit(picture, frame.size),
        picture.resize(frame.size),
        ImageOps.pad(picture, frame.size),
    )
    return all(_apart(frame, other) for other in fitted)


def _apart(one: Image, other: Image) -> bool:
    from statistics import StatisticsError, correlation

    from PIL import ImageChops, ImageStat

    small = [image.convert("RGB").resize((ALIKE_PX, ALIKE_PX)) for image in (one, other)]
    apart = ImageStat.Stat(ImageChops.difference(*small)).mean
    if sum(apart) / len(apart) <= MOST_APART:
        return False
    try:
        return correlation(*(list(image.convert("L").tobytes()) for image in small)) < (
            LEAST_CORRELATION
        )
    except StatisticsError:  # one of them is of a single grey
        return True


def sheet_jpeg(
    seen: Seen, pictures: Mapping[str, Image], *, beside: Collection[str] = (), at: bool = False
) -> tuple[bytes, str]:
    """One JPEG of at most `JPEG_BYTES`, or `DETAIL_BYTES` for certain moments, and what it shows,
    in words.

    Each picture of `beside` stands beside the frame that it was for. Without those, or `at` certain
    moments, the frames are shown, and behind the last one of a whole clip what it was to end with.
    """
    from PIL import ImageOps

    pairs = [name for name in beside if name in pictures]
    tiles = [(time_text(s), frame) for s, frame in seen.frames] if at or not pairs else []
    with_frames = bool(tiles)
    shown = [", ".join(label for label, _ in tiles)] if tiles else []
    if len(tiles) > NAMED:
        shown = [f"{len(tiles)} frames from {tiles[0][0]} to {tiles[-1][0]}"]
    if with_frames and not at:
        if "image_tail" in pictures:
            tiles.append(("image_tail", pictures["image_tail"]))
            shown.append("image_tail beside the last")
        listed = [name for name in pictures if name not in ENDS]
        tiles += [(name, pictures[name]) for name in listed]
        shown += [f"{', '.join(listed)} behind them"] if listed else []
    for name, label, frame in (
        ("image", "first frame", seen.first),
        ("image_tail", "last frame", seen.last),
    ):
        if name in pairs:
            tiles += [(label, frame), (name, pictures[name])]
            shown.append(f"the {label} beside {name}")
    columns, size = _layout(len(tiles), *seen.first.size, pairs=not with_frames)
    drawn = [labelled(ImageOps.pad(frame.convert("RGB"), size), label) for label, frame in tiles]
    sheet = sheet_of(drawn, columns)
    most_bytes = DETAIL_BYTES if at or not with_frames else JPEG_BYTES
    return jpeg_within(sheet, most_bytes, SIDES_AND_QUALITIES), "; ".join(shown)


def _layout(count: int, width: int, height: int, *, pairs: bool) -> tuple[int, tuple[int, int]]:
    """How many columns make the tiles largest, two for pairs, and the tiles' size (px)."""

    def scale(columns: int) -> float:
        rows = -(-count // columns)
        return min(SHEET_PX / (columns * width), SHEET_PX / (rows * height))

    columns = 2 if pairs else max(range(1, count + 1), key=scale)
    return columns, (int(width * scale(columns)), int(height * scale(columns)))

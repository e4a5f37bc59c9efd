"""What FFmpeg's filters find in a video file, and frames of it, in one decoding."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kling_mcp.inputs.boxes import NotWholeMp4
from kling_mcp.inputs.decoding import DECODING, Decoding
from kling_mcp.inputs.mp4 import Mp4Facts, check
from kling_mcp.outputs.frames import (
    Moment,
    NoSuchMoment,
    evenly,
    frame_times,
    in_time,
    opened,
    scaled,
)

if TYPE_CHECKING:
    from av import AudioFrame, VideoFrame
    from av.container import InputContainer
    from av.filter import Graph
    from av.filter.context import FilterContext
    from PIL.Image import Image

__all__ = [
    "JOINED_S",
    "SHEET_FRAMES",
    "SHEET_PX",
    "Seen",
    "Source",
    "Stretch",
    "filtered",
    "marks_of",
    "may_ask_for",
    "outside",
    "watch",
]

SHEET_FRAMES = 12

SHEET_PX = 1200
"""Longer side of a sheet at most: so much a model sees without shrinking it."""

TILE_PX, FEW = 600, 2
"""Longer side of a frame that is kept for a sheet; of so few frames it is the whole sheet's."""

FILTERED_PX = 320

PICTURE_FILTERS = (
    (
        "scale",
        f"w='min({FILTERED_PX},iw)':h='min({FILTERED_PX},ih)':flags=area:"
        "force_original_aspect_ratio=decrease:force_divisible_by=2",
    ),
    ("format", "pix_fmts=yuv420p"),
    ("blackdetect", "d=0:pic_th=0.98:pix_th=0.02"),
    ("freezedetect", "n=0.00005:d=1"),
    ("scdet", "threshold=5"),
)
"""Darker than 2 % counts as black: a night sky with stars, measured, is not. A picture that differs
from an earlier one by less than 0.005 % is frozen: FFmpeg's own 0.1 % calls a portrait frozen that
only breathes or blinks. Both as measured on 720p clips of x264."""

SOUND_FILTERS = (("silencedetect", "noise=-60dB:duration=0.5"),)

BLACK_S = 0.25
"""Shorter stretches of black are a blink of the camera."""

CUT_SCORE, CALM = 5.0, 4
"""A cut changes the picture by so many percent, and the frame after it by a fourth of that at most.
Measured: cuts 6 to 17; dissolves and fades 2; a whip pan 12 and a shaken camera 8, which go on."""

JOINED_S = 0.1
"""Stretches less far apart are one, and shorter ones none: a key frame interrupts a frozen one."""

FLASH_S = 0.25
"""Two jumps within this time are a flash of light."""

Stretch = tuple[float, float]
"""Seconds from and to, counted from the first frame on."""


ASKED_FOR: Mapping[str, re.Pattern[str]] = {
    kind: re.compile(words, re.IGNORECASE)
    for kind, words in {
        "black": r"\bfad(e|es|ing)\b|black[ -]?out|(black|dark) screen|\b(to|from|into) black"
        r"|darkness|lights? (go(es)? )?(off|out)|黑屏|淡出|淡入|变黑",
        "frozen": r"\bfr(ee|o)ze|\bstill\b|motionless|static|immobile|unmoving|nothing moves"
        r"|\bno (motion|movement)|not? mov(e|ing)|静止|定格|不动",
        "cut": r"\bcuts?\b|\bscenes\b|scene change|\bshots\b|montage|\bjumps? (to|cut)"
        r"|then we see|flash|strobe|lightning|explo|lights? (on|off|out)|转场|切换|闪",
        "silent": r"silen(t|ce|tly)|\bmuted?\b|no sound|soundless|静音|无声|沉默",
    }.items()
}
"""Words of a prompt with which a stretch of that kind may be meant: then it is no finding."""


def may_ask_for(kind: str, prompt: str) -> bool:
    """Whether a prompt may mean a stretch of this kind."""
    return ASKED_FOR[kind].search(prompt) is not None


def outside(stretches: Sequence[Stretch], others: Sequence[Stretch]) -> list[Stretch]:
    """Those of which less than half lies in one of the others: black is frozen, too."""
    return [
        (start, end)
        for start, end in stretches
        if all(min(end, b) - max(start, a) < (end - start) / 2 for a, b in others)
    ]


@dataclass(frozen=True, slots=True)
class Seen:
    """A video's facts, its stretches and cuts (seconds), the frames that were asked for with their
    seconds, and its first and its last frame."""

    facts: Mp4Facts
    black: tuple[Stretch, ...]
    frozen: tuple[Stretch, ...]
    silent: tuple[Stretch, ...]
    cuts: tuple[float, ...]
    frames: tuple[tuple[float, Image], ...]
    first: Image
    last: Image


def watch(
    video: Path,
    moments: Sequence[Moment] = (),
    *,
    most_frames: int = SHEET_FRAMES,
    decoding: Decoding = DECODING,
) -> Seen:
    """What is in an MP4 file, with the frames at these moments, else some evenly spaced ones.

    Blocks for about as long as decoding takes. Raises `NoSuchMoment`, `NotWholeMp4`, KlingError
    when it takes too much memory or time, `OSError` when the file cannot be read.
    """
    facts = check(video)
    with opened(video, decoding) as (container, decoded):
        times = frame_times(container)
        stream = next(iter(container.streams.video), None)
        if stream is None or stream.time_base is None or not times:
            raise NotWholeMp4("The video has no frames.")
        clock = _Clock(times, stream.time_base, facts.duration_s)
        wanted = [clock.shown_at(m) for m in moments] or evenly(times, most_frames)
        side = SHEET_PX if len(wanted) <= FEW else TILE_PX
        pictures: dict[int, Image] = {}

        def passing() -> Iterator[VideoFrame]:
            for frame in decoded:
                if frame.pts is not None and frame.pts in {*wanted, times[0], times[-1]}:
                    pictures[frame.pts] = scaled(frame, side)
                yield frame

        container.seek(times[0], stream=stream)
        template, base = stream, stream.time_base
        marks = list(
            marks_of(
                passing(),
                lambda graph: graph.add_buffer(template=template, time_base=base),
                PICTURE_FILTERS,
            )
        )
        if not pictures:
            raise NotWholeMp4("No frame of the video can be decoded.")
        black = _stretches(marks, "lavfi.black_", clock, BLACK_S)
        return Seen(
            facts=facts,
            black=black,
            frozen=_stretches(marks, "lavfi.freezedetect.freeze_", clock),
            silent=_silence(container, clock, decoding.limits.video_s),
            cuts=_cuts(marks, clock, black),
            frames=tuple((clock.seconds(pts), pictures[pts]) for pts in wanted if pts in pictures),
            first=pictures[min(pictures)],
            last=pictures[max(pictures)],
        )


@dataclass(frozen=True, slots=True)
class _Clock:
    """Counts seconds from the first frame on; `times` are those of all frames in `tick` seconds."""

    times: Sequence[int]
    tick: Fraction
    length_s: float

    def seconds(self, pts: float) -> float:
        return round(float((pts - self.times[0]) * self.tick), 3)

    def since_start(self, seconds: float) -> float:
        return max(0.0, round(seconds - float(self.times[0] * self.tick), 3))

    def shown_at(self, moment: Moment) -> int:
        """The time of the frame that is on the screen at a moment; raises `NoSuchMoment`."""
        if moment is None:
            return self.times[-1]
        if moment > max(self.length_s, self.seconds(self.times[-1])):
            raise NoSuchMoment(
                f"The video is {self.length_s:g} s long: there is no frame at {float(moment):g} s."
            )
        pts = self.times[0] + moment / self.tick
        return self.times[bisect_right(self.times, pts) - 1]


Marks = Mapping[str, str]
"""What the filters wrote on one frame."""


Source = Callable[["Graph"], "FilterContext"]
"""Makes the beginning of a graph, which says what kind of frames come in."""


def filtered(
    sources: Sequence[tuple[Source, Iterator[Any]]],
    filters: Sequence[tuple[str, str]],
    sink: str = "buffersink",
) -> Iterator[Any]:
    """Frames of all sources through a chain of filters, the first of which takes them all. The
    source that is behind the others is read next, so that none is read ahead."""
    from av.filter import Graph

    graph = Graph()
    graph.threads = 1
    beginnings = [source(graph) for source, _ in sources]
    nodes = [graph.add(name, options or None) for name, options in filters]
    nodes.append(graph.add(sink))
    for place, beginning in enumerate(beginnings):
        beginning.link_to(nodes[0], 0, place)
    graph.link_nodes(*nodes).configure()
    reached = [0.0] * len(sources)
    while True:
        try:
            yield nodes[-1].pull()
        except EOFError:
            return
        except BlockingIOError:
            behind = min(range(len(sources)), key=reached.__getitem__)
            if reached[behind] == math.inf:
                return
            frame = next(sources[behind][1], None)
            beginnings[behind].push(frame)
            reached[behind] = math.inf if frame is None else frame.time or 0.0


def marks_of(
    frames: Iterable[VideoFrame | AudioFrame],
    source: Source,
    filters: Sequence[tuple[str, str]],
    sink: str = "buffersink",
) -> Iterator[tuple[float, Marks]]:
    """The seconds of each frame, by the file's own clock, and the filters' marks on it."""
    for frame in filtered([(source, iter(frames))], filters, sink):
        yield frame.time or 0.0, frame.metadata


def _stretches(
    marks: Iterable[tuple[float, Marks]], kind: str, clock: _Clock, least_s: float = 0.0
) -> tuple[Stretch, ...]:
    """What `kind` marks, joined where one begins as another ends; the last may last to the end."""
    found: list[Stretch] = []
    began: float | None = None

    def ends(at: float) -> None:
        nonlocal began
        if began is not None:
            if found and began - found[-1][1] < JOINED_S:
                began = found.pop()[0]
            found.append((began, at))
        began = None

    for _, mark in marks:
        if f"{kind}end" in mark:
            ends(clock.since_start(float(mark[f"{kind}end"])))
        if f"{kind}start" in mark:
            began = clock.since_start(float(mark[f"{kind}start"]))
    ends(clock.length_s)
    return tuple((start, end) for start, end in found if end - start >= max(least_s, JOINED_S))


def _cuts(
    marks: Sequence[tuple[float, Marks]], clock: _Clock, black: Sequence[Stretch]
) -> tuple[float, ...]:
    """Jumps of the picture after which it goes on calmly; no flashes, no edges of black."""
    jumps = []
    for (at, mark), (_, after) in zip(marks, [*marks[1:], (0.0, {})], strict=True):
        score = float(mark.get("lavfi.scd.score", 0))
        if score >= CUT_SCORE and float(after.get("lavfi.scd.mafd", 0)) < score / CALM:
            jumps.append(clock.since_start(at))
    edges = [edge for stretch in black for edge in stretch]
    return tuple(
        at
        for at in jumps
        if not any(abs(at - edge) <= FLASH_S for edge in edges)
        and not any(0 < abs(at - other) <= FLASH_S for other in jumps)
    )


def _silence(container: InputContainer, clock: _Clock, most_s: float) -> tuple[Stretch, ...]:
    stream = next(iter(container.streams.audio), None)
    if stream is None or not getattr(stream.codec_context, "sample_rate", 0):
        return ()
    container.seek(0)
    sound = in_time(container.decode(stream), most_s)
    marks = marks_of(
        sound, lambda graph: graph.add_abuffer(template=stream), SOUND_FILTERS, "abuffersink"
    )
    return _stretches(marks, "lavfi.silence_", clock)

"""What Kling takes as a sound or a video: rows of data, each with its source.

A model's row names the limits of each of its arguments (`capabilities.json`, `media`); a sample of
a voice belongs to no model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["ELEMENT_VIDEO", "SILENT", "VOICE_SAMPLE", "MediaFormat", "MediaLimits"]

MediaFormat = Literal["MP4", "MOV", "MP3", "WAV", "M4A", "AAC"]


class MediaLimits(BaseModel):
    """The limits of one argument. `seconds`, `sides` (px) and `fps` are the least and the most;
    `ratio` is that of width to height, `area` the most pixels of a frame; None is no limit. With
    `heard` it must hold a sound that is not silent. `as_bytes` says that Kling takes it in the
    body; otherwise it fetches it from an address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    formats: tuple[MediaFormat, ...]
    mb: int
    seconds: tuple[float, float]
    sides: tuple[int, int] | None = None
    ratio: tuple[float, float] | None = None
    area: int | None = None
    fps: tuple[float, float] | None = None
    heard: bool = False
    as_bytes: bool = False
    source: str = ""
    date: str = ""

    @property
    def noun(self) -> Literal["video", "sound"]:
        """What it is called."""
        return "video" if self.formats[0] in ("MP4", "MOV") else "sound"

    @property
    def formats_text(self) -> str:
        """The formats for a person to read: `MP4 or MOV`."""
        *first, last = self.formats
        return f"{', '.join(first)} or {last}" if first else last

    def billed_seconds(self, seconds: float | None) -> int:
        """The whole seconds that are paid for at this length; for one that is not known, the most
        that Kling takes."""
        least, most = self.seconds
        long = most if seconds is None else min(max(seconds - SLACK_S, least), most)
        return math.ceil(long)

    def breaches(
        self,
        label: str,
        *,
        seconds: float | None = None,
        size_bytes: int = 0,
        width: int = 0,
        height: int = 0,
        fps: float = 0.0,
        loudest: float | None = None,
    ) -> Iterator[tuple[str, str, str]]:
        """Each limit that is broken as rule, message and advice; what is not known passes.
        `loudest` is the loudest sample, of 1."""
        noun = self.noun
        if size_bytes > self.mb * 2**20:
            message = f"{label} has {size_bytes / 2**20:.1f} MB; Kling takes at most {self.mb} MB."
            yield f"{noun}_bytes", message, "a smaller copy"
        least, most = self.seconds
        if seconds is not None and not least - SLACK_S <= seconds <= most + SLACK_S:
            message = f"{label} lasts {seconds:.4g} s; Kling takes {least:g} to {most:g} s."
            use = f"a part of at most {most:g} s" if seconds > most else "a longer one"
            yield f"{noun}_length", message, use
        if width and height:
            yield from self._shape(label, width, height)
        if fps and self.fps and not self.fps[0] <= round(fps, 1) <= self.fps[1]:
            message = (
                f"{label} has {fps:.4g} frames per second; Kling takes {self.fps[0]:g} to "
                f"{self.fps[1]:g}."
            )
            yield "video_fps", message, f"a copy with {max(self.fps[0], 30):g} frames per second"
        if self.heard and loudest is not None and loudest < SILENT:
            yield f"{noun}_silent", f"{label} is silent.", "a sound that is heard"

    def _shape(self, label: str, width: int, height: int) -> Iterator[tuple[str, str, str]]:
        size = f"{label} is {width}x{height} px"
        if self.sides and not (
            self.sides[0] <= min(width, height) <= max(width, height) <= self.sides[1]
        ):
            least, most = self.sides
            use = "a larger copy" if min(width, height) < least else "a smaller copy"
            yield "video_side", f"{size}; each side must have {least} to {most} px.", use
        if self.ratio and not self.ratio[0] <= width / height <= self.ratio[1]:
            narrow, wide = self.ratio
            message = f"{size}; width to height must lie between {narrow:g} and {wide:g}."
            yield "video_ratio", message, "a cropped copy"
        if self.area and width * height > self.area:
            message = f"{size}; Kling takes at most {self.area:,} pixels in a frame."
            yield "video_area", message, "a smaller copy"


SLACK_S = 0.05
"""Seconds that do not count: Kling's own clip of 10 s lasts a frame longer, 10.041 s."""

SILENT = 0.005
"""The loudest sample, of 1, of a sound that nobody hears: -46 dB."""

VOICE_SAMPLE = MediaLimits(
    formats=("MP3", "WAV", "MP4", "MOV"),
    mb=200,
    seconds=(5, 30),
    heard=True,
    source="Kling's page of voice management",
    date="2026-09-20",
)
"""A sample of one voice. The page names no size."""

ELEMENT_VIDEO = MediaLimits(
    formats=("MP4", "MOV"),
    mb=200,
    seconds=(3, 8),
    source="Kling's page of element management",
    date="2026-09-20",
)
"""The video of which an element is made. The page also asks for 1080p, 16:9 or 9:16, and one real
person in it."""

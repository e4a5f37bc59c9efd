"""Kling's rules for a picture, applied to the facts of its header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kling_mcp.inputs.decoding import DECODING
from kling_mcp.inputs.file_type import FileType, Header
from kling_mcp.inputs.held import size_text
from kling_mcp.inputs.refusal import SOURCE
from kling_tools.faults import Fault

__all__ = [
    "BYTES_MAX",
    "CONVERTED_PIXEL_BYTES",
    "SIDE_MIN",
    "SOURCE_BYTES_MAX",
    "Facts",
    "Role",
    "judge",
    "role_of",
]

BYTES_MAX = 10 * 1024 * 1024
"""The most bytes of a picture, before base64. Kling says "10MB"; read here as 10 MiB."""

SIDE_MIN = 300
"""The fewest pixels of each side [Kling image2video page]."""

RATIO_MAX = (5, 2)
"""Long side to short side, at most 2.5 [Kling image2video page]."""

SOURCE_BYTES_MAX = 100 * 1024 * 1024
"""The most bytes of a file that is converted."""

CONVERTED_PIXEL_BYTES = 4
"""Bytes of memory that a conversion takes for each pixel, besides decoding."""


@dataclass(frozen=True, slots=True)
class Role:
    """The use of a picture: its `ratio` is limited, or it is a brush `mask`."""

    ratio: bool
    mask: bool

    @property
    def fixable(self) -> frozenset[str]:
        """The rules that a conversion can satisfy; a mask must keep its size in pixels."""
        return _TYPE_AND_BYTES if self.mask else _TYPE_AND_BYTES | {"image_side"}


_TYPE_AND_BYTES = frozenset({"image_type", "image_bytes"})
_START_FRAME = Role(ratio=True, mask=False)
_END_FRAME = Role(ratio=False, mask=False)
_MASK = Role(ratio=False, mask=True)


def role_of(field: str) -> Role:
    """The role of a field: the page limits no ratio for `image_tail`, and masks follow `image`."""
    if field.endswith("mask"):
        return _MASK
    return _END_FRAME if field == "image_tail" else _START_FRAME


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a picture: a label to show, its real type, its bytes, and its header if read."""

    label: str
    file_type: FileType
    size_bytes: int
    header: Header | None

    @property
    def convertible(self) -> bool:
        """Whether this installation can decode the picture without taking too much memory."""
        return (
            self.file_type.opener() is not None
            and self.size_bytes <= SOURCE_BYTES_MAX
            and DECODING.fits(self.converted_bytes)
        )

    @property
    def converted_bytes(self) -> int:
        """Bytes of memory that a conversion takes; 0 without a header."""
        if self.header is None:
            return 0
        pixels = self.header.width * self.header.height
        return self.header.decoded_bytes + pixels * CONVERTED_PIXEL_BYTES


def judge(field: str, facts: Facts, *, fix: bool) -> list[Fault]:
    """A fault for every rule that a picture breaks in this field.

    The advice offers the setting for conversion unless `fix` says that it is on already.
    """
    role = role_of(field)
    faults = []
    for rule, message, use in _breaches(facts, role):
        offer = not fix and rule in role.fixable and facts.convertible
        advice = f"{use}, or set KLING_MCP_FIX_IMAGES=true to have it converted" if offer else use
        faults.append(Fault(field, rule, message, advice, SOURCE))
    return faults


def _breaches(facts: Facts, role: Role) -> Iterator[tuple[str, str, str]]:
    label = facts.label
    if not facts.file_type.accepted:
        yield (
            "image_type",
            f"{label} is {facts.file_type.said}; Kling takes JPEG and PNG only.",
            "a JPEG or PNG copy of it" if facts.file_type.suffixes else "a JPEG or PNG picture",
        )
    if facts.size_bytes > BYTES_MAX:
        yield (
            "image_bytes",
            f"{label} has {facts.size_bytes:,} bytes ({size_text(facts.size_bytes)}); "
            f"Kling takes at most {BYTES_MAX:,} (10 MB).",
            "a smaller copy" if role.mask else "a smaller copy, for example a JPEG",
        )
    if facts.header is None:
        return
    width, height = facts.header.width, facts.header.height
    if min(width, height) < SIDE_MIN:
        yield (
            "image_side",
            f"{label} is {width}x{height} px; each side must have at least {SIDE_MIN} px.",
            "a larger copy",
        )
    longest, shortest = RATIO_MAX
    if role.ratio and max(width, height) * shortest > min(width, height) * longest:
        yield (
            "image_ratio",
            f"{label} is {width}x{height} px; the ratio must lie between 1:2.5 and 2.5:1.",
            _crop(width, height),
        )


def _crop(width: int, height: int) -> str:
    if min(width, height) < SIDE_MIN:
        return "a picture between 1:2.5 and 2.5:1"
    longest, shortest = RATIO_MAX
    kept = min(width, height) * longest // shortest
    return f"a crop of at most {min(width, kept)}x{min(height, kept)} px"

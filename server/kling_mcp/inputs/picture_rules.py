"""Kling's rules for a picture, applied to the facts of its header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from kling_mcp.inputs.decoding import DECODING
from kling_mcp.inputs.file_type import JPEG, VIDEO, FileType, Header
from kling_mcp.inputs.held import size_text
from kling_mcp.inputs.refusal import SOURCE
from kling_tools.faults import Fault

__all__ = [
    "A_FRAME",
    "BYTES_MAX",
    "CONVERTED_PIXEL_BYTES",
    "SIDE_MENDED",
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

SIDE_MENDED = SIDE_MIN // 2
"""The fewest pixels of a side that is enlarged: more than twice its size shows only blur."""

CONVERTED_PIXEL_BYTES = 8
"""Bytes of memory for each pixel of a decoded picture and of its copy."""


@dataclass(frozen=True, slots=True)
class Role:
    """The use of a picture: its `ratio` is limited, it is a brush `mask`, or it is the first or
    last `frame`, to which `fit` applies."""

    ratio: bool = False
    mask: bool = False
    frame: bool = False

    def can_mend(self, fault: Fault, facts: Facts) -> bool:
        """Whether a conversion satisfies the rule; a mask must keep its size in pixels."""
        if fault.rule == "image_side":
            tiny = facts.header and min(facts.header.width, facts.header.height) < SIDE_MENDED
            return not self.mask and not tiny
        if fault.rule == "image_type":
            return facts.file_type.is_picture
        return fault.rule == "image_bytes"


_PICTURE = Role(ratio=True)
_FRAME = Role(ratio=True, frame=True)
_MASK = Role(mask=True)


def role_of(field: str) -> Role:
    """The role of a field: masks follow `image`; the ratio of all others is limited [Kling's new
    standard says so of both frames]."""
    if field.endswith("mask"):
        return _MASK
    return _FRAME if field in ("image", "image_tail") else _PICTURE


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
            and (self.file_type is JPEG or DECODING.fits(self.converted_bytes))
        )

    @property
    def converted_bytes(self) -> int:
        """Bytes of memory that a conversion takes; 0 without a header."""
        if self.header is None:
            return 0
        pixels = self.header.width * self.header.height
        return max(self.header.decoded_bytes, pixels * CONVERTED_PIXEL_BYTES)


def judge(
    field: str, facts: Facts, *, fix: bool, fitted: bool = False, bytes_max: int = BYTES_MAX
) -> list[Fault]:
    """A fault for every rule that a picture breaks in this field, of at most `bytes_max` bytes.

    The advice offers the setting for conversion unless `fix` says that it is on already. A picture
    that is `fitted` to another ratio here may have any.
    """
    role = role_of(field)
    faults = []
    for rule, message, use in _breaches(facts, role, bytes_max):
        if fitted and rule == "image_ratio":
            continue
        fault = Fault(field, rule, message, use, SOURCE)
        if not (fix or fitted) and role.can_mend(fault, facts) and facts.convertible:
            use = f"{use}, or have KLING_MCP_FIX_IMAGES=false removed: it is then converted"
            fault = replace(fault, use=use)
        faults.append(fault)
    return faults


def _breaches(facts: Facts, role: Role, bytes_max: int) -> Iterator[tuple[str, str, str]]:
    label = facts.label
    if not facts.file_type.accepted:
        yield (
            "image_type",
            f"{label} is {facts.file_type.said}; Kling takes JPEG and PNG only.",
            _instead_of(facts.file_type),
        )
    if facts.size_bytes > bytes_max:
        yield (
            "image_bytes",
            f"{label} has {facts.size_bytes:,} bytes ({size_text(facts.size_bytes)}); "
            f"Kling takes at most {bytes_max:,} ({bytes_max // 2**20} MB).",
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
            _ratio_advice(facts, role),
        )


A_FRAME = "kling://tasks/ID/frames/last (or first, or seconds) of a task, or a picture"


def _instead_of(file_type: FileType) -> str:
    if file_type is VIDEO:
        return A_FRAME
    return "a JPEG or PNG copy of it" if file_type.suffixes else "a JPEG or PNG picture"


def _ratio_advice(facts: Facts, role: Role) -> str:
    assert facts.header is not None
    width, height = facts.header.width, facts.header.height
    fit = "16:9" if width > height else "9:16"
    offer = f'fit "{fit}" to have it cropped here, or ' if role.frame and facts.convertible else ""
    if min(width, height) < SIDE_MIN:
        return (offer if min(width, height) >= SIDE_MENDED else "") + (
            "a picture between 1:2.5 and 2.5:1"
        )
    longest, shortest = RATIO_MAX
    kept = min(width, height) * longest // shortest
    crop = f"a crop of at most {min(width, kept)}x{min(height, kept)} px"
    return f"{offer}{crop}" if offer else f"{crop}, made in an image editor"

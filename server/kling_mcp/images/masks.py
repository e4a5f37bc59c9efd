"""Brush masks: whether they fit each other and the picture that they are for."""

from __future__ import annotations

from collections.abc import Sequence

from kling_mcp.images.picture import Picture
from kling_mcp.images.refusal import SOURCE
from kling_tools.faults import Fault, Verdict

__all__ = ["check_mask_sizes"]

TOLERANCE = 0.01
"""How far the ratios of image and mask may differ: rounding a small mask's sides costs as much."""


def check_mask_sizes(
    image: Picture | None, static_mask: Picture | None, dynamic: Sequence[Picture | None]
) -> Verdict:
    """Faults of masks that differ in pixels or format, or whose ratio is not the image's.

    Kling fails a task whose masks differ in resolution from each other or in ratio from the image
    [Kling image2video page]. Pictures by URL have no known size and pass.
    """
    verdict = Verdict()
    masks = [mask for mask in (static_mask, *dynamic) if mask is not None and mask.width]
    for mask in masks[1:]:
        verdict.faults.extend(_against_first(mask, masks[0]))
    if image is not None and image.width:
        verdict.faults.extend(
            Fault(
                mask.field,
                "mask_ratio",
                f"the mask is {_size(mask)} and {image.field} {_size(image)}; "
                "their ratios must be the same.",
                f"a mask of {_size(image)}",
                SOURCE,
            )
            for mask in masks
            if not _same_ratio(mask, image)
        )
    return verdict


def _against_first(mask: Picture, first: Picture) -> list[Fault]:
    faults = []
    if (mask.width, mask.height) != (first.width, first.height):
        message = f"the mask is {_size(mask)}, {first.field} is {_size(first)}; all must be alike."
        faults.append(Fault(mask.field, "mask_size", message, f"a mask of {_size(first)}", SOURCE))
    if mask.format != first.format:
        message = f"the mask is a {mask.format}, {first.field} a {first.format}; all must be alike."
        faults.append(Fault(mask.field, "mask_format", message, f"a {first.format} mask", SOURCE))
    return faults


def _same_ratio(mask: Picture, image: Picture) -> bool:
    """Whether the mask fits the image as stored, or as viewers show it when EXIF turns it."""
    ratio = _ratio(mask) / _ratio(image)
    if abs(ratio - 1) <= TOLERANCE:
        return True
    return image.turned and abs(_ratio(mask) * _ratio(image) - 1) <= TOLERANCE


def _ratio(picture: Picture) -> float:
    return (picture.width or 1) / (picture.height or 1)


def _size(picture: Picture) -> str:
    return f"{picture.width}x{picture.height} px"

"""The motion brush: `static_mask` and `dynamic_masks`."""

from __future__ import annotations

from kling_mcp.sandbox.fields import Fields
from kling_mcp.sandbox.order import Picture
from kling_mcp.sandbox.pictures import PictureShelf, same_shape
from kling_mcp.sandbox.refusals import refused
from kling_mcp.sandbox.rules.shared import Variant

__all__ = ["brush_flaw", "masks_of"]

MAX_MASKS = 6
MIN_POINTS, MAX_POINTS = 2, 77
MISFIT = (
    "The resolution or aspect ratio of the input image is invalid. "
    "Please ensure it meets the required specifications."
)
"""Recorded live as the message of a failed task."""


def brush_flaw(fields: Fields, what: Variant, shelf: PictureShelf, image: Picture) -> str:
    """Judge the masks; the answer is why the task will fail, empty when it will not.

    Raises `Refusal` for a model without brush, for counts and for points. Masks of another shape
    than the image, or of different sizes, are taken and fail the task, as the official page says.
    The sandbox's video does not show the brush.
    """
    if "static_mask" not in fields and "dynamic_masks" not in fields:
        return ""
    if not what.row.allows(what.row.brush, what.mode, what.duration):
        raise refused("brush_unsupported", model=what.model)
    masks = masks_of(fields, shelf)
    sizes = {(mask.width, mask.height) for mask in masks if not mask.url}
    fits = len(sizes) <= 1 and all(same_shape(mask, image) for mask in masks)
    return "" if fits else MISFIT


def masks_of(fields: Fields, shelf: PictureShelf) -> list[Picture]:
    """The static and the dynamic masks; raises `Refusal` for counts, points and pictures."""
    masks = []
    if "static_mask" in fields:
        masks.append(shelf.take("static_mask", fields.value("static_mask")))
    for group in fields.objects("dynamic_masks", 1, MAX_MASKS):
        if "mask" not in group:
            raise group.refuse("mask")
        points = group.objects("trajectories", MIN_POINTS, MAX_POINTS)
        if not points:
            raise refused("too_many", field="trajectories", least=MIN_POINTS, most=MAX_POINTS)
        for point in points:
            point.whole("x")
            point.whole("y")
        masks.append(shelf.take("mask", group.value("mask")))
    return masks

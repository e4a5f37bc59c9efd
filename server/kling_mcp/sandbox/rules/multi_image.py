"""Several pictures become a video: `multi-image2video` (Kling's pages for several pictures)."""

from __future__ import annotations

from kling_mcp.sandbox.config import SandboxConfig
from kling_mcp.sandbox.fields import Fields
from kling_mcp.sandbox.order import Order
from kling_mcp.sandbox.pictures import PictureShelf
from kling_mcp.sandbox.refusals import refused
from kling_mcp.sandbox.rules.brush import masks_of
from kling_mcp.sandbox.rules.shared import ASPECT_RATIOS, delivery, prompts, variant

__all__ = ["multi_image"]

DEFAULT_MODEL = "kling-v1-6"
MAX_IMAGES = 4


def multi_image(fields: Fields, shelf: PictureShelf, config: SandboxConfig) -> Order:
    """The order that the body stands for; raises `Refusal` at its first fault."""
    what = variant(fields, "multi-image2video", DEFAULT_MODEL, config)
    prompt = prompts(fields, required=True)
    ratio = fields.choice("aspect_ratio", ASPECT_RATIOS, "16:9")
    items = fields.objects("image_list", config.house.least_pictures, MAX_IMAGES)
    if not items:
        raise refused("image_missing")
    for item in items:
        if "image" not in item:
            raise refused("image_missing")
    if config.house.brush_on_several:
        fields.number("cfg_scale", 0.0, 1.0)
        masks_of(fields, shelf)
    return Order(
        product="multi-image2video",
        model=what.model,
        mode=what.mode,
        duration=what.duration,
        prompt=prompt,
        pictures=tuple(shelf.take("image", item.value("image")) for item in items),
        aspect_ratio=ASPECT_RATIOS[ratio],
        **delivery(fields),
    )

"""The sandbox's own rules for request bodies: what Kling accepts and refuses.

They were written apart from `kling_tools.rules`, after the same documents, so that each shows
mistakes of the other. A request is refused at its first fault, as Kling does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kling_sandbox.answers.refusals import refused
from kling_sandbox.config import SandboxConfig
from kling_sandbox.model_table import Product
from kling_sandbox.orders import Order
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.avatar import avatar
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.image2video import image2video, text2video
from kling_sandbox.rules.images import image_generation, omni_image
from kling_sandbox.rules.lip_sync import lip_sync
from kling_sandbox.rules.motion import motion_control
from kling_sandbox.rules.omni import multi_image, omni

__all__ = ["PRODUCTS", "judge"]

PRODUCTS: dict[Product, Callable[[Fields, PictureFiles, SandboxConfig], Order]] = {
    "image2video": image2video,
    "multi-image2video": multi_image,
    "omni-video": omni,
    "text2video": text2video,
    "omni-image": omni_image,
    "image-generation": image_generation,
    "motion-control": motion_control,
    "avatar": avatar,
    "lip-sync": lip_sync,
}


def judge(product: Product, body: Any, files: PictureFiles, config: SandboxConfig) -> Order:
    """The order in a request body. Raises `Refusal` with Kling's answer."""
    if not isinstance(body, dict):
        raise refused("not_json")
    return PRODUCTS[product](Fields(body), files, config)

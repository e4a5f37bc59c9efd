"""A judged request in the words of the wire: the JSON body of a create, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kling_tools.capabilities import Capabilities
from kling_tools.requests import (
    ImageToVideoRequest,
    MultiImageToVideoRequest,
    with_picture_references,
)
from kling_tools.reviews import Review

__all__ = ["create_body"]


def create_body(
    review: Review,
    pictures: Mapping[str, Any],
    capabilities: Capabilities,
    external_task_id: str,
) -> dict[str, Any]:
    """The fields of the body, those that ask for nothing left out.

    `pictures` maps field paths (`image`, `dynamic_masks[0].mask`) to what is sent for them.
    `model_name` and `duration` (as text) are always sent: Kling's default model is retired and
    it refuses a number.
    """
    request = review.request
    body: dict[str, Any] = {"model_name": review.model_name}
    if isinstance(request, ImageToVideoRequest):
        body |= _frames(request, pictures)
    elif isinstance(request, MultiImageToVideoRequest):
        body |= _picture_list(request, review, pictures)
    body |= _masks(request.dynamic_masks, pictures)
    body |= {
        "negative_prompt": request.negative_prompt,
        "mode": review.mode,
        "duration": request.duration,
        "sound": _sound(review, capabilities),
        "cfg_scale": request.cfg_scale,
        "watermark_info": request.watermark_info and request.watermark_info.model_dump(),
        "callback_url": request.callback_url,
        "external_task_id": external_task_id,
    }
    return {name: value for name, value in body.items() if value not in (None, "", [])}


def _frames(request: ImageToVideoRequest, pictures: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "image": pictures.get("image"),
        "image_tail": pictures.get("image_tail"),
        "prompt": request.prompt,
    }
    if request.multi_shot:
        fields |= {
            "multi_shot": True,
            "shot_type": request.shot_type,
            "multi_prompt": [shot.model_dump() for shot in request.multi_prompt],
        }
    if request.camera_control:
        camera = request.camera_control
        fields["camera_control"] = {"type": camera.type} | (
            {"config": camera.config.model_dump()} if camera.type == "simple" else {}
        )
    return fields | {
        "element_list": [{"element_id": number} for number in request.element_list],
        "voice_list": [{"voice_id": voice} for voice in request.voice_list],
    }


def _picture_list(
    request: MultiImageToVideoRequest, review: Review, pictures: Mapping[str, Any]
) -> dict[str, Any]:
    listed = [pictures[f"image_list[{place}]"] for place in range(len(request.image_list))]
    if review.product == "omni-video":
        return {
            "image_list": [{"image_url": picture} for picture in listed],
            "prompt": with_picture_references(request.prompt, len(listed)),
            "aspect_ratio": request.aspect_ratio,
        }
    return {
        "image_list": [{"image": picture} for picture in listed],
        "prompt": request.prompt,
        "aspect_ratio": request.aspect_ratio,
    }


def _masks(dynamic_masks: Any, pictures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "static_mask": pictures.get("static_mask"),
        "dynamic_masks": [
            {
                "mask": pictures[f"dynamic_masks[{place}].mask"],
                "trajectories": [point.model_dump() for point in group.trajectories],
            }
            for place, group in enumerate(dynamic_masks)
        ],
    }


def _sound(review: Review, capabilities: Capabilities) -> str | None:
    """`off` is said only to a model that could make sound: others do not know the field."""
    row = capabilities.product_row(review.model_name, review.product)
    if review.request.sound == "on" or (row and row.patterns("sound")):
        return review.request.sound
    return None

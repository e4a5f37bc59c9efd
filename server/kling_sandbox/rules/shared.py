"""Rules of every product: model, mode, duration, prompts, ids, masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from kling_sandbox.answers.refusals import refused
from kling_sandbox.config import SandboxConfig
from kling_sandbox.intake import Lifted
from kling_sandbox.model_table import MODELS, ModelRow, Product
from kling_sandbox.orders import Asset, GivenVideo, Picture
from kling_sandbox.pictures import PictureFiles, same_shape
from kling_sandbox.rules.body_fields import Fields

__all__ = [
    "ASPECT_RATIOS",
    "ID_LIMIT",
    "PROMPT_LIMIT",
    "URL_LIMIT",
    "FindAsset",
    "Variant",
    "brush_flaw",
    "check_cfg_scale",
    "delivery",
    "masks_of",
    "prompts",
    "sound_in",
    "sound_on",
    "variant",
]


FindAsset = Callable[[Literal["element", "voice"], str], Asset]
"""The element or voice with an id. Raises `Refusal` when there is none, or when it is deleted."""

PROMPT_LIMIT = 2500
URL_LIMIT = 2048
ID_LIMIT = 256
EXTERNAL_ID_LIMIT = 256
ASPECT_RATIOS: dict[str, float] = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
DEFAULT_DURATION = 5


_OF_THE_NEW_STANDARD = ("kling-v3-turbo", "kling-o1")
"""Names to which the endpoints of the old standard answered 1203 [live]."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The model, mode and duration (s) of one request, and the model's row."""

    model: str
    mode: str
    duration: int
    row: ModelRow


def variant(fields: Fields, product: Product, default_model: str, config: SandboxConfig) -> Variant:
    """The requested model, mode and duration. Raises `Refusal` when the model lacks them.

    A retired model is refused with HTTP 404 and 1203, as measured per endpoint. An unknown one is
    refused with 1201 and Kling's plainest text, as public records show for kling-v3-0.
    """
    model = fields.value("model_name") or default_model
    if model in config.rules.retired.get(product, ()) and not config.serve_retired:
        raise refused("discontinued", model=model)
    if model in _OF_THE_NEW_STANDARD or (model == "kling-video-o1" and product != "omni-video"):
        raise refused("not_for_this_api", model=model)
    if model == "kling-v3-omni" and product != "omni-video":
        raise refused("model_unsupported")
    row = MODELS.get(model) if isinstance(model, str) else None
    if row is None or product not in row.products:
        raise fields.refuse("model_name")
    default_mode = "std" if row.modes else ""
    mode = fields.choice("mode", row.modes, default_mode)
    duration = fields.seconds("duration", row.durations, DEFAULT_DURATION)
    return Variant(model, mode, duration, row)


def prompts(fields: Fields, *, required: bool) -> str:
    """The prompt. Of the negative prompt only the length is checked. Raises `Refusal`."""
    prompt = fields.text("prompt", PROMPT_LIMIT)
    if required and not prompt.strip():
        raise refused("prompt_missing")
    fields.text("negative_prompt", PROMPT_LIMIT)
    return prompt


def sound_on(fields: Fields, what: Variant) -> bool:
    """Whether sound is requested. Raises `Refusal` when the model has none in that mode."""
    sound = fields.choice("sound", ("on", "off"), "off") == "on"
    if sound and not ("*" in what.row.sound or what.mode in what.row.sound):
        raise refused("unsupported", field="sound")
    return sound


def check_cfg_scale(fields: Fields, what: Variant) -> None:
    """Raises `Refusal` for a `cfg_scale` that the model lacks, or out of its bounds."""
    if fields.value("cfg_scale") is None:
        return
    if not what.row.cfg_scale:
        raise refused("unsupported", field="cfg_scale")
    fields.number("cfg_scale", 0.0, 1.0)


def delivery(fields: Fields) -> dict[str, Any]:
    """`watermark`, `external_task_id` and `callback_url` of the order."""
    mark = fields.object("watermark_info")
    return {
        "watermark": mark is not None and mark.flag("enabled"),
        "external_task_id": fields.text("external_task_id", EXTERNAL_ID_LIMIT),
        "callback_url": fields.text("callback_url", URL_LIMIT),
    }


MAX_MASKS = 6
MIN_POINTS, MAX_POINTS = 2, 77
MISFIT = (
    "The resolution or aspect ratio of the input image is invalid. "
    "Please ensure it meets the required specifications."
)
"""Recorded live as the message of a failed task."""


def brush_flaw(fields: Fields, what: Variant, files: PictureFiles, image: Picture) -> str:
    """Check the masks. Returns the reason for which the task will fail; empty when it will not.

    Raises `Refusal` for a model without brush, for counts and for points. Masks of another shape
    than the image, or of different sizes, are accepted and fail the task, as the official page
    says. The sandbox's video does not show the brush.
    """
    if "static_mask" not in fields and "dynamic_masks" not in fields:
        return ""
    if not what.row.allows(what.row.brush, what.mode, what.duration):
        raise refused("brush_unsupported", model=what.model)
    masks = masks_of(fields, files)
    sizes = {(mask.width, mask.height) for mask in masks if not mask.url}
    fits = len(sizes) <= 1 and all(same_shape(mask, image) for mask in masks)
    return "" if fits else MISFIT


def masks_of(fields: Fields, files: PictureFiles) -> list[Picture]:
    """The static and the dynamic masks. Raises `Refusal` for counts, points and pictures."""
    masks = []
    if "static_mask" in fields:
        masks.append(files.accept("static_mask", fields.value("static_mask")))
    for group in fields.objects("dynamic_masks", 1, MAX_MASKS):
        if "mask" not in group:
            raise group.refuse("mask")
        points = group.objects("trajectories", MIN_POINTS, MAX_POINTS)
        if not points:
            raise refused("too_many", field="trajectories", least=MIN_POINTS, most=MAX_POINTS)
        for point in points:
            point.whole("x")
            point.whole("y")
        masks.append(files.accept("mask", group.value("mask")))
    return masks


def sound_in(fields: Fields, files: PictureFiles, now: float) -> GivenVideo:
    """The sound that a face speaks: the speech of a text by its id, or a file. Raises `Refusal`."""
    if ("audio_id" in fields) == ("sound_file" in fields):
        raise refused("label_missing", field="sound_file")
    if "audio_id" in fields:
        task = files.find_task(fields.text("audio_id", ID_LIMIT))
        if task is None or task.order.product != "tts":
            raise fields.refuse("audio_id")
        return GivenVideo("", task_id=task.task_id, seconds=task.order.at_once_ms / 1000)
    given = fields.value("sound_file")
    if isinstance(given, str) and given.startswith(("http://", "https://")):
        return files.find_video(fields.text("sound_file", URL_LIMIT), now)
    if not isinstance(given, str | Lifted):
        raise fields.refuse("sound_file")
    return files.keep_sound(given)

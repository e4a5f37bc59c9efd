"""The rules that hold for every product: model, mode, duration, prompts, ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kling_mcp.sandbox.capability import MODELS, ModelRow, Product
from kling_mcp.sandbox.config import SandboxConfig
from kling_mcp.sandbox.fields import Fields
from kling_mcp.sandbox.refusals import refused

__all__ = ["ASPECT_RATIOS", "PROMPT_LIMIT", "Variant", "delivery", "prompts", "sound_on", "variant"]

PROMPT_LIMIT = 2500
URL_LIMIT = 2048
EXTERNAL_ID_LIMIT = 256
ASPECT_RATIOS: dict[str, float] = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
DEFAULT_DURATION = 5


@dataclass(frozen=True, slots=True)
class Variant:
    """The model, mode and duration (s) of one request, and the model's row."""

    model: str
    mode: str
    duration: int
    row: ModelRow


def variant(fields: Fields, product: Product, default_model: str, config: SandboxConfig) -> Variant:
    """What is asked for, as far as the model allows it; raises `Refusal`.

    An unknown model is refused with 1201 and Kling's plainest text, which public records show for
    kling-v3-0; 1203, which the table of codes offers, was not seen for models.
    """
    model = fields.value("model_name") or default_model
    if model in config.discontinued:
        raise refused("discontinued", model=model)
    row = MODELS.get(model) if isinstance(model, str) else None
    if row is None or product not in row.products:
        raise fields.refuse("model_name")
    default_mode = "std" if row.modes else ""
    mode = fields.choice("mode", row.modes, default_mode)
    duration = fields.seconds("duration", row.durations, DEFAULT_DURATION)
    return Variant(model, mode, duration, row)


def prompts(fields: Fields, *, required: bool) -> str:
    """The prompt; the negative prompt is only measured. Raises `Refusal`."""
    prompt = fields.text("prompt", PROMPT_LIMIT)
    if required and not prompt.strip():
        raise refused("prompt_missing")
    fields.text("negative_prompt", PROMPT_LIMIT)
    return prompt


def sound_on(fields: Fields, what: Variant) -> bool:
    """Whether sound is asked for; refused where the model has none in that mode."""
    sound = fields.choice("sound", ("on", "off"), "off") == "on"
    if sound and not ("*" in what.row.sound or what.mode in what.row.sound):
        raise refused("unsupported", field="sound")
    return sound


def delivery(fields: Fields) -> dict[str, Any]:
    """`watermark`, `external_task_id` and `callback_url` of the order."""
    mark = fields.object("watermark_info")
    return {
        "watermark": mark is not None and mark.flag("enabled"),
        "external_task_id": fields.text("external_task_id", EXTERNAL_ID_LIMIT),
        "callback_url": fields.text("callback_url", URL_LIMIT),
    }

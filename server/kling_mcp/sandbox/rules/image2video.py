"""One picture becomes a video: the rules of Kling's image2video page."""

from __future__ import annotations

from kling_mcp.sandbox.config import SandboxConfig
from kling_mcp.sandbox.fields import Fields
from kling_mcp.sandbox.order import Order, Picture
from kling_mcp.sandbox.pictures import PictureShelf
from kling_mcp.sandbox.refusals import refused
from kling_mcp.sandbox.rules.brush import brush_flaw
from kling_mcp.sandbox.rules.camera import camera_wish
from kling_mcp.sandbox.rules.shared import Variant, delivery, prompts, sound_on, variant
from kling_mcp.sandbox.rules.shots import shots_of
from kling_mcp.sandbox.rules.voices import check_elements, has_voices

__all__ = ["image2video"]

DEFAULT_MODEL = "kling-v1"
"""Left out, the model is v1 (Kling's image2video page), which is discontinued."""

_CONTROLS = (("image_tail",), ("static_mask", "dynamic_masks"), ("camera_control",))


def image2video(fields: Fields, shelf: PictureShelf, config: SandboxConfig) -> Order:
    """The order that the body stands for; raises `Refusal` at its first fault."""
    what = variant(fields, "image2video", DEFAULT_MODEL, config)
    shots = shots_of(fields, what)
    optional = shots.customized or "image2video" in config.house.prompt_optional
    prompt = prompts(fields, required=not optional)
    _check_cfg_scale(fields, what)
    sound = sound_on(fields, what)
    voice = has_voices(fields, what, prompt, sound=sound)
    check_elements(fields, what)
    if sum(any(name in fields for name in names) for names in _CONTROLS) > 1:
        raise refused("one_control")
    camera = camera_wish(fields, what)
    image, tail = _frames(fields, what, shelf, sound=sound)
    shown = image or tail
    return Order(
        product="image2video",
        model=what.model,
        mode=what.mode,
        duration=what.duration,
        prompt=prompt,
        pictures=(image,) if image else (),
        tail=tail,
        sound=sound,
        voice=voice,
        camera=camera,
        shots=shots.seconds,
        flaw=brush_flaw(fields, what, shelf, shown) if shown else "",
        **delivery(fields),
    )


def _check_cfg_scale(fields: Fields, what: Variant) -> None:
    if fields.value("cfg_scale") is None:
        return
    if not what.row.cfg_scale:
        raise refused("unsupported", field="cfg_scale")
    fields.number("cfg_scale", 0.0, 1.0)


def _frames(
    fields: Fields, what: Variant, shelf: PictureShelf, *, sound: bool
) -> tuple[Picture | None, Picture | None]:
    """The start and the end frame; a shape that the model lacks is refused before it is read."""
    row = what.row
    if "image_tail" in fields:
        if not row.tail:
            raise refused("tail_unsupported")
        if not row.allows(row.tail, what.mode, what.duration):
            raise refused(
                "tail_combination", model=what.model, mode=what.mode, duration=what.duration
            )
        if sound and not row.tail_with_sound:
            raise refused("tail_with_sound")
        if "image" not in fields and not row.allows(row.end_only, what.mode, what.duration):
            raise refused("tail_alone")
    elif "image" not in fields:
        raise refused("image_missing")
    image = shelf.take("image", fields.value("image")) if "image" in fields else None
    tail = shelf.take("image_tail", fields.value("image_tail")) if "image_tail" in fields else None
    return image, tail

"""Rules of `text2video`: words, a shape, and perhaps shots (a copy of Kling's page)."""

from __future__ import annotations

from kling_sandbox.config import SandboxConfig
from kling_sandbox.orders import Order
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.image2video import DEFAULT_MODEL, camera_control, shots_of
from kling_sandbox.rules.shared import (
    ASPECT_RATIOS,
    check_cfg_scale,
    delivery,
    prompts,
    sound_on,
    variant,
)

__all__ = ["text2video"]


def text2video(fields: Fields, _: PictureFiles, config: SandboxConfig) -> Order:
    """The order in the body. Raises `Refusal` at its first fault."""
    what = variant(fields, "text2video", DEFAULT_MODEL, config)
    shots = shots_of(fields, what)
    prompt = prompts(fields, required=not shots.customized)
    check_cfg_scale(fields, what)
    return Order(
        product="text2video",
        model=what.model,
        mode=what.mode,
        duration=what.duration,
        prompt=prompt,
        aspect_ratio=ASPECT_RATIOS[fields.choice("aspect_ratio", ASPECT_RATIOS, "16:9")],
        sound=sound_on(fields, what),
        camera=camera_control(fields, what),
        shots=shots.seconds,
        lines=shots.words,
        **delivery(fields),
    )

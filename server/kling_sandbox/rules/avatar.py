"""Rules of `avatar`: a face that speaks a sound (after Kling's page of avatar/image2video)."""

from __future__ import annotations

from kling_sandbox.answers.refusals import refused
from kling_sandbox.config import SandboxConfig
from kling_sandbox.orders import GivenVideo, Order
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.motion import FRAME_S, seconds_of
from kling_sandbox.rules.shared import delivery, prompts, sound_in

__all__ = ["avatar"]

LEAST_S, MOST_S = 2.0, 300.0


def avatar(fields: Fields, files: PictureFiles, config: SandboxConfig) -> Order:
    """The order in the body. Raises `Refusal` at its first fault. What is wrong with the sound
    itself fails the task."""
    mode = fields.choice("mode", ("std", "pro"), "std")
    prompt = prompts(fields, required=False)
    if "image" not in fields:
        raise refused("image_missing")
    sound = sound_in(fields, files, config.clock())
    face = files.accept("image", fields.value("image"))
    return Order(
        product="avatar",
        model="kling-avatar",
        mode=mode,
        duration=seconds_of(sound),
        prompt=prompt,
        pictures=(face,),
        sound=True,
        flaw=_flaw(sound),
        speech=sound,
        **delivery(fields),
    )


def _flaw(sound: GivenVideo) -> str:
    """Why the task will fail; empty when it will not."""
    if sound.broken:
        return "The format of the input audio is invalid"
    if sound.seconds and not LEAST_S - FRAME_S <= sound.seconds <= MOST_S + FRAME_S:
        return f"The duration of the input audio must be between {LEAST_S:.0f}s and {MOST_S:.0f}s"
    return ""

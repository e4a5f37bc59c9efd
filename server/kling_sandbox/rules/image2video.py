"""Rules of `image2video`: one picture, with camera, shots, voices and elements; and of
`text2video`, which has the same without a picture (a copy of Kling's page)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kling_sandbox.answers.refusals import refused
from kling_sandbox.config import SandboxConfig
from kling_sandbox.orders import Asset, CameraControl, Order, Picture
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.shared import (
    ASPECT_RATIOS,
    ID_LIMIT,
    Variant,
    brush_flaw,
    check_cfg_scale,
    delivery,
    prompts,
    sound_on,
    variant,
)

__all__ = ["camera_control", "elements_of", "even_shots", "image2video", "shots_of", "text2video"]


_AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
_PRESETS = ("down_back", "forward_up", "right_turn_forward", "left_turn_forward")
_REACH = 10.0


def camera_control(fields: Fields, what: Variant) -> CameraControl | None:
    """The requested camera move; None without one. Raises `Refusal`."""
    camera = fields.object("camera_control")
    if camera is None:
        return None
    kind = camera.choice("type", ("simple", *_PRESETS), "")
    if not kind:
        raise camera.refuse("type")
    allowed = what.row.allows(what.row.camera, what.mode, what.duration)
    if not allowed or kind not in what.row.camera_types:
        raise refused("camera_unsupported")
    config = camera.object("config")
    if kind != "simple":
        if "config" in camera:
            raise camera.refuse("config")
        return CameraControl(kind)
    values = {axis: config.number(axis, -_REACH, _REACH) for axis in _AXES} if config else {}
    turned = {axis: value for axis, value in values.items() if value}
    if len(turned) != 1:
        raise refused("camera_config")
    ((axis, value),) = turned.items()
    return CameraControl(kind, axis, value)


MAX_SHOTS = 6
SHOT_PROMPT_LIMIT = 512
_OWN_SHOT_S = 3


@dataclass(frozen=True, slots=True)
class Shots:
    """The seconds of each shot; empty for one unbroken take. `words` are those of each shot that
    the caller listed."""

    seconds: tuple[int, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def customized(self) -> bool:
        """Whether the caller listed them."""
        return bool(self.words)


def shots_of(fields: Fields, what: Variant) -> Shots:
    """The requested shots. Raises `Refusal`."""
    if not fields.flag("multi_shot"):
        for name in ("shot_type", "multi_prompt"):
            if name in fields:
                raise refused("shots_off", field=name)
        return Shots()
    if not what.row.multi_shot:
        raise refused("unsupported", field="multi_shot")
    if fields.choice("shot_type", ("customize", "intelligence"), "") == "":
        raise fields.refuse("shot_type")
    if fields.value("shot_type") == "intelligence":
        return Shots(even_shots(what.duration))
    prompts = fields.objects("multi_prompt", 1, MAX_SHOTS)
    if not prompts:
        raise refused("too_many", field="multi_prompt", least=1, most=MAX_SHOTS)
    seconds, words = [], []
    for place, shot in enumerate(prompts, start=1):
        if shot.whole("index") != place:
            raise refused("shots_order")
        words.append(shot.text("prompt", SHOT_PROMPT_LIMIT).strip())
        if not words[-1]:
            raise shot.refuse("prompt")
        seconds.append(shot.seconds("duration", range(1, what.duration + 1)))
    if sum(seconds) != what.duration:
        raise refused("shots_sum")
    return Shots(tuple(seconds), tuple(words))


def even_shots(duration: int) -> tuple[int, ...]:
    """Seconds of the shots that the sandbox itself cuts: about three, the first ones one more."""
    count = max(1, min(MAX_SHOTS, duration // _OWN_SHOT_S))
    short, longer = divmod(duration, count)
    return tuple(short + (place < longer) for place in range(count))


MAX_VOICES = 2
MAX_ELEMENTS = 3
_VOICE = re.compile(r"<<<voice_(\d+)>>>")


def voices_of(fields: Fields, what: Variant, prompt: str, *, sound: bool) -> list[Asset]:
    """The voices of `voice_list`, by their ids. Raises `Refusal`.

    A voice requires sound, a place in the prompt, and no elements beside it.
    """
    voices = fields.objects("voice_list", 1, MAX_VOICES)
    named = {int(place) for place in _VOICE.findall(prompt)}
    if any(not 1 <= place <= len(voices) for place in named):
        raise fields.refuse("prompt")
    if not voices:
        return []
    if not ("*" in what.row.voices or what.mode in what.row.voices):
        raise refused("unsupported", field="voice_list")
    if "element_list" in fields:
        raise refused("voices_and_elements")
    for voice in voices:
        if not voice.text("voice_id", ID_LIMIT):
            raise voice.refuse("voice_id")
    if not sound:
        raise refused("voice_needs_sound")
    if not named:
        raise refused("voice_unnamed")
    return [Asset("voice", voice.text("voice_id", ID_LIMIT)) for voice in voices]


def elements_of(fields: Fields, what: Variant, most: int = MAX_ELEMENTS) -> list[Asset]:
    """The elements of `element_list`. Raises `Refusal`. Ids are JSON integers, not strings."""
    elements = fields.objects("element_list", 1, most)
    if elements and not what.row.elements:
        raise refused("unsupported", field="element_list")
    for element in elements:
        if not 0 < element.whole("element_id") < 2**63:
            raise element.refuse("element_id")
    return [Asset("element", str(element.value("element_id"))) for element in elements]


DEFAULT_MODEL = "kling-v1"
"""The default model (Kling's image2video page), which is discontinued."""

_CONTROLS = (("image_tail",), ("static_mask", "dynamic_masks"), ("camera_control",))


def image2video(fields: Fields, files: PictureFiles, config: SandboxConfig) -> Order:
    """The order in the body. Raises `Refusal` at its first fault."""
    what = variant(fields, "image2video", DEFAULT_MODEL, config)
    shots = shots_of(fields, what)
    optional = shots.customized or "image2video" in config.rules.prompt_optional
    prompt = prompts(fields, required=not optional)
    check_cfg_scale(fields, what)
    sound = sound_on(fields, what)
    voices = voices_of(fields, what, prompt, sound=sound)
    elements = elements_of(fields, what)
    if sum(any(name in fields for name in names) for names in _CONTROLS) > 1:
        raise refused("one_control")
    camera = camera_control(fields, what)
    image, tail = _frames(fields, what, files, sound=sound)
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
        voice=bool(voices),
        camera=camera,
        shots=shots.seconds,
        flaw=brush_flaw(fields, what, files, shown) if shown else "",
        assets=(*elements, *voices),
        **delivery(fields),
    )


def _frames(
    fields: Fields, what: Variant, files: PictureFiles, *, sound: bool
) -> tuple[Picture | None, Picture | None]:
    """The start and the end frame. A combination that the model lacks is refused before reading."""
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
    image = files.accept("image", fields.value("image")) if "image" in fields else None
    tail = (
        files.accept("image_tail", fields.value("image_tail")) if "image_tail" in fields else None
    )
    return image, tail


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

"""Rules of `omni-video` and `multi-image2video`: several pictures (after Kling's pages)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kling_sandbox.answers.refusals import refused
from kling_sandbox.config import SandboxConfig
from kling_sandbox.orders import Order
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.image2video import elements_of, shots_of
from kling_sandbox.rules.shared import (
    ASPECT_RATIOS,
    URL_LIMIT,
    Variant,
    delivery,
    masks_of,
    prompts,
    sound_on,
    variant,
)

__all__ = ["multi_image", "omni"]


DEFAULT_MODEL = "kling-video-o1"
MAX_IMAGES = 7
_REFERENCE = re.compile(r"<<<(image|element|video)_(\d+)>>>")
_ROLES = ("first_frame", "end_frame")


def omni(fields: Fields, files: PictureFiles, config: SandboxConfig) -> Order:
    """The order in the body. Raises `Refusal` at its first fault.

    Without aspect_ratio, the video has the first frame's shape, or 16:9 without a first frame.
    """
    what = variant(fields, "omni-video", DEFAULT_MODEL, config)
    shots = shots_of(fields, what)
    prompt = prompts(fields, required=not shots.customized)
    sound = sound_on(fields, what)
    video = _video(fields, sound=sound)
    elements = elements_of(fields, what, MAX_IMAGES)
    ratio = fields.choice("aspect_ratio", ASPECT_RATIOS, "")
    items = fields.objects("image_list", 1, MAX_IMAGES)
    _check_references(prompt, {"image": len(items), "element": len(elements), "video": video})
    if len(items) + len(elements) > (most := 4 if video else MAX_IMAGES):
        raise refused("images_and_elements", most=most)
    _check_duration(what, len(items) + len(elements) + video)
    roles = [item.choice("type", _ROLES, "") for item in items]
    if roles.count("first_frame") > 1 or roles.count("end_frame") > 1:
        raise fields.refuse("image_list")
    if "end_frame" in roles and "first_frame" not in roles:
        raise refused("tail_alone")
    if any("image_url" not in item for item in items):
        raise refused("image_missing")
    pictures = [files.accept("image_url", item.value("image_url")) for item in items]
    firsts = [p for p, role in zip(pictures, roles, strict=True) if role == "first_frame"]
    others = [p for p, role in zip(pictures, roles, strict=True) if not role]
    ends = [p for p, role in zip(pictures, roles, strict=True) if role == "end_frame"]
    return Order(
        product="omni-video",
        model=what.model,
        mode=what.mode,
        duration=what.duration,
        prompt=prompt,
        pictures=(*firsts, *others),
        tail=ends[0] if ends else None,
        aspect_ratio=ASPECT_RATIOS[ratio or "16:9"] if ratio or not firsts else None,
        sound=sound,
        shots=shots.seconds,
        assets=tuple(elements),
        video=video,
        **delivery(fields),
    )


def _video(fields: Fields, *, sound: bool) -> bool:
    """Whether there is a reference video. Raises `Refusal`."""
    videos = fields.objects("video_list", 1, 1)
    for video in videos:
        if not video.text("video_url", URL_LIMIT).startswith(("http://", "https://")):
            raise video.refuse("video_url")
        video.choice("refer_type", ("feature", "base"), "base")
        video.choice("keep_original_sound", ("yes", "no"), "yes")
        if sound:
            raise refused("sound_with_video")
    return bool(videos)


def _check_references(prompt: str, counts: Mapping[str, int]) -> None:
    for reference in _REFERENCE.finditer(prompt):
        if not 1 <= int(reference[2]) <= counts[reference[1]]:
            raise refused("reference_unknown", reference=reference[0])


def _check_duration(what: Variant, count: int) -> None:
    free = what.row.reference_free_durations
    if free and not count and what.duration not in free:
        raise refused("o1_duration")


MULTI_IMAGE_MODEL = "kling-v1-6"
MOST_MULTI_IMAGES = 4


def multi_image(fields: Fields, files: PictureFiles, config: SandboxConfig) -> Order:
    """The order in the body. Raises `Refusal` at its first fault."""
    what = variant(fields, "multi-image2video", MULTI_IMAGE_MODEL, config)
    prompt = prompts(fields, required=True)
    ratio = fields.choice("aspect_ratio", ASPECT_RATIOS, "16:9")
    items = fields.objects("image_list", config.rules.least_pictures, MOST_MULTI_IMAGES)
    if not items:
        raise refused("image_missing")
    for item in items:
        if "image" not in item:
            raise refused("image_missing")
    if config.rules.brush_on_several:
        fields.number("cfg_scale", 0.0, 1.0)
        masks_of(fields, files)
    return Order(
        product="multi-image2video",
        model=what.model,
        mode=what.mode,
        duration=what.duration,
        prompt=prompt,
        pictures=tuple(files.accept("image", item.value("image")) for item in items),
        aspect_ratio=ASPECT_RATIOS[ratio],
        **delivery(fields),
    )

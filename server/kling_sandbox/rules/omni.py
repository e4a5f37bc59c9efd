"""Rules of `omni-video` and `multi-image2video`: several pictures (after Kling's pages)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kling_sandbox.answers.refusals import refused
from kling_sandbox.config import SandboxConfig
from kling_sandbox.orders import GivenVideo, Order, Reference
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.image2video import elements_of, shots_of
from kling_sandbox.rules.motion import FRAME_S, seconds_of
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

__all__ = ["multi_image", "omni", "reference_flaw"]


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
    reference = _reference(fields, files, config, sound=sound)
    video = reference is not None
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
    if reference and reference.kind == "base" and any(roles):
        raise refused("material", kind="first_frame with base video")
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
        duration=_length(reference, what.duration),
        prompt=prompt,
        pictures=(*firsts, *others),
        tail=ends[0] if ends else None,
        aspect_ratio=ASPECT_RATIOS[ratio or "16:9"] if ratio or not (firsts or video) else None,
        sound=sound or (reference is not None and reference.keeps_sound),
        flaw=reference_flaw(reference.video, what.model) if reference else "",
        shots=shots.seconds,
        assets=tuple(elements),
        video=video,
        reference=reference,
        **delivery(fields),
    )


def _reference(
    fields: Fields, files: PictureFiles, config: SandboxConfig, *, sound: bool
) -> Reference | None:
    """The video that is changed or followed. Raises `Refusal`."""
    for video in fields.objects("video_list", 1, 1):
        url = video.text("video_url", URL_LIMIT)
        if not url.startswith(("http://", "https://")):
            raise video.refuse("video_url")
        base = video.choice("refer_type", ("feature", "base"), "base") == "base"
        keeps = video.choice("keep_original_sound", ("yes", "no"), "yes") == "yes"
        if sound:
            raise refused("sound_with_video")
        found = files.find_video(url, config.clock())
        return Reference(found, "base" if base else "feature", base and keeps)
    return None


def _length(reference: Reference | None, asked: int) -> int:
    """The seconds that are paid for; those of an edit are its video's."""
    edits = reference is not None and reference.kind == "base"
    return seconds_of(reference.video) if reference and edits else asked


_VIDEOS: Mapping[str, tuple[float, float, int, int]] = {
    "kling-v3-omni": (3, 15.5, 700, 4553),
    "kling-video-o1": (3, 10, 700, 2160),
}
"""By model: the seconds and the sides (px) of a reference video, least and most each."""


def reference_flaw(video: GivenVideo, model: str) -> str:
    """Why the task will fail; empty when it will not. Kling reads the video only then."""
    if video.broken:
        return "The format of the input video is invalid"
    if model not in _VIDEOS:
        return ""
    least, most, low, high = _VIDEOS[model]
    if video.seconds and not least - FRAME_S <= video.seconds <= most + FRAME_S:
        return f"The duration of the input video must be between {least:g}s and {most:g}s"
    if any(not low <= side <= high for side in (video.width, video.height) if side):
        return "The resolution of the input video is invalid"
    return ""


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

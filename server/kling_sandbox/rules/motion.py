"""Rules of `motion-control`: a figure that moves as in a video (after Kling's pages)."""

from __future__ import annotations

import math
from typing import Any

from kling_sandbox.answers.refusals import refused
from kling_sandbox.config import SandboxConfig
from kling_sandbox.model_table import MODELS
from kling_sandbox.new_models import NEW_MODELS, RESOLUTIONS
from kling_sandbox.orders import Asset, GivenVideo, Motion, Order
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.image2video import elements_of
from kling_sandbox.rules.shared import ID_LIMIT, URL_LIMIT, FindAsset, delivery, prompts, variant

__all__ = ["FRAME_S", "motion_control", "new_motion", "seconds_of"]

DEFAULT_MODEL = "kling-v2-6"
ORIENTATIONS = {"image": 10.0, "video": 30.0}
"""Whom the figure faces as, and the most seconds of the motion."""

_LEAST_S = 3.0
_SIDES = (340, 3850)
FRAME_S = 0.05
_UNSEEN_S = 5.0
"""What a motion is taken to last that the sandbox cannot see."""


def motion_control(fields: Fields, files: PictureFiles, config: SandboxConfig) -> Order:
    """The order in the body. Raises `Refusal` at its first fault. What is wrong with the video
    itself fails the task, as Kling reads it only then."""
    what = variant(fields, "motion-control", DEFAULT_MODEL, config)
    prompt = prompts(fields, required=False)
    orientation = fields.choice("character_orientation", tuple(ORIENTATIONS), "")
    if not orientation:
        raise refused("label_missing", field="character_orientation")
    keeps = fields.choice("keep_original_sound", ("yes", "no"), "yes") == "yes"
    elements = elements_of(fields, what, 1)
    if elements and orientation == "image":
        raise refused("element_faces", field="element_list")
    if "image_url" not in fields:
        raise refused("image_missing")
    if "video_url" not in fields:
        raise refused("label_missing", field="video_url")
    url = fields.text("video_url", URL_LIMIT)
    if not url.startswith(("http://", "https://")):
        raise fields.refuse("video_url")
    figure = files.accept("image_url", fields.value("image_url"))
    video = files.find_video(url, config.clock())
    return Order(
        product="motion-control",
        model=what.model,
        mode=what.mode,
        duration=seconds_of(video),
        prompt=prompt,
        pictures=(figure,),
        sound=keeps,
        flaw=motion_flaw(video, orientation),
        assets=tuple(elements),
        motion=Motion(video, orientation, keeps),
        **delivery(fields),
    )


_CONTENTS = ("prompt", "image", "video", "element")
"""The types of `contents`, one of each."""


def new_motion(
    name: str, body: Any, files: PictureFiles, config: SandboxConfig, find: FindAsset
) -> Order:
    """The order in a body of the new standard, for the model with that name in the path. Raises
    `Refusal`."""
    model = NEW_MODELS.get(name)
    if model is None:
        raise refused("model_unknown", model=name)
    if "motion-control" not in model.products:
        raise refused("not_for_this_api", model=name)
    if not isinstance(body, dict):
        raise refused("not_json")
    fields = Fields(body)
    settings = fields.object("settings", prefix="") or Fields({})
    resolution = settings.value("resolution") or "720p"
    if resolution not in ("720p", "1080p"):
        raise refused("resolution", value=resolution)
    keeps = settings.choice("audio", ("original", "off"), "original") == "original"
    orientation = settings.choice("character_orientation", tuple(ORIENTATIONS), "")
    if not orientation:
        raise refused("label_missing", field="character_orientation")
    found = _contents(fields)
    if "image" not in found:
        raise refused("image_missing")
    if "video" not in found:
        raise refused("label_missing", field="contents.video")
    prompt = found["prompt"].text("text", model.prompt_chars) if "prompt" in found else ""
    assets: tuple[Asset, ...] = ()
    if "element" in found:
        if not MODELS[model.prices].elements:
            raise refused("material", kind="element")
        if orientation == "image":
            raise refused("element_faces", field="element")
        assets = (find("element", found["element"].text("element_id", ID_LIMIT)),)
    url = found["video"].text("url", URL_LIMIT)
    if not url.startswith(("http://", "https://")):
        raise found["video"].refuse("url")
    figure = files.accept("contents.image", found["image"].value("url"), model.image_mb)
    video = files.find_video(url, config.clock())
    return Order(
        product="motion-control",
        model=model.prices,
        mode=RESOLUTIONS[resolution],
        duration=seconds_of(video),
        prompt=prompt,
        pictures=(figure,),
        sound=keeps,
        flaw=motion_flaw(video, orientation),
        standard="new",
        assets=assets,
        motion=Motion(video, orientation, keeps),
        **delivery(fields.object("options") or Fields({})),
    )


def _contents(fields: Fields) -> dict[str, Fields]:
    items = fields.value("contents")
    if not isinstance(items, list) or not items:
        raise refused("contents_empty")
    found: dict[str, Fields] = {}
    for place, item in enumerate(items):
        if not isinstance(item, dict):
            raise fields.refuse("contents")
        content = Fields(item, f"contents[{place}].")
        kind = content.value("type")
        if kind not in _CONTENTS:
            raise content.refuse("type")
        if kind in found:
            raise refused("material_count", kind=kind, most=1)
        found[kind] = content
    return found


def seconds_of(video: GivenVideo) -> int:
    """The seconds that are paid for: each one that has begun."""
    return math.ceil((video.seconds or _UNSEEN_S) - FRAME_S)


def motion_flaw(video: GivenVideo, orientation: str) -> str:
    """Why the task will fail; empty when it will not."""
    if video.broken:
        return "The format of the input video is invalid"
    most = ORIENTATIONS[orientation]
    if video.seconds and not _LEAST_S - FRAME_S <= video.seconds <= most + FRAME_S:
        return f"The duration of the input video must be between 3s and {most:.0f}s"
    sides = [side for side in (video.width, video.height) if side]
    if any(not _SIDES[0] <= side <= _SIDES[1] for side in sides):
        return "The resolution of the input video is invalid"
    return ""

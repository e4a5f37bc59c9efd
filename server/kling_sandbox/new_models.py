"""The models of Kling's new standard, one row each, after copies of its pages of 2026-09-20.

The rows of 4.0 follow the documentation of a reseller that forwards Kling's own body; no page of
Kling's was found. `prices` names the row of `model_table` with the units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kling_sandbox.model_table import TaskKind

__all__ = ["KINDS", "NEW_MODELS", "RESOLUTIONS", "Material", "NewModel", "NewProduct"]

NewProduct = Literal["text-to-video", "image-to-video", "omni-video", "motion-control"]

KINDS: Mapping[NewProduct, TaskKind] = {
    "text-to-video": "text2video",
    "image-to-video": "image2video",
    "omni-video": "omni-video",
    "motion-control": "motion-control",
}
"""What the old standard calls each product."""

RESOLUTIONS = {"720p": "std", "1080p": "pro", "4k": "4k"}
"""The mode of the old standard for each resolution."""

Material = Literal[
    "prompt",
    "first_frame",
    "middle_frame",
    "last_frame",
    "refer_image",
    "feature_video",
    "base_video",
    "element",
    "voice",
]

_PRODUCTS: tuple[NewProduct, ...] = ("text-to-video", "image-to-video", "omni-video")
_FRAMES: tuple[NewProduct, ...] = ("text-to-video", "image-to-video")
_MOTION: tuple[NewProduct, ...] = (*_FRAMES, "motion-control")
_OMNI: tuple[NewProduct, ...] = ("omni-video",)
_HD = ("720p", "1080p")
_UHD = ("720p", "1080p", "4k")
_RATIOS = ("16:9", "9:16", "1:1")
_WIDE = ("21:9", "16:9", "9:16", "1:1", "4:3", "3:4")
_ONE_FRAME: Mapping[Material, int] = {"first_frame": 1}
_TWO_FRAMES: Mapping[Material, int] = {"first_frame": 1, "last_frame": 1}
_OMNI_MATERIAL: Mapping[Material, int] = {
    **_TWO_FRAMES,
    "refer_image": 7,
    "feature_video": 1,
    "base_video": 1,
    "element": 7,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """One model.

    `durations` are seconds. `audio` are the words of `settings.audio`, the default first; none
    means that the field does not exist, and then the clip has sound if `loud`. `multi_shot` is the
    field's default, None without the field. `storyboard`: shots in the prompt cut the clip.
    `frames` and `omni` are the most materials of each kind by product. `strict_ends`: a last frame
    requires 1080p and silence. `family` says what its other rules are.
    """

    prices: str
    products: tuple[NewProduct, ...]
    durations: tuple[int, ...]
    resolutions: tuple[str, ...] = _HD
    ratios: tuple[str, ...] = _RATIOS
    audio: tuple[str, ...] = ()
    loud: bool = False
    multi_shot: bool | None = None
    storyboard: bool = False
    prompt_chars: int = 2500
    frames: Mapping[Material, int] = field(default_factory=dict)
    omni: Mapping[Material, int] = field(default_factory=dict)
    strict_ends: bool = False
    family: Literal["", "omni", "o1", "4.0"] = ""
    image_mb: int = 50

    def most(self, product: NewProduct, kind: Material) -> int:
        """The most materials of a kind that a request of the product may have."""
        return (self.omni if product == "omni-video" else self.frames).get(kind, 0)


NEW_MODELS: Mapping[str, NewModel] = {
    "kling-3.0-turbo": NewModel(
        prices="kling-v3-turbo",
        products=_FRAMES,
        durations=tuple(range(3, 16)),
        audio=("native", "off"),
        storyboard=True,
        prompt_chars=3072,
        frames=_ONE_FRAME,
    ),
    "kling-3.0": NewModel(
        prices="kling-v3",
        products=_MOTION,
        durations=tuple(range(3, 16)),
        resolutions=_UHD,
        audio=("off", "native"),
        multi_shot=True,
        storyboard=True,
        prompt_chars=3072,
        frames={**_TWO_FRAMES, "element": 3},
    ),
    "kling-2.6": NewModel(
        prices="kling-v2-6",
        products=_MOTION,
        durations=(5, 10),
        audio=("off", "native"),
        frames={**_TWO_FRAMES, "voice": 2},
        strict_ends=True,
    ),
    "kling-2.5-turbo": NewModel(
        prices="kling-v2-5-turbo",
        products=_FRAMES,
        durations=(5, 10),
        frames=_TWO_FRAMES,
        strict_ends=True,
    ),
    "kling-3.0-omni": NewModel(
        prices="kling-v3-omni",
        products=_OMNI,
        durations=tuple(range(3, 16)),
        resolutions=_UHD,
        audio=("off", "native", "original"),
        multi_shot=True,
        storyboard=True,
        prompt_chars=3072,
        omni=_OMNI_MATERIAL,
        family="omni",
    ),
    "kling-o1": NewModel(
        prices="kling-video-o1",
        products=_OMNI,
        durations=tuple(range(3, 11)),
        audio=("off", "original"),
        omni=_OMNI_MATERIAL,
        family="o1",
    ),
    "kling-4.0": NewModel(
        prices="kling-v4",
        products=_PRODUCTS,
        durations=tuple(range(3, 31)),
        ratios=_WIDE,
        audio=("native", "original"),
        prompt_chars=26_000,
        frames={"first_frame": 1, "middle_frame": 8, "last_frame": 1},
        omni={"refer_image": 10, "feature_video": 5, "base_video": 1, "element": 7, "voice": 3},
        family="4.0",
        image_mb=30,
    ),
    "kling-4.0-flash": NewModel(
        prices="kling-v4-flash",
        products=_PRODUCTS,
        durations=tuple(range(3, 21)),
        resolutions=("720p",),
        ratios=_WIDE,
        loud=True,
        prompt_chars=26_000,
        frames=_ONE_FRAME,
        omni={"refer_image": 10, "feature_video": 5, "base_video": 1, "element": 7},
        family="4.0",
        image_mb=30,
    ),
}
"""By the name in the path."""

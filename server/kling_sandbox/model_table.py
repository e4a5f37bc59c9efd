"""What each model can do and costs: the sandbox's own table.

It is separate from the table in `kling_tools`, so that each checks the other. Source: copies
of Kling's official capability map (spring and May 2026), its update log and recorded refusals;
units from the official billing page of 2026-09-20 and the older resource-pack page. Models without
products live on the new standard alone (`new_models`); the units of 4.0 are a guess from resellers.
The endpoints of talking faces name no model: `kling-avatar` and `kling-lip-sync` stand for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["MODELS", "RETIRED", "ModelRow", "Product", "TaskKind", "Units"]

Product = Literal[
    "image2video",
    "multi-image2video",
    "omni-video",
    "text2video",
    "omni-image",
    "image-generation",
    "motion-control",
    "avatar",
    "lip-sync",
]

TaskKind = Product | Literal["custom-elements", "custom-voices", "identify-face", "tts"]
"""What a task makes: one of the products of the old standard, what only others can order, or what
is answered at once."""

_BEFORE_2_5 = (
    "kling-v1",
    "kling-v1-5",
    "kling-v1-6",
    "kling-v2-master",
    "kling-v2-1",
    "kling-v2-1-master",
)

RETIRED: Mapping[str, tuple[str, ...]] = {
    "image2video": _BEFORE_2_5,
    "multi-image2video": ("kling-v1-6",),
    "text2video": ("kling-v1", "kling-v1-6", "kling-v2-master", "kling-v2-1-master"),
}
"""The models that Kling's own API discontinued, by endpoint (a probe of 2026-10-01; the second row
is stated for 2026-09-15). `kling-v1-6` stands in neither list of the probe for image2video, but it
is not among the three that live."""

EVERY = frozenset({"*"})
NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Units:
    """Units per second of video: silent, with sound, with sound and a named voice, and with a
    reference video. 0 means that there is no such price."""

    silent: float
    sound: float = 0.0
    voice: float = 0.0
    video: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model. `tail`, `end_only`, `brush`, `camera` are sets of "mode/duration", "*" means all.

    `sound` and `voices` are sets of modes, "*" means all. `motion` are the units per second of a
    figure's motion, by mode. A model without `modes` refuses `mode`.
    """

    products: tuple[Product, ...]
    durations: tuple[int, ...]
    units: dict[str, Units]
    modes: tuple[str, ...] = ("std", "pro")
    tail: frozenset[str] = NONE
    tail_with_sound: bool = True
    end_only: frozenset[str] = NONE
    brush: frozenset[str] = NONE
    camera: frozenset[str] = NONE
    camera_types: frozenset[str] = NONE
    cfg_scale: bool = False
    sound: frozenset[str] = NONE
    voices: frozenset[str] = NONE
    elements: bool = False
    multi_shot: bool = False
    reference_free_durations: tuple[int, ...] = ()
    motion: Mapping[str, float] = field(default_factory=dict)

    def allows(self, keys: frozenset[str], mode: str, duration: int) -> bool:
        """Whether "mode/duration" is among `keys`."""
        return "*" in keys or f"{mode}/{duration}" in keys

    def price(
        self, mode: str, duration: int, *, sound: bool, voice: bool, video: bool = False
    ) -> float:
        """Units of one clip. A mode without a price of its own has the price of the first one."""
        row = self.units.get(mode) or next(iter(self.units.values()))
        rate = row.silent
        if sound:
            rate = (row.voice if voice else row.sound) or row.sound or row.silent
        if video:
            rate = row.video or rate
        return round(rate * duration, 4)


_SHORT = (5, 10)
_LONG = tuple(range(3, 16))
_PRO = frozenset({"pro/5", "pro/10"})
_MASTER = {"": Units(2.0)}
_SIMPLE = frozenset({"simple"})
_PRESETS = frozenset({"down_back", "forward_up", "right_turn_forward", "left_turn_forward"})
_I2V: tuple[Product, ...] = ("image2video",)
_FRAMES_AND_WORDS: tuple[Product, ...] = ("image2video", "text2video")
_MOTION: tuple[Product, ...] = (*_FRAMES_AND_WORDS, "motion-control")
_OMNI: tuple[Product, ...] = ("omni-video",)

MODELS: dict[str, ModelRow] = {
    "kling-v1": ModelRow(
        _FRAMES_AND_WORDS,
        _SHORT,
        {"std": Units(0.2), "pro": Units(0.7)},
        tail=frozenset({"std/5", "pro/5"}),
        brush=frozenset({"std/5", "pro/5"}),
        camera=frozenset({"std/5"}),
        camera_types=_SIMPLE | _PRESETS,
        cfg_scale=True,
    ),
    "kling-v1-5": ModelRow(
        _I2V,
        _SHORT,
        {"std": Units(0.4), "pro": Units(0.7)},
        tail=_PRO,
        end_only=_PRO,
        brush=frozenset({"pro/5"}),
        camera=frozenset({"pro/5"}),
        camera_types=_SIMPLE,
        cfg_scale=True,
    ),
    "kling-v1-6": ModelRow(
        ("image2video", "multi-image2video", "text2video"),
        _SHORT,
        {"std": Units(0.4), "pro": Units(0.7)},
        tail=_PRO,
        end_only=_PRO,
        cfg_scale=True,
    ),
    "kling-v2-master": ModelRow(_FRAMES_AND_WORDS, _SHORT, _MASTER, modes=()),
    "kling-v2-1": ModelRow(_I2V, _SHORT, {"std": Units(0.4), "pro": Units(0.7)}, tail=_PRO),
    "kling-v2-1-master": ModelRow(_FRAMES_AND_WORDS, _SHORT, _MASTER, modes=()),
    "kling-v2-5-turbo": ModelRow(
        _FRAMES_AND_WORDS, _SHORT, {"std": Units(0.3), "pro": Units(0.5)}, tail=_PRO
    ),
    "kling-v2-6": ModelRow(
        _MOTION,
        _SHORT,
        {"std": Units(0.3), "pro": Units(0.5, 1.0, 1.2)},
        tail=_PRO,
        tail_with_sound=False,
        sound=frozenset({"pro"}),
        voices=frozenset({"pro"}),
        motion={"std": 0.5, "pro": 0.8},
    ),
    "kling-v3": ModelRow(
        _MOTION,
        _LONG,
        {"std": Units(0.6, 0.9), "pro": Units(0.8, 1.2), "4k": Units(3.0, 3.0)},
        modes=("std", "pro", "4k"),
        tail=EVERY,
        cfg_scale=True,
        sound=EVERY,
        elements=True,
        multi_shot=True,
        motion={"std": 0.9, "pro": 1.2},
    ),
    "kling-v3-omni": ModelRow(
        _OMNI,
        _LONG,
        {"std": Units(0.6, 0.8, video=0.9), "pro": Units(0.8, 1.0, video=1.2), "4k": Units(3.0)},
        modes=("std", "pro", "4k"),
        sound=EVERY,
        elements=True,
        multi_shot=True,
    ),
    "kling-video-o1": ModelRow(
        _OMNI,
        tuple(range(3, 11)),
        {"std": Units(0.6, video=0.9), "pro": Units(0.8, video=1.2)},
        elements=True,
        reference_free_durations=_SHORT,
    ),
    "kling-avatar": ModelRow(
        ("avatar",), tuple(range(2, 301)), {"std": Units(0.4), "pro": Units(0.8)}
    ),
    "kling-lip-sync": ModelRow(("lip-sync",), tuple(range(2, 61)), {"": Units(0.1)}, modes=()),
    "kling-v3-turbo": ModelRow((), _LONG, {"std": Units(0.8), "pro": Units(1.0)}),
    "kling-v4": ModelRow((), tuple(range(3, 31)), {"std": Units(1.12), "pro": Units(1.68)}),
    "kling-v4-flash": ModelRow((), tuple(range(3, 21)), {"std": Units(0.67)}),
}

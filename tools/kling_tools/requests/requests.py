"""The requests, with every field of Kling's pages under Kling's own names.

A request is plain data: fields with their types and limits. The rules between fields are in
`kling_tools.rules.between_fields`, the abilities of models in `kling_tools.rules.capabilities`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from kling_tools.products import REQUESTS, Product
from kling_tools.requests import fields
from kling_tools.requests.speech_voices import is_chinese, spoken

__all__ = [
    "REFERENCE",
    "BrushRequest",
    "Combination",
    "EditVideoRequest",
    "GenerateImageRequest",
    "ImageToVideoRequest",
    "LipSyncRequest",
    "MotionControlRequest",
    "MultiImageToVideoRequest",
    "Request",
    "Setting",
    "ShotsRequest",
    "SpeakingRequest",
    "TalkingPhotoRequest",
    "TextToVideoRequest",
    "VideoRequest",
    "is_pattern",
    "with_references",
]


_PATTERN = re.compile(r"(?P<what>\*|[\w*-]+/[\d*]+)(?P<conditions>( \w+=[\w-]+)*)(?P<doubt> \?)?")


@dataclass(frozen=True, slots=True)
class Combination:
    """One request's mode, its duration (seconds, as text) and further details for patterns."""

    mode: str
    duration: str
    details: Mapping[str, str]

    def matches(self, pattern: str) -> bool:
        """Whether the pattern covers this combination; its mark of doubt does not count."""
        match = _PATTERN.fullmatch(pattern)
        if match is None:
            return False
        mode, _, duration = match["what"].replace("*", "*/*", match["what"] == "*").partition("/")
        conditions = dict(pair.split("=") for pair in match["conditions"].split())
        return (
            mode in ("*", self.mode)
            and duration in ("*", self.duration)
            and all(self.details.get(name) == value for name, value in conditions.items())
        )


def is_pattern(text: str) -> bool:
    """Whether the text is MODE/DURATION (`*` for any), perhaps with conditions and a mark of
    doubt."""
    return _PATTERN.fullmatch(text) is not None


ASKS_FOR_NOTHING: tuple[object, ...] = (None, "", "off", False, [])

REFERENCE = re.compile(r"<<<\s*(image|element|video)_(\d+)\s*>>>")
"""The name of a picture, an element or the video in an omni-video prompt, counted from 1."""


def with_references(prompt: str, counts: Mapping[str, int]) -> str:
    """The prompt with the names of everything that omni-video gets, which it requires. `counts`
    says how much there is of each kind; a kind of which the prompt names one is left to it."""
    named = {match[1] for match in REFERENCE.finditer(prompt)}
    tokens = [
        f"<<<{kind}_{number}>>>"
        for kind, count in counts.items()
        if kind not in named
        for number in range(1, count + 1)
    ]
    return f"With {', '.join(tokens)}: {prompt}" if tokens else prompt


@dataclass(frozen=True, slots=True)
class Setting:
    """What a price is made of besides the model: the mode, the length in seconds (as text, empty
    for a picture) and the sound of a video; for pictures the resolution is the `mode`, and there
    are `count` of them, made `from_pictures` or from words alone."""

    mode: str
    duration: str = ""
    sound: str = "off"
    count: int = 1
    from_pictures: bool = False

    def words(self, unit: str = "picture") -> str:
        """The length and the sound, or how many pictures, as a person says it."""
        if not self.duration:
            return f"{self.count} {unit}{'s' if self.count > 1 else ''}"
        return f"{self.duration} s{' with sound' if self.sound == 'on' else ''}"


class Request(BaseModel):
    """The fields of all requests. Unknown fields are refused, as Kling drops them in silence.

    `setting_fields` maps the parts of a `Setting` that can be chosen to their arguments, `steps`
    are the modes from the lowest on.

    `absent` are the fields that a product has no argument for: they keep their values, and a caller
    who gives one is refused. Where `media` give the video its length, `duration` becomes that
    length once it is known, and is the longest until then.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), defer_build=True)

    products: ClassVar[tuple[Product, ...]]
    setting_fields: ClassVar[Mapping[str, str]]
    steps: ClassVar[tuple[str, ...]]
    absent: ClassVar[frozenset[str]] = frozenset()
    length_of: ClassVar[str] = ""
    """The argument whose length is the video's; empty where `duration` says it."""

    model_name: fields.ModelName = ""
    prompt: fields.Prompt = ""
    negative_prompt: fields.NegativePrompt = ""
    watermark_info: fields.WatermarkInfoField = None
    callback_url: fields.CallbackUrl = ""
    external_task_id: fields.ExternalTaskId = ""

    @property
    def setting(self) -> Setting:
        """The mode, the length and the sound that are asked for."""
        raise NotImplementedError(type(self))

    def given(self) -> frozenset[str]:
        """The names of the fields that ask for something: empty, false, 0 and `off` do not."""
        values = vars(self)
        return frozenset(name for name in values if values[name] not in ASKS_FOR_NOTHING)

    def combination(self, mode: str) -> Combination:
        """The combination for capability patterns; `mode` is the model's own name of it."""
        return Combination(mode, self.setting.duration, {"sound": self.setting.sound})

    def pictures(self) -> list[tuple[str, str]]:
        """Every picture of the request as (field path, reference), in the order of the body."""
        return []

    def media(self) -> list[tuple[str, str]]:
        """Every sound and video of the request, in the same form."""
        return []

    def lasts_as(self) -> str:
        """The argument whose length is the length of the result; empty where `duration` says it."""
        return self.length_of

    def words(self) -> str:
        """The text that is made into a sound before the request; empty without one."""
        return ""

    def length_s(self, known: Mapping[str, float | None]) -> float | None:
        """The seconds that are paid for, by the lengths of the media; None where Kling alone will
        know them."""
        return known.get(self.lasts_as())

    def unsent(self) -> frozenset[str]:
        """The fields that this request does not send."""
        return self.absent

    def references(self) -> dict[str, int]:
        """How many pictures, elements and videos a prompt can name, by their kind."""
        return {}


class VideoRequest(Request):
    """The fields of all requests for videos."""

    setting_fields = {"mode": "mode", "duration": "duration", "sound": "sound"}
    steps = ("std", "pro", "4k")
    modes: ClassVar[tuple[str, ...]] = ("std", "pro", "4k")
    """The modes that a model makes, whichever it is."""

    mode: fields.Mode = "std"
    duration: fields.Duration = "5"
    sound: fields.Sound = "off"
    cfg_scale: fields.CfgScale = None

    @property
    def setting(self) -> Setting:
        """The mode, the length and the sound that are asked for."""
        return Setting(self.mode, self.duration, self.sound)


class ShotsRequest(VideoRequest):
    """The fields of requests that may be cut into several shots."""

    multi_shot: fields.MultiShot = False
    shot_type: fields.ShotType = None
    multi_prompt: fields.MultiPrompt = []

    def combination(self, mode: str) -> Combination:
        """The combination for capability patterns, with who cuts the shots."""
        shot_type = self.shot_type or ("customize" if self.multi_prompt else "intelligence")
        return Combination(mode, self.duration, {"sound": self.sound, "shot_type": shot_type})


class BrushRequest(VideoRequest):
    """The fields of requests with a motion brush: masks over the first frame."""

    static_mask: fields.StaticMask = ""
    dynamic_masks: fields.DynamicMasks = []

    def pictures(self) -> list[tuple[str, str]]:
        """The static mask, then the dynamic ones."""
        masks = [(f"dynamic_masks[{i}].mask", m.mask) for i, m in enumerate(self.dynamic_masks)]
        return [("static_mask", self.static_mask), *masks] if self.static_mask else masks


class ImageToVideoRequest(BrushRequest, ShotsRequest):
    """A video from a first frame, optionally a last one (Kling's image2video)."""

    products = REQUESTS["ImageToVideoRequest"]

    image: fields.Image = ""
    image_tail: fields.ImageTail = ""
    element_list: fields.ElementList = []
    voice_list: fields.VoiceList = []
    camera_control: fields.CameraControlField = None

    def combination(self, mode: str) -> Combination:
        """The combination for capability patterns, with the type of the camera move, too."""
        found = super().combination(mode)
        if self.camera_control is None:
            return found
        return replace(found, details={**found.details, "type": self.camera_control.type})

    def pictures(self) -> list[tuple[str, str]]:
        """The frames, then the masks."""
        frames = [(name, getattr(self, name)) for name in ("image", "image_tail")]
        return [(name, value) for name, value in frames if value] + super().pictures()


class MultiImageToVideoRequest(BrushRequest):
    """A video that combines several pictures (Kling's multi-image2video, or omni-video)."""

    products = REQUESTS["MultiImageToVideoRequest"]

    prompt: fields.MultiImagePrompt = ""
    image_list: fields.ImageList = []
    element_list: fields.OmniElements = []
    aspect_ratio: fields.AspectRatio = "16:9"

    def pictures(self) -> list[tuple[str, str]]:
        """The listed pictures, then the masks."""
        listed = [(f"image_list[{i}]", value) for i, value in enumerate(self.image_list)]
        return listed + super().pictures()

    def references(self) -> dict[str, int]:
        """The pictures and the elements."""
        return {"image": len(self.image_list), "element": len(self.element_list)}


class EditVideoRequest(VideoRequest):
    """A video changed by words, or a new one after it (Kling's omni-video with a video)."""

    products = REQUESTS["EditVideoRequest"]
    absent = frozenset({"negative_prompt", "sound", "cfg_scale"})
    setting_fields = {"mode": "mode", "duration": "duration"}

    video: fields.EditedVideo = ""
    prompt: fields.EditPrompt = ""
    refer_type: fields.ReferType = "base"
    image_list: fields.EditImages = []
    element_list: fields.OmniElements = []
    keep_original_sound: fields.KeepOriginalSound = "yes"
    aspect_ratio: fields.OptionalRatio = ""

    def pictures(self) -> list[tuple[str, str]]:
        """The listed pictures."""
        return [(f"image_list[{i}]", value) for i, value in enumerate(self.image_list)]

    def media(self) -> list[tuple[str, str]]:
        """The video."""
        return [("video", self.video)] if self.video else []

    def lasts_as(self) -> str:
        """An edit is as long as its video."""
        return "video" if self.refer_type == "base" else ""

    @property
    def loses_sound(self) -> bool:
        """Whether it is to keep a sound that a new video does not have."""
        return self.refer_type == "feature" and self.keep_original_sound == "yes"

    def unsent(self) -> frozenset[str]:
        """The length of an edit is its video's."""
        return self.absent | ({"duration"} if self.refer_type == "base" else set())

    def references(self) -> dict[str, int]:
        """The video, the pictures and the elements."""
        counts = {"image": len(self.image_list), "element": len(self.element_list)}
        return {"video": int(bool(self.video)), **counts}


class TextToVideoRequest(ShotsRequest):
    """A video of words alone, without a picture (Kling's text2video)."""

    products = REQUESTS["TextToVideoRequest"]

    prompt: fields.TextPrompt = ""
    aspect_ratio: fields.AspectRatio = "16:9"


class GenerateImageRequest(Request):
    """One or more pictures of a text, and of pictures to refer to (Kling's images/generations and
    images/omni-image)."""

    products = REQUESTS["GenerateImageRequest"]
    setting_fields = {"mode": "resolution", "count": "n"}
    steps = ("1k", "2k", "4k")

    prompt: fields.ImagePrompt = ""
    image_list: fields.ReferenceImages = []
    resolution: fields.Resolution = "1k"
    n: fields.ImageCount = 1
    aspect_ratio: fields.ImageRatio = "16:9"
    image_reference: fields.ImageReference = None
    image_fidelity: fields.ImageFidelity = None
    human_fidelity: fields.HumanFidelity = None

    @property
    def setting(self) -> Setting:
        """The resolution, and how many pictures of what."""
        return Setting(self.resolution, count=self.n, from_pictures=bool(self.image_list))

    def pictures(self) -> list[tuple[str, str]]:
        """The pictures to refer to."""
        return [(f"image_list[{i}]", value) for i, value in enumerate(self.image_list)]

    def references(self) -> dict[str, int]:
        """The pictures to refer to."""
        return {"image": len(self.image_list)}


class MotionControlRequest(VideoRequest):
    """A figure from a picture that moves as in a video (Kling's motion-control)."""

    products = REQUESTS["MotionControlRequest"]
    absent = frozenset({"negative_prompt", "duration", "sound", "cfg_scale"})
    length_of = "video"
    setting_fields = {"mode": "mode"}
    modes = ("std", "pro")

    image: fields.Figure = ""
    video: fields.MotionVideo = ""
    prompt: fields.MotionPrompt = ""
    character_orientation: fields.CharacterOrientation = "video"
    keep_original_sound: fields.KeepOriginalSound = "yes"
    element_list: Annotated[fields.ElementList, Field(max_length=1)] = []
    duration: fields.Duration = "30"

    def pictures(self) -> list[tuple[str, str]]:
        """The figure."""
        return [("image", self.image)] if self.image else []

    def media(self) -> list[tuple[str, str]]:
        """The video with the motion."""
        return [("video", self.video)] if self.video else []


class SpeakingRequest(VideoRequest):
    """A face that speaks a sound, or a text in a voice, for `longest_s` seconds at most."""

    longest_s: ClassVar[float]

    length_of = "sound_file"
    setting_fields = {"mode": "mode"}

    text: fields.SpokenText = ""
    voice_id: fields.SpeechVoice = ""
    voice_speed: fields.SpeechSpeed = None

    def words(self) -> str:
        """The text to speak."""
        return self.text

    @property
    def language(self) -> Literal["en", "zh"]:
        """The language of the text, by its letters: Kling speaks these two."""
        return "zh" if any(map(is_chinese, self.text)) else "en"

    def length_s(self, known: Mapping[str, float | None]) -> float | None:
        """The length of the sound; of a text that of its speech ("text"), else the longest that it
        can be, which is no longer than the video whose face speaks it."""
        if not self.text:
            return known.get("sound_file")
        if (lasts := known.get("text")) is not None:
            return lasts
        most_s = spoken(self.text, self.voice_speed).most
        return min(most_s, known.get("video") or most_s)


class TalkingPhotoRequest(SpeakingRequest):
    """A face from a picture that speaks or sings (Kling's avatar/image2video, which names no
    model)."""

    products = REQUESTS["TalkingPhotoRequest"]
    absent = frozenset({"model_name", "negative_prompt", "duration", "sound", "cfg_scale"})

    longest_s = 300.0
    modes = ("std", "pro")

    image: fields.Face = ""
    sound_file: fields.SoundFile = ""
    prompt: fields.TalkingPrompt = ""
    duration: fields.Duration = "300"

    def pictures(self) -> list[tuple[str, str]]:
        """The face."""
        return [("image", self.image)] if self.image else []

    def media(self) -> list[tuple[str, str]]:
        """The sound that it speaks."""
        return [("sound_file", self.sound_file)] if self.sound_file else []


class LipSyncRequest(SpeakingRequest):
    """A face of a video that speaks other words (Kling's advanced-lip-sync, which names no
    model)."""

    products = REQUESTS["LipSyncRequest"]
    absent = frozenset(
        {"model_name", "prompt", "negative_prompt", "mode", "duration", "sound", "cfg_scale"}
    )

    longest_s = 60.0

    video: fields.SpeakingVideo = ""
    sound_file: fields.LipSound = ""
    face: fields.FaceNumber = None
    sound_end_time: fields.Milliseconds = None
    sound_insert_time: fields.Milliseconds = None
    keep_original_sound: fields.KeepOriginalSound = "yes"
    duration: fields.Duration = "60"

    def media(self) -> list[tuple[str, str]]:
        """The video, and the sound that a face of it speaks."""
        named = (("video", self.video), ("sound_file", self.sound_file))
        return [(name, value) for name, value in named if value]

    def length_s(self, known: Mapping[str, float | None]) -> float | None:
        """As of all that speak; a sound may be cut at its end."""
        whole = super().length_s(known)
        if self.sound_end_time is None:
            return whole
        ends_s = self.sound_end_time / 1000
        return min(ends_s, whole or ends_s) if self.text else ends_s

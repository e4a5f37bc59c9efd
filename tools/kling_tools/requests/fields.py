"""The fields of Kling's video requests: types, limits, friendly forms, and what a model reads.

Names, limits and meanings are those of Kling's image2video and multi-image2video pages. The
descriptions are published in the tools' schemas and count against their size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticKnownError

from kling_tools.requests import normalize

__all__ = [
    "AspectRatio",
    "CallbackUrl",
    "CameraConfig",
    "CameraControl",
    "CameraControlField",
    "CfgScale",
    "CharacterOrientation",
    "Duration",
    "DynamicMask",
    "DynamicMasks",
    "EditImages",
    "EditPrompt",
    "EditedVideo",
    "ElementList",
    "ExternalTaskId",
    "FaceNumber",
    "Figure",
    "HumanFidelity",
    "Image",
    "ImageCount",
    "ImageFidelity",
    "ImageList",
    "ImagePrompt",
    "ImageRatio",
    "ImageReference",
    "ImageTail",
    "KeepOriginalSound",
    "LipSound",
    "Milliseconds",
    "Mode",
    "ModelName",
    "MotionPrompt",
    "MotionVideo",
    "MultiImagePrompt",
    "MultiPrompt",
    "MultiShot",
    "NegativePrompt",
    "OmniElements",
    "OptionalRatio",
    "Point",
    "Prompt",
    "ReferType",
    "ReferenceImages",
    "Resolution",
    "Shot",
    "ShotType",
    "Sound",
    "SpeakingVideo",
    "SpeechSpeed",
    "SpeechVoice",
    "SpokenText",
    "StaticMask",
    "TextPrompt",
    "VoiceList",
    "WatermarkInfo",
    "WatermarkInfoField",
]

PROMPT_LIMIT = 2500
SHOT_PROMPT_LIMIT = 512
INT64 = 2**63 - 1
LONGEST_NAME = 128
"""Characters of an asset's name that are read; Kling takes 20."""


class _Part(BaseModel):
    """A nested object of a request: closed, as Kling drops unknown fields in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


Text = WithJsonSchema({"type": "string"})
"""Publishes a text without its length, where no model would come near it."""

Whole = Annotated[int, Field(le=INT64), WithJsonSchema({"type": "integer"})]
Seconds = Annotated[
    str,
    BeforeValidator(normalize.duration),
    Field(pattern=r"^[1-9]\d?$"),
    WithJsonSchema({"type": "string"}),
]


class Shot(_Part):
    """One shot of a storyboard: its place (from 1), what happens, and how long (seconds)."""

    index: Annotated[Whole, Field(ge=1)] = 0
    prompt: Annotated[
        str,
        BeforeValidator(normalize.text),
        Field(min_length=1, max_length=SHOT_PROMPT_LIMIT),
        Text,
    ]
    duration: Seconds


class Point(_Part):
    """A point of a motion path in pixels, from the picture's bottom-left corner."""

    x: Whole = Field(ge=0)
    y: Whole = Field(ge=0)


class DynamicMask(_Part):
    """A painted area and the path it follows; 2 to 77 points for a video of 5 seconds."""

    mask: str = Field(min_length=1)
    trajectories: Annotated[
        list[Point], BeforeValidator(normalize.points), Field(min_length=2, max_length=77)
    ]


Amount = Annotated[float, Field(ge=-10, le=10), WithJsonSchema({"type": "number"})]


class CameraConfig(_Part):
    """How far the camera moves, -10 to 10 each; `simple` takes exactly one that is not zero.

    Signs after Kling's image2video page: right, up, rotate right (around y), tilt up (around x),
    clockwise and wider field of view are positive.
    """

    horizontal: Amount = 0
    vertical: Amount = 0
    pan: Amount = 0
    tilt: Amount = 0
    roll: Amount = 0
    zoom: Amount = 0


MOVES_IN_WORDS: Mapping[str, tuple[str, str]] = {
    "horizontal": ("slides left", "slides right"),
    "vertical": ("cranes down", "cranes up"),
    "pan": ("pans left", "pans right"),
    "tilt": ("tilts down", "tilts up"),
    "roll": ("rolls counterclockwise", "rolls clockwise"),
    "zoom": ("zooms in", "zooms out"),
}
"""Each setting below and above zero, as a prompt says it."""

PRESETS_IN_WORDS: Mapping[str, str] = {
    "down_back": "sinks and moves back",
    "forward_up": "moves forward and rises",
    "right_turn_forward": "turns right and moves forward",
    "left_turn_forward": "turns left and moves forward",
}

SLOW, QUICK = 3, 7
"""The amounts up to which a move is slow, and from which it is quick. Kling names no scale."""


class CameraControl(_Part):
    """A camera move: `simple` with a config, or one of four presets without."""

    type: Annotated[
        Literal[
            "simple",
            "down_back",
            "forward_up",
            "right_turn_forward",
            "left_turn_forward",
        ],
        BeforeValidator(normalize.word),
    ]
    config: CameraConfig = CameraConfig()

    @property
    def moves(self) -> dict[str, float]:
        """The settings of the config that are not zero."""
        return {name: value for name, value in self.config.model_dump().items() if value}

    @property
    def in_words(self) -> str:
        """The move as a sentence of a prompt; empty for `simple` without exactly one move."""
        if self.type != "simple":
            return f"The camera {PRESETS_IN_WORDS[self.type]}."
        if len(self.moves) != 1:
            return ""
        ((axis, amount),) = self.moves.items()
        speed = " slowly" if abs(amount) <= SLOW else " quickly" if abs(amount) >= QUICK else ""
        return f"The camera {MOVES_IN_WORDS[axis][amount > 0]}{speed}."


class WatermarkInfo(_Part):
    """Whether a watermarked copy is made too."""

    enabled: bool


Image = Annotated[
    str,
    Field(
        description="First frame: local path (any format), https URL (JPEG/PNG, <=10 MB, "
        "sides >=300 px), data: URI or base64. Ratio 1:2.5 to 2.5:1, else fit."
    ),
]
ImageTail = Annotated[
    str,
    Field(description="Last frame, same forms; v2-5-turbo and v2-6 in mode pro only."),
]
Figure = Annotated[str, Field(description="Picture with the figure to move.")]
MotionVideo = Annotated[
    str,
    Field(
        description="Video with the motion, mp4/mov, 3-30 s: https URL, kling://tasks/ID/video, "
        "local path."
    ),
]
Face = Annotated[str, Field(description="Picture with one face.")]
SoundFile = Annotated[
    str,
    Field(description="mp3/wav/m4a/aac, 2-300 s, <=5 MB: path, https URL, data: URI."),
]
SpeakingVideo = Annotated[
    str, Field(description="As of kling_edit_video; 2-60 s, sides 512-2160 px.")
]
LipSound = Annotated[str, Field(description="As of kling_talking_photo.")]
SpokenText = Annotated[
    str,
    BeforeValidator(normalize.text),
    Field(max_length=1000),
    Text,
    Field(description="Or words, >=2 s (English, Chinese)."),
]
SpeechVoice = Annotated[
    str,
    BeforeValidator(normalize.spoken_voice),
    Field(max_length=64),
    Text,
    Field(description="Melody, Anchor, ...; a wrong name lists all."),
]


def _counted(value: Any) -> Any:
    """The value, unless it is a truth, which is no number. Raises pydantic's error about one."""
    if isinstance(value, bool):
        raise PydanticKnownError("int_type")
    return value


_Counted = BeforeValidator(_counted)
_Number = WithJsonSchema({"type": "number"})
_Whole = WithJsonSchema({"type": "integer"})
SpeechSpeed = Annotated[Annotated[float, Field(ge=0.8, le=2.0)] | None, _Counted, _Number, Field()]
FaceNumber = Annotated[
    Annotated[int, Field(ge=1, le=99)] | None,
    _Counted,
    _Whole,
    Field(description="Only after an answer that shows several faces."),
]
Milliseconds = Annotated[Annotated[int, Field(ge=0, le=60_000)] | None, _Counted, _Whole, Field()]
CharacterOrientation = Annotated[
    Literal["image", "video"],
    BeforeValidator(normalize.word),
    Field(description="Whom the figure faces as: image (<=10 s) or video."),
]
KeepOriginalSound = Annotated[
    Literal["yes", "no"],
    BeforeValidator(normalize.yes_or_no),
    Field(description="The motion video's sound."),
]
EditedVideo = Annotated[
    str,
    Field(
        description="mp4/mov, 3-15.5 s (o1 10), sides >=700 px: https URL, "
        "kling://tasks/ID/video, path."
    ),
]
EditPrompt = Annotated[
    str,
    BeforeValidator(normalize.text),
    Field(
        max_length=PROMPT_LIMIT,
        description="What changes, or comes next; <<<video_1>>>, <<<image_1>>>, <<<element_1>>> "
        "name material.",
    ),
]
ReferType = Annotated[
    Literal["base", "feature"],
    BeforeValidator(normalize.word),
    Field(
        description="base: change it, same length; feature: a new silent video after it (next "
        "shot, motion, style)."
    ),
]
EditImages = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    BeforeValidator(normalize.picture_list),
    Field(max_length=4, description="With elements <=4."),
]
ImageList = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    BeforeValidator(normalize.picture_list),
    Field(
        min_length=1,
        max_length=7,
        description="Pictures to combine, each as image of kling_image_to_video. 1-7.",
    ),
]
Prompt = Annotated[
    str,
    BeforeValidator(normalize.text),
    Field(
        max_length=PROMPT_LIMIT,
        description="What happens, camera included. Required except with customize shots; "
        "<<<voice_1>>> makes the first of voice_list speak.",
    ),
]
_Prompt = Annotated[str, BeforeValidator(normalize.text), Field(max_length=PROMPT_LIMIT), Text]
MultiImagePrompt = Annotated[
    _Prompt,
    Field(description="What happens with them; <<<image_1>>> names the first picture."),
]
TextPrompt = Annotated[
    _Prompt,
    Field(description="What is seen, what happens, and the camera."),
]
NegativePrompt = _Prompt
MotionPrompt = Annotated[
    _Prompt,
    Field(description="Scene and light; the motion is the video's."),
]
TalkingPrompt = Annotated[
    str,
    BeforeValidator(normalize.text),
    Field(max_length=PROMPT_LIMIT),
    Text,
    Field(description="Mood and gestures."),
]
ModelName = Annotated[
    str,
    BeforeValidator(normalize.word),
    Field(max_length=64),
    Text,
]
Mode = Annotated[
    Literal["std", "pro", "4k"],
    BeforeValidator(normalize.mode),
    Field(description="std=720p, pro=1080p, 4k (v3 only)."),
]
Duration = Annotated[
    str,
    BeforeValidator(normalize.duration),
    Field(pattern=r"^[1-9]\d{0,3}$"),
    WithJsonSchema({"type": "string"}),
    Field(description="Seconds: 5 or 10; v3 3-15."),
]
Sound = Annotated[
    Literal["on", "off"],
    BeforeValidator(normalize.switch),
    Field(description="Audio track: v3; v2-6 with pro."),
]
MultiShot = Annotated[bool, Field(description="Storyboard of several shots; v3 only.")]
ShotType = Annotated[
    Literal["customize", "intelligence"] | None,
    BeforeValidator(normalize.word),
    Field(
        description="With multi_shot: customize follows multi_prompt, intelligence cuts the prompt."
    ),
]
MultiPrompt = Annotated[
    list[Shot],
    BeforeValidator(normalize.shots),
    WithJsonSchema({"type": "array", "items": {"type": "object"}}),
    Field(
        max_length=6,
        description="1-6 shots [{prompt, duration}]; durations (each >=1) add up to duration.",
    ),
]


def _id_or_name(value: Any) -> int | str:
    """An element's id, or a text that may be its name. Raises pydantic's errors about an id."""
    if isinstance(value, str) and value.strip():
        if len(value) > LONGEST_NAME:
            raise PydanticKnownError("string_too_long", {"max_length": LONGEST_NAME})
        return value.strip()
    if not isinstance(value, int) or isinstance(value, bool):
        raise PydanticKnownError("int_type")
    if value < 1:
        raise PydanticKnownError("greater_than_equal", {"ge": 1})
    if value > INT64:
        raise PydanticKnownError("less_than_equal", {"le": INT64})
    return value


ElementList = Annotated[
    list[Annotated[int | str, PlainValidator(_id_or_name), WithJsonSchema({"type": "string"})]],
    BeforeValidator(normalize.element_ids),
    Field(max_length=3, description="Elements, <=3; v3 only, not with voice_list."),
]
OmniElements = Annotated[
    list[Annotated[int | str, PlainValidator(_id_or_name), WithJsonSchema({"type": "string"})]],
    BeforeValidator(normalize.element_ids),
    Field(max_length=7, description="v3-omni, o1."),
]
VoiceList = Annotated[
    list[Annotated[str, Field(max_length=128), Text, Field(min_length=1)]],
    BeforeValidator(normalize.voice_ids),
    Field(max_length=2, description="Voices, <=2; v2-6 pro, needs sound on."),
]
CfgScale = Annotated[
    Annotated[float, Field(ge=0, le=1)] | None,
    WithJsonSchema({"type": "number"}),
    Field(description="Prompt adherence, 0-1; v1.x only."),
]
StaticMask = Annotated[str, Field(description="Motion brush (v1, v1-5): what stays still.")]
DynamicMasks = Annotated[
    list[DynamicMask],
    BeforeValidator(normalize.one_or_many),
    WithJsonSchema({"type": "array", "items": {"type": "object"}}),
    Field(
        max_length=6,
        description="Motion brush: <=6 [{mask, trajectories: [{x, y}, ...]}], pixels from "
        "bottom-left.",
    ),
]
CameraControlField = Annotated[
    CameraControl | None,
    BeforeValidator(normalize.camera),
    WithJsonSchema({"type": "object"}),
    Field(
        description="v1-5 pro 5 s only, else say it in prompt. simple: config with one of "
        "horizontal, vertical, pan, tilt, roll, zoom (< 0: in), -10 to 10; other types: none."
    ),
]
WatermarkInfoField = Annotated[
    WatermarkInfo | None,
    BeforeValidator(normalize.watermark),
    WithJsonSchema({"type": "boolean"}),
    Field(description="Also make a watermarked copy."),
]
AspectRatio = Annotated[Literal["16:9", "9:16", "1:1"], BeforeValidator(normalize.ratio), Field()]
OptionalRatio = Annotated[
    Literal["", "16:9", "9:16", "1:1"],
    BeforeValidator(normalize.ratio),
    WithJsonSchema({"type": "string", "enum": ["16:9", "9:16", "1:1"]}),
    Field(description="feature only."),
]
ImagePrompt = Annotated[
    str,
    BeforeValidator(normalize.text),
    Field(
        max_length=PROMPT_LIMIT,
        description="What is in it, in which style; <<<image_1>>> names the first picture.",
    ),
]
ReferenceImages = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    BeforeValidator(normalize.picture_list),
    Field(
        max_length=10,
        description="Pictures to change or refer to.",
    ),
]
Resolution = Annotated[
    Literal["1k", "2k", "4k"],
    BeforeValidator(normalize.word),
    Field(description="4k: v3-omni only."),
]
ImageCount = Annotated[
    int, Field(ge=1, le=9), WithJsonSchema({"type": "integer"}), Field(description="1-9 pictures.")
]
ImageRatio = Annotated[
    Literal["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9", "auto"],
    BeforeValidator(normalize.ratio),
    Field(description="auto: not with kling-v3 and v2-1."),
]
ImageReference = Annotated[
    Literal["subject", "face"] | None,
    BeforeValidator(normalize.word),
    Field(
        description="v2-1: what the one picture is for; with image_fidelity, human_fidelity 0-1."
    ),
]
ImageFidelity = Annotated[Annotated[float, Field(ge=0, le=1)] | None, Field()]
HumanFidelity = Annotated[Annotated[float, Field(ge=0, le=1)] | None, Field()]
CallbackUrl = Annotated[str, Field(max_length=2048), Text]
ExternalTaskId = Annotated[
    str,
    Field(max_length=128),
    Text,
    Field(description="Your own id."),
]

"""The tools' arguments: requests with the choices about money, and those of the other tools."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    WithJsonSchema,
)
from pydantic_core import PydanticKnownError, core_schema

from kling_tools.products import MADE, PRODUCTS, products_named, spoken
from kling_tools.requests import normalize
from kling_tools.requests.host_habits import LONGEST_WAIT_S
from kling_tools.requests.requests import (
    EditVideoRequest,
    GenerateImageRequest,
    ImageToVideoRequest,
    LipSyncRequest,
    MotionControlRequest,
    MultiImageToVideoRequest,
    TalkingPhotoRequest,
    TextToVideoRequest,
)
from kling_tools.requests.times import FORMS, moment, zone_named

__all__ = [
    "AccountArguments",
    "CancelTaskArguments",
    "EditVideoArguments",
    "GenerateImageArguments",
    "GetTaskArguments",
    "ImageToVideoArguments",
    "LipSyncArguments",
    "ListTasksArguments",
    "LookArguments",
    "MaxUnits",
    "Most",
    "MotionControlArguments",
    "MultiImageToVideoArguments",
    "Provider",
    "SaveVideoArguments",
    "SpendingChoices",
    "SubmitArguments",
    "TalkingPhotoArguments",
    "TextToVideoArguments",
    "UploadPictureArguments",
    "WaitForTasksArguments",
]

_TEXT = WithJsonSchema({"type": "string"})
_WHOLE = WithJsonSchema({"type": "integer"})


def _words(words: str) -> WithJsonSchema:
    """Publishes a choice that may be empty, as one vendor refuses an empty word in an enum."""
    return WithJsonSchema({"type": "string", "description": words})


AUTO = "auto"
"""In the place of a provider: the cheapest one that can make all of the request."""

Provider = Annotated[str, BeforeValidator(normalize.provider), Field(max_length=64), _TEXT]


def _id_or_address(value: str) -> str:
    """Raises pydantic's error for a text that is too long: links and paths may be longer; and
    ValueError for several ids in one text."""
    if _SEVERAL_IDS.fullmatch(value) and not normalize.is_name(value):
        raise ValueError("names several tasks: give one task_id, and call once for each task")
    most = LONGEST_ADDRESS if re.search(r"[\\/]", value) else LONGEST_ID
    if len(value) > most:
        raise PydanticKnownError("string_too_long", {"max_length": most})
    return value


_SEVERAL_IDS = re.compile(r"[\w-]{6,}(?:[,;\s]+[\w-]{6,})+")
LONGEST_ID, LONGEST_ADDRESS = 128, 4096
TaskId = Annotated[
    str,
    BeforeValidator(normalize.task_id),
    _TEXT,
    AfterValidator(_id_or_address),
]
"""An id, a film's name, or the link or path of the task's video."""

TaskIds = Annotated[
    list[Annotated[TaskId, Field(min_length=1)]],
    BeforeValidator(normalize.task_ids),
    Field(max_length=500),
]
Take = Annotated[
    int,
    Field(ge=1, le=999),
    _WHOLE,
    Field(
        description="Same request, same take: same video, paid once.",
    ),
]


AnotherTakeOf = Annotated[
    TaskId,
    Field(
        description="A task_id: its request once more, as the next take. Give only what differs; "
        '"" or [] takes a field away.'
    ),
]


def _true_false_or_full(value: Any, read_bool: Callable[[Any], Any]) -> Any:
    return value if (value := normalize.word(value)) == "full" else read_bool(value)


DryRun = Annotated[
    bool | Literal["full"],
    GetPydanticSchema(
        lambda _, schema_of: core_schema.no_info_wrap_validator_function(
            _true_false_or_full, schema_of(bool)
        )
    ),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["full"]}]}),
    Field(description="Show price and faults; send nothing. full: body too."),
]
Most = Annotated[
    Annotated[float, Field(ge=0, allow_inf_nan=False), WithJsonSchema({"type": "number"})] | None,
    BeforeValidator(normalize.units),
]
"""A cap, as a finite number; None without one."""
MaxUnits = Annotated[
    Most,
    Field(description="Refuse if it would cost more (1 unit lists 0.14 USD)."),
]


Fit = Annotated[
    Literal["", "16:9", "9:16", "1:1", "16:9 pad", "9:16 pad", "1:1 pad"],
    BeforeValidator(normalize.fit),
    _TEXT,
    Field(
        description="16:9, 9:16 or 1:1: crop local frames to it first, free; "
        '"9:16 pad" adds borders.'
    ),
]


class SpendingChoices(BaseModel):
    """The choices of a create call about money: who is paid, how much, how often, and whether at
    all. `another_take_of` names the task whose request is to be made again."""

    provider: Provider = ""
    take: Take = 1
    another_take_of: AnotherTakeOf = ""
    dry_run: DryRun = False
    max_units: MaxUnits = None


class ImageToVideoArguments(SpendingChoices, ImageToVideoRequest):
    """`kling_image_to_video`. `fit` is done here, before anything is sent."""

    fit: Fit = ""


class MultiImageToVideoArguments(SpendingChoices, MultiImageToVideoRequest):
    """`kling_multi_image_to_video`."""


class TextToVideoArguments(SpendingChoices, TextToVideoRequest):
    """`kling_text_to_video`."""


class GenerateImageArguments(SpendingChoices, GenerateImageRequest):
    """`kling_generate_image`."""


class EditVideoArguments(SpendingChoices, EditVideoRequest):
    """`kling_edit_video`."""


class MotionControlArguments(SpendingChoices, MotionControlRequest):
    """`kling_motion_control`."""


class TalkingPhotoArguments(SpendingChoices, TalkingPhotoRequest):
    """`kling_talking_photo`."""


class LipSyncArguments(SpendingChoices, LipSyncRequest):
    """`kling_lip_sync`."""


SubmitArguments = (
    ImageToVideoArguments
    | MultiImageToVideoArguments
    | TextToVideoArguments
    | GenerateImageArguments
    | EditVideoArguments
    | MotionControlArguments
    | TalkingPhotoArguments
    | LipSyncArguments
)
"""The arguments of the tools that make something."""


class _Reading(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)


class GetTaskArguments(_Reading):
    """`kling_get_task`: one of the two ids."""

    task_id: TaskId = ""
    external_task_id: TaskId = ""


def _time(value: str) -> str:
    """Raises ValueError for a text that is no time."""
    if value:
        moment(value, 0.0, UTC)
    return value


def _zone(value: str) -> str:
    """Raises ValueError for a text that is no time zone."""
    zone_named(value)
    return value


When = Annotated[str, Field(max_length=40), _TEXT, AfterValidator(_time)]
Part = Annotated[str, Field(max_length=200), _TEXT]


def _of_a_product(value: str) -> str:
    """Raises ValueError for a word that names no product."""
    if value and not products_named(value):
        tools = ", ".join(dict.fromkeys(spoken(name) for name in MADE))
        raise ValueError(
            f"{value[:40]!r} names nothing that is made here: there are pictures, videos, "
            f"elements, voices, {tools}, and Kling's names, such as {', '.join([*PRODUCTS][:3])}"
        )
    return value


class ListTasksArguments(_Reading):
    """`kling_list_tasks`: a page, and the filters of its tasks."""

    product: Annotated[
        str,
        AfterValidator(_of_a_product),
        _words("Such as text2video, pictures."),
    ] = ""
    status: Annotated[
        Literal[
            "",
            "queued",
            "running",
            "sending",
            "unknown",
            "submitted",
            "processing",
            "succeed",
            "failed",
            "cancelled",
        ],
        BeforeValidator(normalize.status),
        _words("queued, running, succeed, failed, cancelled or unknown"),
    ] = ""
    provider: Provider = ""
    model_name: Part = ""
    since: Annotated[When, Field(description=FORMS)] = ""
    until: When = ""
    text: Annotated[Part, Field(description="Words of prompt or picture's name.")] = ""
    picture: Part = ""
    timezone: Annotated[
        str,
        Field(max_length=64),
        _TEXT,
        AfterValidator(_zone),
        Field(description="The person's, as Europe/Berlin or +01:00."),
    ] = ""
    page: Annotated[int, Field(ge=1, le=1000), _WHOLE] = 1
    page_size: Annotated[
        int,
        Field(ge=1, le=100),
        WithJsonSchema({"type": "integer", "maximum": 100}),
    ] = 20


class WaitForTasksArguments(_Reading):
    """`kling_wait_for_tasks`: the tasks, and the most seconds to wait."""

    task_ids: TaskIds = []
    timeout_s: Annotated[
        Annotated[int, Field(ge=0, le=LONGEST_WAIT_S)] | None,
        WithJsonSchema({"type": "integer", "maximum": LONGEST_WAIT_S}),
        Field(description="Seconds; left out, as long as the host allows."),
    ] = None


class CancelTaskArguments(_Reading):
    """`kling_cancel_task`: the tasks."""

    task_ids: TaskIds = []


class SaveVideoArguments(_Reading):
    """`kling_save_video`: the task, and the path of the file."""

    task_id: TaskId = ""
    path: Annotated[
        str,
        Field(max_length=4096),
        _TEXT,
        Field(
            description="File or folder below the output folder, beside the picture, or "
            "desktop/, downloads/, videos/, pictures/. The first moves the file, later ones "
            "copy it."
        ),
    ] = ""


class LookArguments(_Reading):
    """`kling_look`: which task, which frames, and the pictures to hold it against."""

    task_id: TaskId = ""
    at: Annotated[
        list[Annotated[str, BeforeValidator(normalize.moment), Field(max_length=20), _TEXT]],
        BeforeValidator(normalize.one_or_many),
        Field(max_length=12, description="first, last or seconds; default: a sheet of 12 frames."),
    ] = []
    image: Annotated[str, _TEXT, Field(description="To see beside the first frame.")] = ""
    image_tail: Annotated[str, _TEXT, Field(description="Beside the last frame.")] = ""

    def wished(self) -> dict[str, str]:
        """The pictures that are given, by field."""
        given = {"image": self.image, "image_tail": self.image_tail}
        return {name: value for name, value in given.items() if value}


class AccountArguments(_Reading):
    """`kling_account`: nothing."""


class UploadPictureArguments(_Reading):
    """`kling_upload_picture`: nothing."""

"""The arguments of each prompt, which a person fills in. The protocol sends every value as text.

Clients get the descriptions with the list of prompts, and hosts show them as a form.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from functools import cache, cached_property
from inspect import cleandoc
from typing import Annotated, Any, Literal, NamedTuple

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.prompts.base import Message, PromptArgument, UserMessage
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from kling_tools.errors import InvalidRequest
from kling_tools.faults import Fault, sentences
from kling_tools.products import FILE_INPUTS, PRODUCTS
from kling_tools.prompts.plans import MOST_SHOTS, MOST_TAKES
from kling_tools.requests import films, normalize
from kling_tools.requests.drafts import read_draft
from kling_tools.requests.fields import PROMPT_LIMIT, ImageRatio
from kling_tools.requests.requests import Request
from kling_tools.rules.between_fields import MISSING, RULES

__all__ = [
    "FILES",
    "PICTURE",
    "AnimateArguments",
    "CameraArguments",
    "FilmPlanArguments",
    "FormArguments",
    "FramesArguments",
    "KlingPrompt",
    "PictureArguments",
    "PictureFirstArguments",
    "Script",
    "StoryboardArguments",
    "TakesArguments",
    "Told",
    "form_of",
]


DEFAULT_STORY_S = "10"

STORY_LIMIT = 20_000
PICTURE_LIMIT = 4096
"""Characters: a story, and an address; the prompt's text repeats both."""

PICTURE = "an https URL or a path on this computer"

Wish = Annotated[
    str, Field(max_length=PROMPT_LIMIT, description="What should happen, in your own words.")
]


LATE = ConfigDict(extra="forbid", protected_namespaces=(), defer_build=True)
"""Validation is built at the first use of a prompt, not at the start of the server."""


class FormArguments(BaseModel):
    """The form of a video that animates a picture. An empty string means not filled in; the plan
    then chooses."""

    model_config = LATE

    duration: Annotated[
        str,
        BeforeValidator(normalize.duration),
        Field(pattern=r"^([1-9]\d?)?$", description="Length in seconds (5)."),
    ] = ""
    model_name: Annotated[
        str,
        BeforeValidator(normalize.word),
        Field(max_length=64, description="Kling model; the default model, if it can do this."),
    ] = ""
    mode: Annotated[
        Literal["", "std", "pro", "4k"],
        BeforeValidator(normalize.word),
        Field(description="std, pro or 4k; the cheapest that can do this."),
    ] = ""


class PictureArguments(FormArguments):
    """The arguments that all prompts about one picture share."""

    image: Annotated[
        str,
        Field(max_length=PICTURE_LIMIT, description=f"The picture to begin with: {PICTURE}."),
    ] = ""


class PictureFirstArguments(FormArguments):
    """`picture_then_video`."""

    wish: Wish = ""
    motion: Annotated[
        str,
        Field(max_length=PROMPT_LIMIT, description="What should move in it, in your own words."),
    ] = ""
    aspect_ratio: Annotated[
        ImageRatio, Field(description="The shape of both, such as 16:9 or 9:16.")
    ] = "16:9"


CHEAPEST = "the cheapest that can do this."

WORDS: Mapping[str, str] = {
    "wish": "What you would like to see, in your own words.",
    "image": f"The picture: {PICTURE}.",
    "image_list": "The pictures, with commas between them: https URLs or paths on this computer.",
    "video": f"The video: {PICTURE}.",
    "sound_file": f"The sound: {PICTURE}.",
    "text": "Or the words to speak, instead of the sound.",
    "voice_id": "The voice of the words: Melody, Anchor or another one.",
    "face": "Which face, where the video has several; they are shown first.",
    "refer_type": "base changes the video, feature makes the next shot after it (base).",
    "character_orientation": "Whom the figure faces as: image or video (video).",
    "aspect_ratio": "The shape, such as 16:9 or 9:16.",
    "duration": "Length in seconds (5).",
    "resolution": "1k, 2k or 4k (1k).",
    "n": "How many pictures (1).",
    "model_name": "Kling model; the default model, if it can do this.",
    "provider": "Who makes it, where there are several; the default one, if it can do this.",
}
"""What a person reads about an argument of a tool."""


@cache
def form_of(
    wanted: type[Request], *, choice: bool
) -> tuple[Mapping[str, FieldInfo], Sequence[str]]:
    """The arguments of a tool that a person fills in (its prompt as a `wish`), and the names of
    those that it cannot do without. `provider` is one where there is a choice of them."""
    entry = PRODUCTS[wanted.products[0]]
    chosen = wanted.setting_fields.values()
    names = [*entry.inputs, *(name for name in chosen if name != "sound")]
    names += ["n", "aspect_ratio", "model_name", *(["provider"] if choice else [])]
    form: dict[str, FieldInfo] = {}
    for name in dict.fromkeys(names):
        if (of_tool := wanted.model_fields.get(name)) and name not in wanted.absent:
            field = copy(of_tool)
            shown = "wish" if name == "prompt" else name
            field.description = WORDS.get(shown, field.description)
            if shown == "mode":
                *first, last = getattr(wanted, "modes", ("std", "pro", "4k"))
                field.description = f"{', '.join(first)} or {last}; {CHEAPEST}"
            form[shown] = field
    needed = {
        name
        for rule in RULES
        if rule.id in entry.rules
        and {*rule.when.values()} <= {MISSING}
        and rule.when.keys().isdisjoint(form)
        for name in rule.require
    }
    required = [name for name in form if ("prompt" if name == "wish" else name) in needed]
    return form, required


class AnimateArguments(PictureArguments):
    """`animate_picture`."""

    wish: Wish = ""


class FramesArguments(PictureArguments):
    """`first_to_last_frame`."""

    image_tail: Annotated[
        str,
        Field(max_length=PICTURE_LIMIT, description=f"The picture to end with: {PICTURE}."),
    ] = ""
    wish: Wish = ""


class StoryboardArguments(PictureArguments):
    """`storyboard`: the story is cut into shots."""

    duration: Annotated[
        str,
        BeforeValidator(normalize.duration),
        Field(pattern=r"^[1-9]\d?$", description="Length of all shots together in seconds (10)."),
    ] = DEFAULT_STORY_S

    story: Annotated[
        str, Field(max_length=STORY_LIMIT, description="The story, in your own words.")
    ] = ""
    shots: Annotated[
        int | None,
        Field(ge=1, le=MOST_SHOTS, description=f"How many shots, 1 to {MOST_SHOTS}."),
    ] = None
    element: Annotated[
        str,
        Field(max_length=128, description="An element that appears in it: its name or id."),
    ] = ""


class TakesArguments(PictureArguments):
    """`takes_within_budget`: versions of one video."""

    budget_units: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Most units to spend on all takes together (1 unit lists at 0.14 USD).",
        ),
    ] = None
    wish: Wish = ""
    takes: Annotated[
        int | None,
        Field(
            ge=1,
            le=MOST_TAKES,
            description="How many versions; default: as many as the budget pays for, up to 4.",
        ),
    ] = None


class CameraArguments(PictureArguments):
    """`direct_camera`."""

    camera: Annotated[
        str,
        Field(
            max_length=PROMPT_LIMIT,
            description="What the camera does, for example: slowly pans left.",
        ),
    ] = ""
    wish: Wish = ""


class FilmPlanArguments(FormArguments):
    """`film`: photos, or scenes told in words, become one film."""

    duration: Annotated[
        str,
        BeforeValidator(normalize.duration),
        Field(pattern=r"^([1-9]\d?)?$", description="Length of each shot in seconds (5)."),
    ] = ""

    wish: Annotated[
        str, Field(max_length=STORY_LIMIT, description="What the film tells, in your own words.")
    ] = ""
    image_list: Annotated[
        list[Annotated[str, Field(max_length=PICTURE_LIMIT)]],
        BeforeValidator(normalize.picture_list),
        Field(
            max_length=films.MOST_SHOTS,
            description="The photos in their order, separated by commas; none for scenes in words.",
        ),
    ] = []
    shots: Annotated[
        int | None,
        Field(ge=1, le=films.MOST_SHOTS, description="How many scenes, where no photos are given."),
    ] = None
    music: Annotated[
        str, Field(max_length=PICTURE_LIMIT, description="A sound file on this computer.")
    ] = ""
    aspect_ratio: Annotated[
        str,
        BeforeValidator(normalize.ratio),
        Field(max_length=9, description="Its shape, such as 16:9; that of the first photo."),
    ] = ""
    budget_units: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Most units for the whole film (1 unit lists at 0.14 USD).",
        ),
    ] = None


class Told(NamedTuple):
    """What a prompt says, and the call of a `tool` that it leads to first."""

    text: str
    tool: str
    call: Mapping[str, Any]


Script = Callable[[Any], Told]
"""Tells of the arguments. Raises InvalidRequest when no video can be made from them."""

Check = Callable[[Told], Awaitable[Sequence[Fault]]]
"""Finds what is wrong with the files that the call names."""

FILES = FILE_INPUTS | {"music"}
"""The arguments that name files."""


class KlingPrompt(Prompt):
    """A prompt: its arguments as fields of a form, those that it requires, and a script."""

    form: dict[str, Any] = Field(exclude=True)
    """The fields of the arguments, by name."""
    script: Script = Field(exclude=True)
    check: Check = Field(exclude=True)
    tools: tuple[str, ...] = Field(exclude=True)
    """The tools that make what it leads to, in their order; its arguments are about the last."""

    @classmethod
    def of(
        cls,
        script: Script,
        *,
        name: str,
        title: str,
        description: str,
        form: Mapping[str, FieldInfo],
        required: Sequence[str],
        check: Check,
        tools: Sequence[str] = ("kling_image_to_video",),
    ) -> KlingPrompt:
        """Make the prompt; the required arguments are listed first."""
        names = [*required, *(n for n in form if n not in required)]
        return cls(
            fn=script,
            name=name,
            title=title,
            description=" ".join(cleandoc(description).split()),
            arguments=[
                PromptArgument(
                    name=name,
                    description=form[name].description,
                    required=name in required,
                )
                for name in names
            ],
            context_kwarg=None,
            form=dict(form),
            script=script,
            check=check,
            tools=tuple(tools),
        )

    @cached_property
    def reading(self) -> type[BaseModel]:
        """The class that reads the arguments, made at the first use of the prompt."""
        fields: dict[str, Any] = {name: (of.annotation, of) for name, of in self.form.items()}
        return create_model(self.name, __config__=LATE, **fields)

    async def render(
        self, arguments: dict[str, Any] | None, context: Context[Any, Any]
    ) -> list[Message]:
        """The text, as one message of the user. An empty argument counts as missing, since hosts
        send the whole form.

        Raises MCPError (-32602), naming every fault, for arguments that cannot be used.
        """
        given = {
            name: value
            for name, value in (arguments or {}).items()
            if not isinstance(value, str) or value.strip()
        }
        required = [argument.name for argument in self.arguments or () if argument.required]
        draft = read_draft(self.reading, given)
        faults = [
            *draft.verdict.faults,
            *(self._missing(name) for name in required if name not in given),
        ]
        if faults:
            raise self._refusal(faults)
        try:
            told = self.script(draft.arguments)
        except InvalidRequest as error:
            raise self._refusal(error.faults) from error
        if not FILES.isdisjoint(given) and (faults := [*await self.check(told)]):
            raise self._refusal(faults)
        return [UserMessage(told.text)]

    def _missing(self, name: str) -> Fault:
        said = self.form[name].description or ""
        return Fault(name, "missing", "is required.", f"{said[:1].lower()}{said[1:].rstrip('.')}")

    def _refusal(self, faults: Sequence[Fault]) -> MCPError:
        return MCPError(code=INVALID_PARAMS, message=f"{self.name}: {sentences(faults)}")

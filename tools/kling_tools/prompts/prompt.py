"""The arguments of each prompt, which a person fills in. The protocol sends every value as text.

Clients get the descriptions with the list of prompts, and hosts show them as a form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import cleandoc
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.prompts.base import Message, PromptArgument, UserMessage
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from kling_tools.errors import InvalidRequest
from kling_tools.faults import Fault, sentences
from kling_tools.prompts.plans import MOST_SHOTS, MOST_TAKES
from kling_tools.requests import normalize
from kling_tools.requests.drafts import read_draft
from kling_tools.requests.fields import PROMPT_LIMIT

__all__ = [
    "AnimateArguments",
    "CameraArguments",
    "FramesArguments",
    "KlingPrompt",
    "PictureArguments",
    "Script",
    "StoryboardArguments",
    "TakesArguments",
]


DEFAULT_STORY_S = "10"

STORY_LIMIT = 20_000
PICTURE_LIMIT = 4096
"""Characters: a story, and an address; the prompt's text repeats both."""

PICTURE = "an https URL or a path on this computer"

Wish = Annotated[
    str, Field(max_length=PROMPT_LIMIT, description="What should happen, in your own words.")
]


class PictureArguments(BaseModel):
    """The arguments that all prompts share: the first picture and the form of the video.

    An empty string means not filled in; the plan then chooses. Validation is built at the first
    use of a prompt, not at the start of the server.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), defer_build=True)

    image: Annotated[
        str,
        Field(max_length=PICTURE_LIMIT, description=f"The picture to begin with: {PICTURE}."),
    ] = ""
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


Script = Callable[[Any], str]
"""Writes the text from the arguments. Raises InvalidRequest when no video can be made from them."""


class KlingPrompt(Prompt):
    """A prompt: an arguments class, the required arguments, and a script."""

    reading: type[BaseModel] = Field(exclude=True)
    script: Script = Field(exclude=True)

    @classmethod
    def of(
        cls,
        script: Script,
        *,
        name: str,
        title: str,
        description: str,
        arguments: type[BaseModel],
        required: Sequence[str],
    ) -> KlingPrompt:
        """Make the prompt; the required arguments are listed first."""
        names = [*required, *(n for n in arguments.model_fields if n not in required)]
        return cls(
            fn=script,
            name=name,
            title=title,
            description=" ".join(cleandoc(description).split()),
            arguments=[
                PromptArgument(
                    name=name,
                    description=arguments.model_fields[name].description,
                    required=name in required,
                )
                for name in names
            ],
            context_kwarg=None,
            reading=arguments,
            script=script,
        )

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
            *(Fault(n, "missing", "is required.") for n in required if n not in given),
        ]
        if faults:
            raise self._refusal(faults)
        try:
            return [UserMessage(self.script(draft.arguments))]
        except InvalidRequest as error:
            raise self._refusal(error.faults) from error

    def _refusal(self, faults: Sequence[Fault]) -> MCPError:
        return MCPError(code=INVALID_PARAMS, message=f"{self.name}: {sentences(faults)}")

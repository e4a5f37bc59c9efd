"""What a person fills in for each prompt. The protocol carries every value as text.

The descriptions are published with the list of prompts, where hosts show them as a form.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from kling_tools import normalize
from kling_tools.fields import PROMPT_LIMIT
from kling_tools.plans import MOST_SHOTS, MOST_TAKES

__all__ = [
    "AnimateArguments",
    "CameraArguments",
    "FramesArguments",
    "PictureArguments",
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
    """What all prompts share: the first picture and the form of the video.

    An empty text stands for what was not filled in; the plan then chooses. Validation is built when
    a prompt is first asked for, not when the server starts.
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
            description="How many versions; as many as the budget pays, up to 4.",
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

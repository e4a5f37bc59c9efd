"""The arguments of `kling_film`: shots, each with what the tool that makes it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from kling_tools.faults import Fault
from kling_tools.requests import normalize
from kling_tools.requests.arguments import (
    ImageToVideoArguments,
    MaxUnits,
    MultiImageToVideoArguments,
    SubmitArguments,
    TextToVideoArguments,
)
from kling_tools.requests.drafts import Draft, read_draft

__all__ = ["MOST_SHOTS", "PREVIOUS", "FilmArguments", "Music", "shot_arguments", "shot_draft"]

MOST_SHOTS = 40

PREVIOUS = "previous"
"""In the place of an image: the last frame of the shot before."""

OF_THE_FILM = ("dry_run", "max_units", "external_task_id", "callback_url", "another_take_of")
"""Arguments of the makers that no shot has: they are the film's, or a task's of its own."""

NOT_OF_A_SHOT: Mapping[str, str] = {
    "dry_run": "dry_run of the film",
    "max_units": "max_units of the film, which counts all shots",
    "another_take_of": "take: 2, 3, … for another version of the same shot",
}

_OBJECT = WithJsonSchema({"type": "object"})
_TEXT = WithJsonSchema({"type": "string"})
_NUMBER = WithJsonSchema({"type": "number"})


def _music(value: Any) -> Any:
    """A path alone is the file."""
    value = normalize.from_json_text(value)
    return {"file": value} if isinstance(value, str) and value.strip() else value


class Music(BaseModel):
    """A sound file under the film: its `volume` as a factor, the seconds in which it begins and
    ends (`fade_s`), and whether it begins again where it is shorter than the film (`loop`)."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    file: Annotated[str, Field(min_length=1, max_length=4096)]
    volume: Annotated[float, Field(gt=0, le=4)] = 1.0
    fade_s: Annotated[float, Field(ge=0, le=30)] = 1.0
    loop: bool = False


Given = Annotated[dict[str, Any], BeforeValidator(normalize.from_json_text), _OBJECT]


class FilmArguments(BaseModel):
    """`kling_film`. A shot is what the tool that makes it takes; `defaults` are those of each shot
    that does not say otherwise."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: Annotated[str, BeforeValidator(normalize.text), Field(max_length=80), _TEXT] = ""
    shots: Annotated[
        list[Given],
        BeforeValidator(normalize.from_json_text),
        Field(
            max_length=MOST_SHOTS,
            description="1-40, each as kling_image_to_video (image: previous is the last frame of "
            "the shot before), image_list or prompt alone.",
        ),
    ] = []
    defaults: Given = {}
    max_units: MaxUnits = None
    max_usd: Annotated[
        Annotated[float, Field(ge=0)] | None, BeforeValidator(normalize.units), _NUMBER
    ] = None
    music: Annotated[
        Music | None,
        BeforeValidator(_music),
        _OBJECT,
        Field(description="file, volume, fade_s, loop"),
    ] = None
    crossfade_s: Annotated[float, Field(ge=0, le=5), _NUMBER] = 0.0
    aspect_ratio: Annotated[
        str, BeforeValidator(normalize.ratio), Field(pattern=r"^(\d{1,2}:\d{1,2})?$"), _TEXT
    ] = ""
    fit: Annotated[
        Literal["cover", "pad"], BeforeValidator(normalize.word), Field(description="cover or pad")
    ] = "cover"
    join: bool = True
    dry_run: bool = False

    def given(self) -> list[dict[str, Any]]:
        """Each shot's arguments, with the defaults that its tool takes."""
        return [shot_arguments(shot, self.defaults, self.aspect_ratio) for shot in self.shots]

    def faults(self) -> Iterator[Fault]:
        """What is wrong with the film as a whole."""
        if not self.name:
            yield Fault("name", "missing", "is required.", "a short title; it finds the film again")
        if not self.shots:
            yield Fault("shots", "missing", "is required.", f"1 to {MOST_SHOTS} shots")
        known = {name for kind in _KINDS for name in kind.model_fields} - {*OF_THE_FILM, "take"}
        for name in self.defaults.keys() - known:
            use = NOT_OF_A_SHOT.get(name, "an argument of kling_image_to_video")
            yield Fault(f"defaults.{name[:40]}", "extra_forbidden", "no shot takes it.", use)
        if self.shots and self.shots[0].get("image", self.defaults.get("image")) == PREVIOUS:
            message = "there is no shot before the first one."
            yield Fault("shots[1].image", "previous_of_first", message, "a picture, or none")


_KINDS = (ImageToVideoArguments, MultiImageToVideoArguments, TextToVideoArguments)


def shot_arguments(
    shot: Mapping[str, Any], defaults: Mapping[str, Any], aspect_ratio: str = ""
) -> dict[str, Any]:
    """The arguments of one shot: its own, the defaults that its tool takes, and, for a tool that
    chooses a shape, the film's."""
    kind = _class_for({**defaults, **shot})
    names = kind.model_fields.keys()
    fitting = {name: value for name, value in defaults.items() if name in names}
    shape = {}
    if "aspect_ratio" in names and aspect_ratio in ("16:9", "9:16", "1:1"):
        shape = {"aspect_ratio": aspect_ratio}
    return {**shape, **fitting, **shot}


def _class_for(
    shot: Mapping[str, Any],
) -> type[ImageToVideoArguments | MultiImageToVideoArguments | TextToVideoArguments]:
    if shot.get("image_list"):
        return MultiImageToVideoArguments
    if any(shot.get(name) for name in ("image", "image_tail")):
        return ImageToVideoArguments
    return TextToVideoArguments


def shot_draft(
    number: int, shot: Mapping[str, Any], image: str = ""
) -> tuple[Draft[SubmitArguments], list[Fault]]:
    """The request of a shot, with this image in the place of `previous`; and the faults of what no
    shot has."""
    given = {name: value for name, value in shot.items() if name not in OF_THE_FILM}
    if given.get("image") == PREVIOUS:
        given["image"] = image
    wrong = [
        Fault(f"shots[{number}].{name}", "of_the_film", "is not an argument of a shot.", use)
        for name, use in NOT_OF_A_SHOT.items()
        if shot.get(name)
    ]
    return read_draft(_class_for(given), given), wrong

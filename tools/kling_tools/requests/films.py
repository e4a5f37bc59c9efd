"""The arguments of `kling_film`: shots, each with what the tool that makes it takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from kling_tools.faults import Fault
from kling_tools.products import PRODUCTS
from kling_tools.requests import normalize
from kling_tools.requests.arguments import (
    DryRun,
    ImageToVideoArguments,
    MaxUnits,
    Most,
    MultiImageToVideoArguments,
    SubmitArguments,
    TextToVideoArguments,
)
from kling_tools.requests.drafts import Draft, read_draft

__all__ = [
    "MOST_SHOTS",
    "PREVIOUS",
    "FilmArguments",
    "Music",
    "continues",
    "film_faults",
    "shape_of",
    "shot_arguments",
    "shot_draft",
    "shot_faults",
    "video_faults",
]

MOST_SHOTS = 40

PREVIOUS = "previous"
"""In the place of an image: the last frame of the shot before."""

OF_THE_FILM = (
    *("dry_run", "max_units", "external_task_id", "callback_url", "another_take_of", "task_id"),
)
"""Arguments of the makers that no shot has: they are the film's, or a task's of its own."""

NOT_OF_A_SHOT: Mapping[str, str] = {
    "dry_run": "dry_run of the film",
    "max_units": "max_units of the film, which counts all shots",
    "another_take_of": "take: 2, 3, … for another version of the same shot",
    "task_id": "video with that id, which joins the clip as it is",
    **dict.fromkeys(("external_task_id", "callback_url"), "the film's task_id, which finds all"),
}

SPOKEN = "kling_talking_photo for a clip of its own, then its task_id as video"
"""Where a picture says a text."""

_OBJECT = WithJsonSchema({"type": "object"})
_TEXT = WithJsonSchema({"type": "string"})
_NUMBER = WithJsonSchema({"type": "number"})


SHAPES = (Fraction(1, 4), Fraction(4))
"""Width by height of a film, the least and the most."""

_RATIO = re.compile(r"(\d{1,4}(?:\.\d{1,3})?):(\d{1,4}(?:\.\d{1,3})?)")


def shape_of(ratio: str) -> Fraction | None:
    """The width by the height of a ratio such as `16:9` or `2.39:1`; None for what is none, and for
    a shape that no film has."""
    match = _RATIO.fullmatch(ratio)
    if match is None or not Fraction(match[2]):
        return None
    shape = Fraction(match[1]) / Fraction(match[2])
    return shape if SHAPES[0] <= shape <= SHAPES[1] else None


def _ratio(value: Any) -> Any:
    value = normalize.ratio(value)
    return re.sub(r"\s{0,9}[x\u00d7]\s{0,9}", ":", value) if isinstance(value, str) else value


LOUDEST = 4
"""The most by which music is made louder."""


def _music(value: Any) -> Any:
    """A path alone is the file."""
    value = normalize.from_json_text(value)
    if isinstance(value, str) and value.strip():
        return {"file": value}
    if isinstance(value, dict) and "file" not in value:
        other = next((name for name in ("path", "url", "music") if name in value), "file")
        value = {"file" if name == other else name: value[name] for name in value}
    return value


def _volume(value: Any) -> Any:
    """A percentage is read as a factor. Raises ValueError for a number that can be only one."""
    value = normalize.word(value)
    if isinstance(value, str) and value.endswith("%"):
        with suppress(ValueError):
            return float(value[:-1]) / 100
    if type(value) in (int, float) and LOUDEST < value <= 100 * LOUDEST:
        raise ValueError(
            f"is a factor up to {LOUDEST}, and not {value:g}: {value / 100:g} is that %"
        )
    return value


class Music(BaseModel):
    """A sound file under the film: its `volume` as a factor, the seconds in which it begins and
    ends (`fade_s`), and whether it begins again where it is shorter than the film (`loop`)."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    file: Annotated[str, Field(min_length=1)]
    volume: Annotated[float, BeforeValidator(_volume), Field(gt=0, le=LOUDEST)] = 1.0
    fade_s: Annotated[float, Field(ge=0, le=30)] = 1.0
    loop: bool = False


Given = Annotated[dict[str, Any], BeforeValidator(normalize.from_json_text), _OBJECT]


class FilmArguments(BaseModel):
    """`kling_film`. A shot is what the tool that makes it takes; `defaults` are those of each shot
    that does not say otherwise."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: Annotated[
        str,
        BeforeValidator(normalize.text),
        Field(max_length=80, description="Finds it again."),
        _TEXT,
    ] = ""
    shots: Annotated[
        list[Given],
        BeforeValidator(normalize.from_json_text),
        Field(
            max_length=MOST_SHOTS,
            description="1-40, each as kling_image_to_video (image: previous is the last frame of "
            "the shot before), image_list, prompt alone, or video: a task_id.",
        ),
    ] = []
    defaults: Annotated[Given, Field(description="Arguments of all shots.")] = {}
    max_units: MaxUnits = None
    max_usd: Annotated[Most, _NUMBER] = None
    music: Annotated[
        Music | None,
        BeforeValidator(_music),
        _OBJECT,
        Field(description="file, volume, fade_s, loop"),
    ] = None
    crossfade_s: Annotated[float, Field(ge=0, allow_inf_nan=False), _NUMBER] = 0.0
    aspect_ratio: Annotated[str, BeforeValidator(_ratio), _TEXT] = ""
    fit: Annotated[
        Literal["cover", "pad"], BeforeValidator(normalize.word), Field(description="cover or pad")
    ] = "cover"
    join: bool = True
    dry_run: DryRun = False

    def given(self, words_in: str = "") -> list[dict[str, Any]]:
        """Each shot's arguments, with the defaults that its tool takes, and the ratio of those that
        have no first picture."""
        return [shot_arguments(shot, self.defaults, words_in) for shot in self.shots]

    def faults(self) -> Iterator[Fault]:
        """What is wrong with the film as a whole."""
        if not self.name:
            yield Fault("name", "missing", "is required.", "a short title; it finds the film again")
        if not self.shots:
            yield Fault("shots", "missing", "is required.", f"1 to {MOST_SHOTS} shots")
        known = {name for kind in _KINDS for name in kind.model_fields} - {*OF_THE_FILM}
        for name in self.defaults.keys() - known:
            use = NOT_OF_A_SHOT.get(name, "an argument of kling_image_to_video")
            yield Fault(f"defaults.{name[:40]}", "extra_forbidden", "is none of a shot.", use)
        if self.shots and continues(self.given()[0]):
            message = "there is no shot before the first one."
            field = next(name for name in IMAGES if _has_previous(self.given()[0].get(name)))
            yield Fault(f"shots[1].{field}", "previous_of_first", message, "a picture, or none")
        if self.aspect_ratio and shape_of(self.aspect_ratio) is None:
            yield self._no_shape()
        if not self.join:
            for name in ("crossfade_s", "fit"):
                if getattr(self, name) not in (0.0, "cover"):
                    message = "a batch is not joined."
                    yield Fault(name, "of_a_joined_film", message, f"join: true, or no {name}")

    def _no_shape(self) -> Fault:
        ratio = self.aspect_ratio
        use = "a shape from 1:4 to 4:1, such as 16:9, 9:16 or 2.39:1"
        first, _, fit = ratio.partition(" ")
        if shape_of(first) and fit in ("pad", "cover", "crop"):
            use = f"aspect_ratio {first} and fit: {fit.replace('crop', 'cover')}"
        return Fault("aspect_ratio", "film_shape", f'"{ratio[:40]}" is no shape of a film.', use)


IMAGES = ("image", "image_tail", "image_list")
"""The arguments of a shot that may hold the frame of the shot before."""


def continues(shot: Mapping[str, Any]) -> bool:
    """Whether a shot shows the last frame of the shot before."""
    return any(_has_previous(shot.get(name)) for name in IMAGES)


def _has_previous(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_previous, value))
    return isinstance(value, str) and value.strip().lower() == PREVIOUS


def _with_frame(value: Any, frame: str) -> Any:
    """The value with this picture in the place of `previous`."""
    if isinstance(value, list):
        return [_with_frame(part, frame) for part in value]
    return frame if _has_previous(value) else value


INSTEAD: Mapping[str, str] = {
    **dict.fromkeys(("fade", "fade_s", "crossfade", "transition", "transition_s"), "crossfade_s"),
    **dict.fromkeys(("format", "shape", "orientation", "ratio"), "aspect_ratio, such as 9:16"),
    **dict.fromkeys(("title", "film"), "name"),
    **dict.fromkeys(("scenes", "clips", "videos"), "shots"),
    **dict.fromkeys(("images", "photos"), 'shots, each {"image": …, "prompt": …}'),
    **dict.fromkeys(("audio", "sound_file", "soundtrack", "song"), "music"),
    **dict.fromkeys(("model_name", "mode", "duration", "sound"), "it in the defaults"),
    **dict.fromkeys(("model",), "model_name in the defaults"),
    **dict.fromkeys(("prompt", "style"), "a prompt in each shot"),
    "speed": "no speed; the prompt of a shot says how fast it moves",
    "music.fade": "fade_s",
    "music.repeat": "loop",
}
"""The right argument for one that a film has not, by what assistants call it."""


def film_faults(draft: Draft[FilmArguments]) -> list[Fault]:
    """What is wrong with a film before its shots are judged. Shots count from 1."""
    told = [
        replace(
            fault,
            field=re.sub(r"^shots\[(\d+)\]", _from_one, fault.field),
            use=INSTEAD.get(fault.field, fault.use)
            if fault.rule == "extra_forbidden"
            else fault.use,
        )
        for fault in draft.verdict.faults
    ]
    whole = (
        fault
        for fault in draft.arguments.faults()
        if fault.field.partition(".")[0].partition("[")[0] not in draft.invalid
    )
    return [*told, *whole]


def _from_one(match: re.Match[str]) -> str:
    return f"shots[{int(match[1]) + 1}]"


_ELSEWHERE = re.compile(r"\b(kling_\w{1,40}), which takes it")
_AS = re.compile(r"\bkling_\w{1,40}_to_video with the picture as (image\w{0,20})")


def shot_faults(number: int, faults: Iterable[Fault]) -> Iterator[Fault]:
    """The faults or warnings of a shot by its number, with advice for a shot in the place of that
    for a call of its own."""
    for fault in faults:
        use = _ELSEWHERE.sub(r"\1 for a clip of its own, then its task_id as video", fault.use)
        use = _AS.sub(r"\1 with the picture", use)
        use = use.replace("kling_multi_image_to_video takes several in image_list", "or image_list")
        if fault.rule == "path_is_folder" and fault.choices:
            use = f"one shot for each of them; {use}"
            fault = replace(fault, choices=tuple(sorted(fault.choices, key=_in_order)))
        message = fault.message.replace("argument of this call", "argument of a shot")
        field = f"shots[{number}].{fault.field}"
        yield replace(fault, field=field, message=message, use=use)


def _in_order(name: str) -> list[tuple[int, str]]:
    """The place of a file beside others, as people number them: 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBER_IN.split(name)]


_NUMBER_IN = re.compile(r"(\d{1,15})")

_KINDS = tuple(
    kind for kind in get_args(SubmitArguments) if PRODUCTS[kind.products[0]].in_film == "shot"
)


def shot_arguments(
    shot: Mapping[str, Any], defaults: Mapping[str, Any], aspect_ratio: str = ""
) -> dict[str, Any]:
    """The arguments of one shot: its own, the defaults that its tool takes, and, for a tool that
    chooses a shape, this ratio."""
    if shot.get("video"):
        return dict(shot)
    own = any(shot.get(name) for name in IMAGES)
    kind = _class_for(shot if own else {**defaults, **shot})
    names = kind.model_fields.keys()
    fitting = {name: value for name, value in defaults.items() if name in names}
    shape = {}
    if "aspect_ratio" in names and aspect_ratio:
        shape = {"aspect_ratio": aspect_ratio}
    given = {**shape, **fitting, **shot}
    return {
        name: _with_frame(value, PREVIOUS) if name in IMAGES else value
        for name, value in given.items()
    }


def video_faults(number: int, shot: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults of a shot that is a video which is there already: it has nothing else."""
    for name in shot.keys() - {"video"}:
        if shot[name] not in (None, "", False):
            message = "a shot with video is that clip as it is."
            use = "kling_edit_video for a changed clip, then its task_id as video"
            yield Fault(f"shots[{number}].{name[:40]}", "video_alone", message, use)


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
    wrong = [
        Fault(f"shots[{number}].{name}", "of_the_film", "is not an argument of a shot.", use)
        for name, use in NOT_OF_A_SHOT.items()
        if shot.get(name)
    ]
    left_out = {*OF_THE_FILM}
    if shot.get("text") and any(shot.get(name) for name in IMAGES[:2]):
        left_out |= {"text"}
        message = "a shot does not speak."
        wrong.append(Fault(f"shots[{number}].text", "not_spoken", message, SPOKEN))
    if shot.get("image_list") and (both := [name for name in IMAGES[:2] if shot.get(name)]):
        left_out |= {*both}
        message = "a shot begins with one picture, or shows those of image_list."
        wrong.append(Fault(f"shots[{number}].{both[0]}", "one_kind", message, "one of the two"))
    given = {
        name: _with_frame(value, image) if name in IMAGES else value
        for name, value in shot.items()
        if name not in left_out
    }
    return read_draft(_class_for(given), given), wrong

"""What docs/tools.md says of arguments for which the list of tools, which every conversation reads,
has too little room."""

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from kling_tools.requests.arguments import LipSyncArguments
from kling_tools.requests.films import MOST_SHOTS, FilmArguments
from kling_tools.requests.requests import LipSyncRequest, SpeakingRequest, TalkingPhotoRequest
from kling_tools.requests.speech_voices import VOICES, voice_name, voices_text
from kling_tools.rules.capabilities import built_in_capabilities
from kling_tools.rules.media_limits import MediaLimits
from kling_tools.tools.toolset import SILENT

__all__ = ["MORE", "in_full"]


class Told(NamedTuple):
    """Kind, default and meaning of an argument."""

    kind: str
    default: str
    says: str


def _limits(model: str, product: str, field: str) -> str:
    limits: MediaLimits = built_in_capabilities().media_limits(model, product, field, {})
    least, most = limits.seconds
    sides = f", sides {limits.sides[0]} to {limits.sides[1]} px" if limits.sides else ""
    return f"{limits.formats_text}, {least:g} to {most:g} s, at most {limits.mb} MB{sides}"


def _between(name: str) -> str:
    """The least and the most of a number that a lip-sync takes."""
    inner = next(one for one in get_args(LipSyncRequest.model_fields[name].annotation))
    found: list[Any] = [
        limit
        for info in inner.__metadata__
        if isinstance(info, FieldInfo)
        for limit in info.metadata
    ]
    (least,) = [limit.ge for limit in found if isinstance(limit, Ge)]
    (most,) = [limit.le for limit in found if isinstance(limit, Le)]
    return f"{least:g} to {most:,g}"


def _speech(request: type[SpeakingRequest]) -> dict[str, Told]:
    longest = next(
        limit.max_length
        for limit in request.model_fields["text"].metadata
        if hasattr(limit, "max_length")
    )
    return {
        "text": Told(
            f"text, at most {longest} characters",
            "",
            "Words to speak instead of `sound_file`, English or Chinese; they last 2 to "
            f"{request.longest_s:g} s. Requires `voice_id`.",
        ),
        "voice_id": Told(
            "text",
            "required with `text`",
            "A name or an id of the [voices below](#voices-that-speak-texts), of the language of "
            "the text; not one of `kling_list_assets`.",
        ),
        "voice_speed": Told(
            f"number, {_between('voice_speed')}",
            "`1`",
            "How fast the text is spoken, as a factor of the usual speed; only with `text`.",
        ),
    }


FILM: Mapping[str, Told] = {
    "name": Told(
        "text, at most 80 characters",
        "required",
        "The film's title. The same name with the same shots goes on with the film, with others it "
        "changes it; another name is another film.",
    ),
    "shots": Told(
        f"list of 1 to {MOST_SHOTS} objects",
        "required",
        "The shots in their order, each with the arguments of the tool that makes it: "
        "`kling_image_to_video` where it has `image`, `kling_multi_image_to_video` where it has "
        "`image_list`, else `kling_text_to_video`; provider, model and `take` too. See below.",
    ),
    "defaults": Told(
        "object", "", "Arguments of each shot whose tool takes them and that does not give them."
    ),
    "max_units": Told(
        "number",
        "",
        "The most units that the film may cost, all that was ever paid for it included.",
    ),
    "max_usd": Told("number", "", "The same in US dollars, at the public price of a unit."),
    "music": Told(
        "path, or object of `file`, `volume`, `fade_s`, `loop`",
        "",
        "A sound file (MP3, WAV, M4A, AAC) under the whole film: `volume` as a factor above 0 up "
        "to 4 (1), `fade_s` the seconds in which it begins and ends, up to 30 (1), `loop` true to "
        "repeat one that is shorter. Whole films are evened to -16 LUFS.",
    ),
    "crossfade_s": Told(
        "number, 0 to 5", "`0`, cuts", "Seconds of each crossfade, at most half the shortest clip."
    ),
    "aspect_ratio": Told(
        "text, 1:4 to 4:1",
        "the shape of the first shot",
        "The film's shape, such as `16:9` or `2.39:1`. Shots without a first picture are asked for "
        "in it; without `aspect_ratio` in that of the film's first picture.",
    ),
    "fit": Told(
        "`cover`, `pad`",
        "`cover`",
        "What happens to clips of another shape: their edges are cut off, or they get black bars.",
    ),
    "join": Told("true or false", "`true`", "`false` makes the clips alone: a batch."),
    "dry_run": Told(
        "true or false or `full`",
        "`false`",
        "Show each shot's price and faults, the sum, the film's length, shape and usual time, and "
        "send nothing; `full` shows the requests, too.",
    ),
}


IN_FULL: Mapping[str, Mapping[str, Told]] = {
    "kling_film": FILM,
    "kling_talking_photo": _speech(TalkingPhotoRequest),
    "kling_lip_sync": {
        "video": Told(
            "text",
            "required",
            f"{_limits('kling-lip-sync', 'lip-sync', 'video')}: https URL, kling://tasks/ID/video, "
            "or a path on a server for a team.",
        ),
        "sound_file": Told(
            "text",
            "required without `text`",
            f"{_limits('kling-lip-sync', 'lip-sync', 'sound_file')}: path, https URL, file:// URL, "
            "data: URI or base64.",
        ),
        **_speech(LipSyncRequest),
        "face": Told(
            f"whole number, {_between('face')}",
            "the only face",
            "The number of the face that speaks. Leave it out first: when the video has several "
            "faces, the answer shows and numbers them, and the same call with `face` makes the "
            "video.",
        ),
        "sound_insert_time": Told(
            f"whole number, {_between('sound_insert_time')} ms",
            "where the face appears",
            "Milliseconds of the video after which the sound begins. Sound and face meet for 2 s "
            "at least.",
        ),
        "sound_end_time": Told(
            f"whole number, {_between('sound_end_time')} ms",
            "the whole sound",
            "Milliseconds of the recording, or of the spoken text, after which it is cut. Required "
            "for a recording at an address, whose length is not known here.",
        ),
        "keep_original_sound": Told(
            "`yes`, `no`",
            "`yes`",
            "Whether the sound that the video has is still heard beside the speech.",
        ),
    },
}
"""By tool and argument. An argument that the tool takes and does not publish stands here, too."""

assert all(IN_FULL[tool].keys() >= set(names) for tool, names in SILENT.items())
assert IN_FULL["kling_film"].keys() == FilmArguments.model_fields.keys()
assert IN_FULL["kling_lip_sync"].keys() <= LipSyncArguments.model_fields.keys()


def in_full(tool: str, rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The rows of a tool's arguments, with what IN_FULL says of them; silent ones come after the
    last that is named there."""
    told = IN_FULL.get(tool, {})
    new = {f"`{name}`": (f"`{name}`", *one) for name, one in told.items()}
    named = [cells[0] for cells in rows]
    last = max((named.index(name) for name in new if name in named), default=-1)
    whole = [new.get(cells[0], cells) for cells in rows]
    silent = [cells for name, cells in new.items() if name not in named]
    return [*whole[: last + 1], *silent, *whole[last + 1 :]]


def _voices() -> str:
    ids = ", ".join(f"{voice_name(voice)} `{voice}`" for voice in VOICES["en"])
    return (
        "### Voices that speak texts\n\n"
        f"For English texts, by name. {voices_text(['en'])}.\n\n"
        f"For Chinese texts, by id, or by name where there is one. {voices_text(['zh'])}.\n\n"
        f"The ids of the English names: {ids}."
    )


MORE: Mapping[str, str] = {
    "kling_film": "### Shots\n\n"
    '- `image: "previous"` is the last frame of the shot before, also as `image_tail` and in '
    "`image_list`; such a shot is asked for once that one is made, the others side by side.\n"
    '- `{"video": "TASK_ID"}`, also `kling://tasks/TASK_ID/video` or the path of its file, '
    "joins a video of this server as it is, whatever tool made it, and costs nothing.\n"
    "- A shot that is the same request as an earlier one is the same clip, paid once; `take: 2` is "
    "another clip.\n"
    "- `dry_run`, `max_units` and ids are the film's, not a shot's.\n\n"
    "The film is made while a server runs; one that ends leaves it to the next. Beside the MP4 "
    "lies a JSON file with shots, prompts, task ids, units and hashes.",
    "kling_lip_sync": _voices(),
    "kling_upload_picture": "The address takes a picture, or a video or a sound: "
    "[what it takes](deploy.md#pictures-and-videos). `image` of the answer then stands for any of "
    "them.",
}
"""What is said below the table of a tool."""

"""Turns friendly forms of arguments into Kling's own, before validation.

Each function takes any value and returns Kling's form of it, or the value unchanged if it does not
know the form; validation then refuses it in its own words. Kling's forms are in the parameter table
of its image2video page.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from pydantic_core import PydanticKnownError

from kling_tools.addresses import names_task
from kling_tools.requests.speech_voices import voice_id

__all__ = [
    "BLANKS",
    "asset_kind",
    "camera",
    "duration",
    "element_ids",
    "fit",
    "from_json_text",
    "identifier",
    "meant",
    "mode",
    "moment",
    "one_or_many",
    "picture_list",
    "points",
    "ratio",
    "shots",
    "spoken_voice",
    "status",
    "switch",
    "task_id",
    "task_ids",
    "text",
    "units",
    "units_for",
    "voice_ids",
    "watermark",
    "word",
]

_SECONDS = re.compile(
    r"(?:(\d{1,2}):)?(\d{1,3})(?:\.0+)?[\s-]*(?:s|secs?|seconds?)?\.?", re.IGNORECASE
)
_MINUTES = re.compile(r"(\d{1,2})[\s-]*(?:m|mins?|minutes?)\.?", re.IGNORECASE)
_NUMBERS = {
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
    "twelve": "12",
    "fifteen": "15",
}


def from_json_text(value: Any) -> Any:
    """JSON text of a list or object becomes that list or object; Claude Desktop sends such text."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def one_or_many(value: Any) -> Any:
    """A single value becomes a list of one."""
    value = from_json_text(value)
    return value if isinstance(value, list | tuple) else [value]


def duration(value: Any) -> Any:
    """5, 5.0, "5s", "0:05", "five" and "5 seconds" become "5", "1 minute" becomes "60": Kling takes
    seconds as text and refuses a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    if isinstance(value, float) and not value.is_integer():
        return str(value)
    said = " ".join(_digits(part) for part in str(value).strip().split(" "))
    if match := _SECONDS.fullmatch(said):
        return str(60 * int(match[1] or 0) + int(match[2]))
    match = _MINUTES.fullmatch(said)
    return str(60 * int(match[1])) if match else str(value)


def _digits(said: str) -> str:
    return _NUMBERS.get(said.lower(), said)


def word(value: Any) -> Any:
    """A word of an enumeration becomes lower case, as Kling writes all of them."""
    return value.strip().lower() if isinstance(value, str) else value


def provider(value: Any) -> Any:
    """A provider's name in lower case; other words for the choice of one become `auto`."""
    value = word(value)
    return "auto" if value in ("automatic", "any", "cheapest", "the cheapest") else value


STATES = {
    word: state
    for state, words in {
        "queued": "waiting",
        "running": "active,pending,in progress,in_progress,rendering,not done,unfinished",
        "succeed": "succeeded,success,successful,done,finished,complete,completed,ready",
        "failed": "error,errors,failure,fail,broken,refused,rejected",
        "cancelled": "canceled,cancel,withdrawn",
    }.items()
    for word in words.split(",")
}


def status(value: Any) -> Any:
    """What people call a state becomes its name."""
    value = word(value)
    return STATES.get(value, value) if isinstance(value, str) else value


BLANKS = " \t\r\n\v\f\u00a0\u3000"
"""What may stand around a text and changes nothing in the video."""


def text(value: Any) -> Any:
    """A text loses the blanks around it and what nobody sees in it; its lines end in LF, and its
    letters are composed (NFC), so that texts which look equal are equal. Texts in lists and objects
    are, too."""
    if isinstance(value, str):
        while (tidy := _tidy(value)) != value:
            value = tidy
        return value
    if isinstance(value, list):
        return [text(part) for part in value]
    return {n: text(v) for n, v in value.items()} if isinstance(value, dict) else value


_LINE_ENDS = re.compile(r"\r\n|[\r\x85\u2028\u2029]")
_UNSEEN = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u034f\u180e\u200b\u2060-\u206f\ufeff\U000e0001]"
)
"""Control characters, and characters of no width that change no glyph (Unicode: Cc, Default
Ignorable Code Point)."""

_JOINING = re.compile(
    r"[\u0530-\u1cff\ua800-\uabff\ufb1d-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff]"
)
"""Scripts in which a (non-)joiner between letters changes what is written, as in Persian."""

_SELECTORS = re.compile(r"[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_TAGS = re.compile(r"[\U000e0020-\U000e007f]")
_FLAG = "\U0001f3f4"


def _tidy(value: str) -> str:
    value = _LINE_ENDS.sub("\n", value).replace("\v", " ").replace("\f", " ")
    value = _UNSEEN.sub("", unicodedata.normalize("NFC", value))
    if not value.isascii():
        seen = ""
        for place, sign in enumerate(value):
            seen += sign if _shows(sign, seen[-1:], value[place + 1 : place + 2]) else ""
        value = unicodedata.normalize("NFC", seen)
    return value.strip(BLANKS)


def _shows(sign: str, before: str, after: str) -> bool:
    """Whether a sign between two others is seen: a joiner within an emoji or between letters of a
    script that joins, a selector behind what has variants, a tag behind a flag."""
    if sign in "\u200c\u200d":
        if _JOINING.match(before):
            return bool(_JOINING.match(after))
        emoji = bool(before) and (unicodedata.category(before)[0] == "S" or before == "\ufe0f")
        return sign == "\u200d" and emoji and unicodedata.category(after or "a")[0] == "S"
    if _SELECTORS.match(sign):
        return before > "\u024f" or (before != "" and before in "0123456789#*\xa9\xae")
    if _TAGS.match(sign):
        return before == _FLAG or bool(_TAGS.match(before))
    return True


def identifier(value: Any) -> Any:
    """An id loses the spaces around it; a number becomes text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else value


def mode(value: Any) -> Any:
    """A resolution becomes the mode that has it: "1080p" becomes "pro"."""
    value = word(value)
    return _RESOLUTIONS.get(value, value) if isinstance(value, str) else value


_RESOLUTIONS = {
    **dict.fromkeys(("720p", "720", "standard"), "std"),
    **dict.fromkeys(("1080p", "1080"), "pro"),
    **dict.fromkeys(("2160p", "2160"), "4k"),
}


def ratio(value: Any) -> Any:
    """ "9/16" and "vertical" become "9:16", "square" becomes "1:1"."""
    value = word(value)
    if not isinstance(value, str):
        return value
    return _SHAPES.get(value, value.replace("/", ":"))


_SHAPES = {
    "square": "1:1",
    **dict.fromkeys(("portrait", "vertical"), "9:16"),
    **dict.fromkeys(("landscape", "horizontal", "widescreen"), "16:9"),
}


def fit(value: Any) -> Any:
    """ "9/16", "9:16 crop" and "pad vertical" become "9:16" and "9:16 pad"."""
    words = word(value).split() if isinstance(value, str) else []
    ratios = [ratio(part) for part in words if part not in ("crop", "pad")]
    if len(ratios) != 1:
        return value
    return " ".join([*ratios, *(["pad"] if "pad" in words else [])])


_QUOTES = "\"'`\u2018\u2019\u201c\u201d<>"
_TASK_URI = re.compile(r"kling://tasks/([^/?#\s]+)[^\s]*", re.IGNORECASE)


def task_id(value: Any) -> Any:
    """An id as `identifier` makes it, without quotes around it; `kling://tasks/ID` and addresses
    below it become the id. Links and paths stay: only the server knows their tasks."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    value = identifier(value)
    if not isinstance(value, str):
        return value
    bare = value.strip(_QUOTES + " \t\r\n")
    uri = _TASK_URI.fullmatch(bare)
    return unquote(uri[1]) if uri else bare


def task_ids(value: Any) -> Any:
    """One id, several in one text (with commas, semicolons or lines between them), or a list."""
    return [part for item in one_or_many(value) for part in _parts(item)]


def is_name(text: str) -> bool:
    """Whether a text is words, as the name of a film, and not ids: of those each has a digit or a
    sign."""
    return not re.search(r"[,;\r\n\\/]", text) and any(map(str.isalpha, text.split()))


def _parts(item: Any) -> list[Any]:
    """The ids of one text. A link or a path may contain commas and spaces: lines part it."""
    if not isinstance(item, str) or not item.strip() or is_name(item):
        return [item]
    address = re.search(r"[\\/]", _TASK_URI.sub("", item))
    parts = re.split(r"[\r\n]+" if address else r"[,;\s]+", item)
    return [part for part in parts if part.strip()]


def moment(value: Any) -> Any:
    """A number of seconds becomes text, as first and last are."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.9f}".rstrip("0").rstrip(".") if number else word(value)


def switch(value: Any) -> Any:
    """true, false, "yes" and "mute" become "on" and "off"."""
    if isinstance(value, bool):
        return "on" if value else "off"
    value = word(value)
    return _SWITCHES.get(value, value) if isinstance(value, str) else value


_SWITCHES = {
    **dict.fromkeys(("true", "yes"), "on"),
    **dict.fromkeys(("false", "no", "none", "mute", "muted", "silent"), "off"),
}


_MEANT: Mapping[str, Sequence[tuple[str, str]]] = {
    "mode": (
        (r"(?:[4-9]|\d\d)\s?k|uhd|ultra", "4k"),
        (r"hd|1080|high|pro|best|max", "pro"),
        (r"sd|720|low|fast|cheap|draft|standard", "std"),
    ),
    "duration": ((r"longest|max", "15"), (r"long", "10")),
    "sound": ((r"\b(?:no|without|off|mute|silent|silence)\b", "off"), (r"[a-z]", "on")),
    "refer_type": (
        (r"edit|chang|transform|modif|replac|restyl|v2v", "base"),
        (r"exten[ds]|contin|next|after|follow|longer|quel|shot|motion|style|refer", "feature"),
    ),
    "character_orientation": (
        (r"video|motion|clip|danc|driv|refer", "video"),
        (r"image|picture|photo|figure|portrait|character", "image"),
    ),
    "resolution": (
        (r"(?:[4-9]|\d\d)\s?k|uhd|ultra|2160", "4k"),
        (r"2\s?k|hd|1440|high", "2k"),
        (r"1\s?k", "1k"),
    ),
    "image_reference": (
        (r"fac|portrait|head", "face"),
        (r"subj|person|body|charac|obj", "subject"),
    ),
    "fit": (
        (r"square|1:1", "1:1"),
        (r"portrait|vertical|tik\s?tok|reel|shorts?\b|stor(?:y|ies)|phone|9:16", "9:16"),
        (r"landscape|horizontal|wide|youtube|cinema|tv|16:9", "16:9"),
    ),
}
"""Words that leave little doubt which value is meant, but that are not its name. The first that is
found counts."""


USD_PER_UNIT = 0.14
"""What a unit of Kling's costs by its list, in US dollars."""


_DOLLARS = re.compile(r"(?:us)?\$? ?(\d{1,6}(?:\.\d+)?) ?(?:\$|usd|(?:us )?dollars?)?")


def units(value: Any) -> Any:
    """ "2 units" becomes "2". True and false are refused: pydantic reads them as 1 and 0."""
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    if not isinstance(value, str):
        return value
    return word(value).removesuffix("units").removesuffix("unit").rstrip()


def units_for(value: Any) -> float | None:
    """The units that an amount of US dollars pays: 7.1 for "$1" and for 1; None without one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    money = _DOLLARS.fullmatch(" ".join(str(value).lower().split()))
    return math.floor(float(money[1]) / USD_PER_UNIT * 10) / 10 if money else None


def meant(name: str, value: Any, choices: Sequence[Any] = ()) -> Any:
    """The value of an argument that an unreadable one probably means, for a person to agree to;
    None without one. `choices` are its values where it has no others."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    said = str(value).lower()
    if name == "max_units":
        return units_for(value)
    if name == "duration":
        number = re.search(r"\d{1,3}(?:\.\d+)?", said)
        if number:
            return str(max(1, round(float(number[0]))))
    name = "fit" if name == "aspect_ratio" else name
    pad = " pad" if name == "fit" and "pad" in said else ""
    for words, found in _MEANT.get(name, ()):
        if re.search(words, said):
            return found + pad
    sides = re.search(r"(\d{1,2})\s?[:/x]\s?(\d{1,2})", said) if name == "fit" else None
    if sides is None or not int(sides[1]) or not int(sides[2]):
        return None
    shape = math.log(int(sides[1]) / int(sides[2]))
    ratios = [choice for choice in choices if re.fullmatch(r"\d+:\d+", str(choice))] or [
        "16:9",
        "9:16",
        "1:1",
    ]

    def distance(ratio: str) -> tuple[float, bool]:
        wide, high = map(int, ratio.split(":"))
        return round(abs(math.log(wide / high) - shape), 6), ratio == "1:1"

    return min(ratios, key=distance) + pad


def spoken_voice(value: Any) -> Any:
    """The name of a voice that speaks texts becomes its id; an id stays."""
    return voice_id(value.strip()) if isinstance(value, str) else value


def yes_or_no(value: Any) -> Any:
    """What `switch` reads as on and off becomes "yes" and "no"."""
    value = switch(value)
    return {"on": "yes", "off": "no"}.get(value, value) if isinstance(value, str) else value


def element_ids(value: Any) -> Any:
    """Ids as text, numbers or `{"element_id": …}` become exact integers (they exceed 2^53); names
    stay."""
    return [_element_id(item) for item in one_or_many(value)]


def _element_id(item: Any) -> Any:
    if isinstance(item, dict) and set(item) == {"element_id"}:
        item = item["element_id"]
    if isinstance(item, str) and item.strip().isdecimal() and len(item.strip()) <= 20:
        return int(item)
    return item


def asset_kind(value: Any) -> Any:
    """`Elements` and `voices` become `element` and `voice`."""
    value = word(value)
    return value.removesuffix("s") if isinstance(value, str) else value


def voice_ids(value: Any) -> Any:
    """Voices as text, numbers or `{"voice_id": …}` become their ids."""
    items = (_inner(item, "voice_id") for item in one_or_many(value))
    return [str(item) if type(item) is int else item for item in items]


_PICTURE_NAME = re.compile(r"\.(jpe?g|png|hei[cf]|webp|avif|gif|bmp|tiff?)$", re.IGNORECASE)


def picture_list(value: Any) -> Any:
    """Pictures as text, `{"image": …}` or `{"image_url": …}` become their references, several
    paths or addresses in one text a list."""
    if isinstance(value, str) and value.lstrip()[:1] not in ("[", ""):
        parts = [part for part in map(str.strip, re.split(r"[,;\r\n]", value)) if part]
        return parts if all(map(_names_picture, parts)) else [value]
    return [_inner(_inner(item, "image"), "image_url") for item in one_or_many(value)]


def _names_picture(text: str) -> bool:
    return bool(_PICTURE_NAME.search(text) or names_task(text))


def _inner(item: Any, key: str) -> Any:
    return item[key] if isinstance(item, dict) and set(item) == {key} else item


def shots(value: Any) -> Any:
    """Shots without any index are numbered in their order."""
    items = one_or_many(value)
    if all(isinstance(item, dict) and item.get("index") is None for item in items):
        return [{**item, "index": place} for place, item in enumerate(items, start=1)]
    return items


def points(value: Any) -> Any:
    """Points as `[x, y]` pairs become `{"x": …, "y": …}`."""
    items = from_json_text(value)
    if not isinstance(items, list):
        return items
    return [
        {"x": item[0], "y": item[1]} if isinstance(item, list) and len(item) == 2 else item
        for item in items
    ]


def camera(value: Any) -> Any:
    """A preset's bare name becomes `{"type": name}`, "zoom in" the move that it says."""
    value = from_json_text(value)
    if isinstance(value, str) and word(value) in _MOVES:
        return {"type": "simple", "config": _MOVES[word(value)]}
    return {"type": value} if isinstance(value, str) else value or None


_MOVES = {
    "zoom in": {"zoom": -5},
    "zoom out": {"zoom": 5},
    "pan left": {"pan": -5},
    "pan right": {"pan": 5},
    "tilt up": {"tilt": 5},
    "tilt down": {"tilt": -5},
    "move left": {"horizontal": -5},
    "move right": {"horizontal": 5},
    "move up": {"vertical": 5},
    "move down": {"vertical": -5},
}


def watermark(value: Any) -> Any:
    """true and false become `{"enabled": …}`."""
    value = from_json_text(value)
    if isinstance(value, bool) or (isinstance(value, str) and word(value) in ("true", "false")):
        return {"enabled": value}
    return value or None

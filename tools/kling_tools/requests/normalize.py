"""Turns friendly forms of arguments into Kling's own, before validation.

Each function takes any value and returns Kling's form of it, or the value unchanged if it does not
know the form; validation then refuses it in its own words. Kling's forms are in the parameter table
of its image2video page.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

__all__ = [
    "BLANKS",
    "asset_kind",
    "camera",
    "duration",
    "element_ids",
    "fit",
    "from_json_text",
    "identifier",
    "moment",
    "one_or_many",
    "picture_list",
    "points",
    "shots",
    "status",
    "switch",
    "task_id",
    "task_ids",
    "text",
    "voice_ids",
    "watermark",
    "word",
]

_DURATION = re.compile(r"(\d{1,3})(?:\.0+)?\s*(?:s|sec|seconds)?", re.IGNORECASE)


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
    """5, 5.0, "5" and "5s" become "5": Kling takes seconds as text and refuses a number."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and not value.is_integer():
        return str(value)
    match = (
        _DURATION.fullmatch(str(value).strip()) if isinstance(value, int | float | str) else None
    )
    return str(int(match[1])) if match else value


def word(value: Any) -> Any:
    """A word of an enumeration becomes lower case, as Kling writes all of them."""
    return value.strip().lower() if isinstance(value, str) else value


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
    """A text loses the blanks around it, and its lines end in LF. Texts in lists and objects do,
    too."""
    if isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n").strip(BLANKS)
    if isinstance(value, list):
        return [text(part) for part in value]
    return {n: text(v) for n, v in value.items()} if isinstance(value, dict) else value


def identifier(value: Any) -> Any:
    """An id loses the spaces around it; a number becomes text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else value


def fit(value: Any) -> Any:
    """ "9/16", "9:16 crop" and "pad 9:16" become "9:16" and "9:16 pad"."""
    words = word(value).replace("/", ":").split() if isinstance(value, str) else []
    ratios = [part for part in words if part not in ("crop", "pad")]
    if len(ratios) != 1:
        return value
    return " ".join([*ratios, *(["pad"] if "pad" in words else [])])


_QUOTES = "\"'`\u2018\u2019\u201c\u201d<>"
_TASK_URI = re.compile(r"kling://tasks/([^/?#\s]+)[^\s]*", re.IGNORECASE)


def task_id(value: Any) -> Any:
    """An id as `identifier` makes it, without quotes around it; `kling://tasks/ID` and addresses
    below it become the id. Links and paths stay: only the server knows their tasks."""
    value = identifier(value)
    if not isinstance(value, str):
        return value
    bare = value.strip(_QUOTES + " \t\r\n")
    uri = _TASK_URI.fullmatch(bare)
    return unquote(uri[1]) if uri else bare


def task_ids(value: Any) -> Any:
    """One id, several in one text (with commas, semicolons or lines between them), or a list."""
    return [part for item in one_or_many(value) for part in _parts(item)]


def _parts(item: Any) -> list[Any]:
    """The ids of one text. A link or a path may contain commas and spaces: lines part it."""
    if not isinstance(item, str) or not item.strip():
        return [item]
    address = re.search(r"[\\/]", _TASK_URI.sub("", item))
    parts = re.split(r"[\r\n]+" if address else r"[,;\s]+", item)
    return [part for part in parts if part.strip()]


def moment(value: Any) -> Any:
    """A number of seconds becomes text, as first and last are."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.9f}".rstrip("0").rstrip(".") if number else word(value)


def switch(value: Any) -> Any:
    """true and false become "on" and "off"."""
    if isinstance(value, bool):
        return "on" if value else "off"
    value = word(value)
    return {"true": "on", "false": "off"}.get(value, value) if isinstance(value, str) else value


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
    """Voices as text or `{"voice_id": …}` become their ids."""
    return [_inner(item, "voice_id") for item in one_or_many(value)]


def picture_list(value: Any) -> Any:
    """Pictures as text, `{"image": …}` or `{"image_url": …}` become their references."""
    if isinstance(value, str) and value.lstrip()[:1] not in ("[", ""):
        return [value]
    return [_inner(_inner(item, "image"), "image_url") for item in one_or_many(value)]


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
    """A preset's bare name becomes `{"type": name}`."""
    value = from_json_text(value)
    return {"type": value} if isinstance(value, str) else value or None


def watermark(value: Any) -> Any:
    """true and false become `{"enabled": …}`."""
    value = from_json_text(value)
    if isinstance(value, bool) or (isinstance(value, str) and word(value) in ("true", "false")):
        return {"enabled": value}
    return value or None

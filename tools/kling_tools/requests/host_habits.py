"""Habits of hosts: how long their calls may take, and arguments that no caller meant, such as
blanks, bookkeeping, and names that do not exist.

Some hosts fill in every optional field of a schema (metatool-ai/metamcp#365). Others add their own
bookkeeping (n8n-io/n8n#21500; Cursor's `random_string` for a tool without arguments).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from kling_tools.products import PRODUCTS, ProductEntry
from kling_tools.requests import fields, requests

__all__ = [
    "ADDED_BY_HOSTS",
    "CAPS",
    "EXAMPLES",
    "FALSE_IS_A_VALUE",
    "FILLED_BY_HOSTS",
    "INSTEAD",
    "IN_MONEY",
    "LONGEST_WAIT_S",
    "REQUIRED_LISTS",
    "ZERO_IS_A_VALUE",
    "blanks",
    "given",
    "instead_of",
    "wait_s",
]

LONGEST_WAIT_S = 900
"""The most seconds that one call may wait."""

CUT_AFTER_60_S = 50
"""Seconds that a call waits where its host gives up after 60, as the TypeScript SDK does."""


@dataclass(frozen=True, slots=True)
class WaitingHost:
    """How long a wait lasts at a host unless the caller says otherwise, and at most (seconds), from
    this version of the host on."""

    wait_s: int
    most_s: int
    since: tuple[int, ...] = ()


UNKNOWN_HOST = WaitingHost(CUT_AFTER_60_S, LONGEST_WAIT_S)

HOSTS: Mapping[str, WaitingHost] = {
    # It puts a call into the background after 120 s and tells its end; progress keeps it alive
    # (anthropics/claude-code#78407, #86464).
    "claude-code": WaitingHost(LONGEST_WAIT_S, LONGEST_WAIT_S, since=(2, 1, 212)),
    # Claude Desktop gives up after 60 s, which nobody can change (anthropics/claude-code#22542).
    "claude-ai": WaitingHost(CUT_AFTER_60_S, CUT_AFTER_60_S),
}
"""What is known of hosts, by the name in their clientInfo."""


def wait_s(name: str, version: str, asked: int | None, setting: int | None) -> int:
    """The seconds that a wait lasts: as many as the caller `asked` for, else as many as suit the
    host, and never more than the `setting` of the server's owner, which stands for the host."""
    host = HOSTS.get(name, UNKNOWN_HOST)
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < host.since:
        host = UNKNOWN_HOST
    if setting is not None:
        host = WaitingHost(setting, setting)
    return host.wait_s if asked is None else min(asked, host.most_s)


CLOSE = 0.75
"""The least likeness (0 to 1) of a misspelt name and the right one."""

ANOTHER_TAKE = "take: 2, 3, … for each further version"
SIZE = "mode: std=720p, pro=1080p, 4k"

FIT = "fit: 16:9, 9:16 or 1:1, which crops the first frame here, for free"

IN_MONEY = ("max_usd", "max_cost", "max_price", "max_spend", "budget", "budget_usd", "cost_limit")
"""Names for the most that a video may cost, read as US dollars."""

INSTEAD: dict[str, str] = {
    **dict.fromkeys(IN_MONEY, "max_units, in units: 1 lists at 0.14 USD"),
    "aspect_ratio": FIT,
    "ratio": FIT,
    "model": "model_name",
    "seed": f"no seed, Kling has none; {ANOTHER_TAKE}",
    "n": ANOTHER_TAKE,
    "count": ANOTHER_TAKE,
    "num_videos": ANOTHER_TAKE,
    "resolution": SIZE,
    "quality": SIZE,
    "size": SIZE,
    "fps": "no frame rate, Kling decides",
    "image_url": "image",
    "input_image": "image",
    "start_image": "image",
    "first_frame": "image",
    "end_image": "image_tail",
    "last_frame": "image_tail",
    "images": "image, or image_list in kling_multi_image_to_video",
    "text": "prompt",
    "description": "prompt",
    "camera": "camera_control, or the prompt",
    "camera_control": "prompt, which can say how the camera moves",
    "audio": "sound",
    "duration": "no duration, the result has a length of its own",
    "sound": "keep_original_sound",
    "video_url": "video",
    "motion_video": "video",
    "reference_video": "video",
    "driving_video": "video",
    "orientation": "character_orientation",
    "generate_audio": "sound",
    "length": "duration",
    "seconds": "duration",
    "shots": "multi_prompt with multi_shot true and shot_type customize",
    "id": "task_id",
    "ids": "task_ids",
    "timeout": "timeout_s",
    "filename": "path",
    "output": "path",
    "save_to": "path",
    "output_path": "path",
    "output_file": "path",
    "output_dir": "path",
    "task_ids": "task_id, one call for each task",
    "limit": "page_size, and page for the following ones",
    "max_results": "page_size",
    "offset": "page",
    "query": "text",
    "search": "text",
    "from": "since",
    "to": "until",
    **dict.fromkeys(("sort", "order", "order_by"), "since and until: the newest come first"),
}
"""The right argument, or other advice, for names of other vendors' APIs."""

EXAMPLES: dict[str, str] = {
    "shots": '{"prompt": "what happens"}',
    "defaults": '{"duration": "5"}',
    "music": '{"file": "song.mp3"}',
    "file": "the path of a sound file",
    "type": "simple, down_back, forward_up, right_turn_forward or left_turn_forward",
    "config": '{"zoom": 5}',
    "multi_prompt": '{"prompt": "what happens", "duration": "5"}',
    "prompt": "what happens",
    "duration": '"5"',
    "camera_control": '{"type": "simple", "config": {"zoom": 5}}',
    "element_list": '["160"], ids or names of kling_list_assets',
    "dynamic_masks": '{"mask": "…", "trajectories": [{"x": 0, "y": 0}, {"x": 9, "y": 9}]}',
    "trajectories": '[{"x": 0, "y": 0}, {"x": 9, "y": 9}]',
    "mask": "a picture of the painted area",
    "enabled": "true or false",
    "x": "a number of pixels",
    **{cap: f"a number; without {cap} there is no cap" for cap in ("max_units", "max_usd")},
    "y": "a number of pixels",
}
"""An example of each part that may be missing or of a wrong type."""

SAVE = "no path here: kling_save_video with task_id and path, once the video is done"

INSTEAD_TO_MAKE: Mapping[str, str] = dict.fromkeys(
    (
        *("path", "save_to", "save_path", "filename", "folder"),
        *("output", "output_path", "output_file", "output_dir"),
    ),
    SAVE,
)
"""The same for the calls that make something."""

INSTEAD_OF_PICTURES: Mapping[str, str] = {
    "element_list": "image_list, with pictures of it",
    **dict.fromkeys(("duration", "length", "seconds"), "no duration, a picture has none"),
}
"""The same for the calls that make pictures."""

PARTS = (
    fields.Shot,
    fields.DynamicMask,
    fields.Point,
    fields.CameraControl,
    fields.CameraConfig,
    fields.WatermarkInfo,
)


def instead_of(path: str, names: Collection[str]) -> str:
    """The right argument, or other advice, for an unknown one; empty if none is like it.

    `path` is its place in the call, `names` are the arguments of the call.
    """
    outer, _, name = path.rpartition(".")
    if outer == "camera_control" and name in fields.CameraConfig.model_fields:
        return f'config: {{"{name}": …}}'
    if name == "ratio" and "aspect_ratio" in names:
        return "aspect_ratio"
    if "resolution" in names and name in INSTEAD_OF_PICTURES:
        return INSTEAD_OF_PICTURES[name]
    if not outer and name in INSTEAD_TO_MAKE and name not in names and "prompt" in names:
        return INSTEAD_TO_MAKE[name]
    if not outer and name in INSTEAD and name not in names and _applies(INSTEAD[name], names):
        return INSTEAD[name]
    if not outer and INSTEAD.get(name, name) == "image" and "image_list" in names:
        return "image_list"
    if not outer and (tool := _tool_with(name, names)):
        return f"{tool}, which takes it"
    inner = [field for part in PARTS for field in part.model_fields]
    near = get_close_matches(name, inner if outer else list(names), n=1, cutoff=CLOSE)
    return near[0] if near else ""


def _tool_with(name: str, names: Collection[str]) -> str:
    """The other tool that makes the same kind of file of this argument, under its right name: the
    one that requires the least besides; empty for a call that makes nothing."""
    meant = re.split(r"\W", INSTEAD.get(name, name), maxsplit=1)[0]
    if "prompt" not in names or meant in names:
        return ""

    def lacking(row: ProductEntry) -> int:
        return len({"image", "video"}.intersection(row.inputs) - {meant, *names})

    result = "picture" if "resolution" in names else "video"
    rows = [row for row in PRODUCTS.values() if row.result == result or meant in row.inputs]
    able = [row for row in rows if meant in row.inputs or meant in _materials(row)]
    return min(able, key=lacking).tool if able else ""


def _materials(row: ProductEntry) -> set[str]:
    """The elements and voices that a tool takes."""
    taken = getattr(requests, row.request).model_fields
    return {"element_list", "voice_list"}.intersection(taken)


def _applies(advice: str, names: Collection[str]) -> bool:
    """Whether a call with these arguments has the one with which the advice begins; one that begins
    with `no` is for calls that make something."""
    argument = re.split(r"\W", advice, maxsplit=1)[0]
    return argument in names or (argument == "no" and "prompt" in names)


ADDED_BY_HOSTS = frozenset(
    {"toolCallId", "tool", "sessionId", "action", "chatInput", "random_string"}
)
"""Arguments that are ignored. None is like a name of ours, so none is a misspelt one."""

ZERO_IS_A_VALUE = frozenset({"cfg_scale", "timeout_s"})
"""The fields in which 0 is a value: the weakest hold on the prompt (the review knows whether the
model takes it), and a look without waiting. Every other 0 is a blank."""

CAPS = frozenset({"max_units", "max_usd"})
"""The most that a call may cost. Blank there is none; any other value is a cap or a fault, so that
none is meant and does not hold."""

FALSE_IS_A_VALUE = frozenset({"join", "keep_original_sound", *CAPS})
"""The fields in which false is no blank: what is left out means yes, or that there is no cap."""

REQUIRED_LISTS = frozenset({"image_list", "task_ids"})
"""Required lists, whose blank entries stay so that a fault can name them."""


def given(raw: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The arguments without blanks. `names` are the arguments of the call; unknown names with a
    value stay, so that they are refused."""
    return {
        name: _without_blanks(value) if name in names else value
        for name, value in raw.items()
        if name not in ADDED_BY_HOSTS
        and value not in (None, "")
        and not (name in names and _is_left_out(name, value))
    }


FILLED_BY_HOSTS = frozenset({"take", *CAPS})
"""Arguments that nobody leaves blank on purpose: beside a blank one of them every blank argument
was filled in by a host."""


def blanks(raw: Mapping[str, Any], names: AbstractSet[str]) -> frozenset[str]:
    """The arguments of the call that are there and blank. Null is no value, so it is not there:
    it only shows, beside others, that a host fills in what nobody gave."""
    return frozenset(
        name
        for name in names & raw.keys()
        if (name in FILLED_BY_HOSTS if _is_null(raw[name]) else _is_left_out(name, raw[name]))
    )


def _is_null(value: Any) -> bool:
    """Whether it is null, or holds nothing but nulls."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or (bool(parts) and all(map(_is_null, parts)))


def _is_left_out(name: str, value: Any) -> bool:
    if name in ZERO_IS_A_VALUE and value == 0 and value is not False:
        return False
    if name in REQUIRED_LISTS and isinstance(value, list) and value:
        return False
    if name in FALSE_IS_A_VALUE and value is False:
        return False
    return value is False or _is_blank(value)


def _is_blank(value: Any) -> bool:
    """Whether the value is null, an empty text, 0, or a list or object of such values only. False
    in an object is a value: `{"enabled": false}` is Kling's own word for no watermark."""
    if isinstance(value, dict):
        return all(_is_blank(part) for part in value.values())
    if isinstance(value, list):
        return all(_is_blank(part) for part in value)
    return value in (None, "", 0) and value is not False


def _without_blanks(value: Any) -> Any:
    """The value without the blank fields of nested objects, where 0 is a value. Entries of a list
    stay, as prompts name their numbers."""
    if isinstance(value, list):
        return [_without_blanks(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _without_blanks(part)
        for name, part in value.items()
        if part not in (None, "", [], {})
    }

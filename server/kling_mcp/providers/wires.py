"""The two ways in which Kling takes a request: its fields in, one path and one JSON body out.

The legacy wire takes the fields as they are. The new standard is `POST /{kind}/{model}` with
`contents[]`, `settings{}` and `options{}`; of words alone with `prompt` in the place of
`contents[]`. The fields of a request keep their legacy names up to here: digest and ledger are made
from them, so that one request is one video on either wire. Everything here is data and pure
functions.

Source: Kling's pages of the new standard, 2026-09-20.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kling_tools.products import PRODUCTS, Product
from kling_tools.rules.capabilities import Wire, WireRow

__all__ = ["KINDS", "PLACES", "create_body", "create_path", "prompt_text", "without_place"]

KINDS: Mapping[Product, str] = {
    "image2video": "image-to-video",
    "omni-video": "omni-video",
    "text2video": "text-to-video",
    "omni-edit": "omni-video",
    "motion-control": "motion-control",
}
"""The first part of the path; a product that is not here exists on the legacy wire alone."""

PLACES: Mapping[str, str] = {
    "model_name": "the path",
    "image": "`contents[]`: `first_frame`",
    "image_tail": "`contents[]`: `last_frame`",
    "image_list": "`contents[]`: a `refer_image` with an `id` for each",
    "image_url": "`contents[]`: `image`",
    "video_url": "`contents[]`: `video`",
    "video_list": "`contents[]`: `base_video` or `feature_video`; its sound: `settings.audio`, "
    "`original` or `off`",
    "prompt": "`contents[]`: `prompt`, of words alone `prompt`; `<<<image_1>>>` becomes `@image_1`",
    "multi_shot": "`settings.multi_shot`, `false` unless asked for",
    "shot_type": "`customize`: the prompt; `intelligence`: `settings.multi_shot`",
    "multi_prompt": "the prompt: `shot 1, 3, words; shot 2, 2, words;`",
    "element_list": "`contents[]`: `element`, its id as text",
    "voice_list": "`contents[]`: `voice`",
    "sound": "`settings.audio`: `native` or `off`",
    "keep_original_sound": "`settings.audio`: `original` or `off`",
    "character_orientation": "`settings.character_orientation`",
    "mode": "`settings.resolution`: `720p`, `1080p` or `4k`",
    "duration": "`settings.duration`, a number",
    "aspect_ratio": "`settings.aspect_ratio`",
    "watermark_info": "`options.watermark_info`",
    "callback_url": "`options.callback_url`",
    "external_task_id": "`options.external_task_id`; answers call it `external_id`",
}
"""Where each field goes. A field that is not here has no place: it is refused, and never added to
the prompt, since the person agreed to their own words, and a model draws what a prompt names."""

RESOLUTIONS = {"std": "720p", "pro": "1080p", "4k": "4k"}
AUDIO = {"on": "native", "off": "off", "yes": "original", "no": "off"}
FRAMES = {
    "image": "first_frame",
    "image_tail": "last_frame",
    "image_url": "image",
    "video_url": "video",
}
"""Pictures and videos that stand alone, with their type in `contents[]`."""

_TOKEN = re.compile(r"<<<\s*(image|element|voice|video)_(\d{1,3})\s*>>>")
_WORD = re.compile(r"\w")


def create_path(wire: Wire, prefix: str, product: Product, name: str) -> str:
    """The path of a create below the base URL. `prefix` is the provider's on the legacy wire,
    `name` the model's on the new one."""
    return f"/{KINDS[product]}/{name}" if wire == "new" else PRODUCTS[product].below(prefix)


def create_body(
    wire: Wire, product: Product, fields: Mapping[str, Any], model: WireRow
) -> Mapping[str, Any]:
    """The JSON body of a create; pictures may stand for their own values.

    On the new standard, where shots have a switch (`model.multi_shot`), Kling turns it on when it
    is left out: one continuous take has to say so, and a video after another one cannot. A model
    that `lacks` our id or a callback goes without. Raises ValueError for a field without a place
    there; the 0 that hosts fill into cfg_scale asks for nothing.
    """
    if wire == "legacy":
        return fields
    if unknown := without_place(fields):
        raise ValueError(f"the new standard has no {', '.join(unknown)}")
    text = prompt_text(fields)
    if PRODUCTS[product].made_from == "prompt":  # all others have it in `contents[]`
        material: dict[str, Any] = {"prompt": text}
    else:
        material = {"contents": _contents(fields, text)}
    settings: dict[str, Any] = {}
    if "mode" in fields:
        settings["resolution"] = RESOLUTIONS[fields["mode"]]
    if "duration" in fields:
        settings["duration"] = int(fields["duration"])
    for field in ("sound", "keep_original_sound"):
        if field in fields:
            settings["audio"] = AUDIO[fields[field]]
    videos = fields.get("video_list", ())
    for item in videos:
        settings["audio"] = AUDIO[item["keep_original_sound"]]
    for field in ("aspect_ratio", "character_orientation"):
        if field in fields:
            settings[field] = fields[field]
    if model.multi_shot and not any(item["refer_type"] == "feature" for item in videos):
        settings["multi_shot"] = bool(fields.get("multi_shot"))
    names = ("external_task_id", "callback_url", "watermark_info")
    options = {n: fields[n] for n in names if n in fields and n not in model.lacks}
    return {**material, "settings": settings} | ({"options": options} if options else {})


def _contents(fields: Mapping[str, Any], text: str) -> list[dict[str, Any]]:
    """One object for the prompt and for each material."""
    labels = _labels(fields)
    contents: list[dict[str, Any]] = [{"type": "prompt", "text": text}] if text else []
    for field, kind in FRAMES.items():
        if field in fields:
            contents.append({"type": kind, "url": fields[field]})
    for label, item in zip(labels["image"], fields.get("image_list", ()), strict=True):
        contents.append({"type": "refer_image", "url": item["image_url"], "id": label})
    for label, item in zip(labels["video"], fields.get("video_list", ()), strict=True):
        kind = f"{item['refer_type']}_video"
        contents.append({"type": kind, "url": item["video_url"], "id": label})
    for kind in ("element", "voice"):
        for label, item in zip(labels[kind], fields.get(f"{kind}_list", ()), strict=True):
            contents.append({"type": kind, f"{kind}_id": str(item[f"{kind}_id"]), "id": label})
    return contents


def without_place(fields: Mapping[str, Any]) -> list[str]:
    """The names of the fields that have no place here."""
    return [name for name, value in fields.items() if name not in PLACES and value != 0]


def prompt_text(fields: Mapping[str, Any]) -> str:
    """The prompt: with shots in Kling's syntax, and `@label` for each material. A request that has
    faults may have no shots."""
    labels = _labels(fields)
    customized = fields.get("shot_type") == "customize"
    shots = fields.get("multi_prompt", ())
    text = _shots(shots) if customized else str(fields.get("prompt", ""))

    def named(found: re.Match[str]) -> str:
        known, place = labels[found[1]], int(found[2]) - 1
        if not 0 <= place < len(known):
            return found[0]
        # a letter right before or behind a label would become a part of it
        left = " " if _WORD.match(text[: found.start()][-1:]) else ""
        right = " " if _WORD.match(text[found.end() :][:1]) else ""
        return f"{left}@{known[place]}{right}"

    return _TOKEN.sub(named, text)


def _shots(shots: Sequence[Mapping[str, Any]]) -> str:
    """The shots in one text. A semicolon within the words would end their shot."""
    return " ".join(
        f"shot {shot['index']}, {shot['duration']}, {str(shot['prompt']).replace(';', ',')};"
        for shot in shots
    )


def _labels(fields: Mapping[str, Any]) -> dict[str, list[str]]:
    """The labels of all materials by their kind, such as `image_1`. None is a part of another one,
    and the prompt names none by accident."""
    texts = [fields.get("prompt", ""), *(shot["prompt"] for shot in fields.get("multi_prompt", ()))]
    said = " ".join(map(str, texts)).lower()
    kinds = ("image", "element", "voice", "video")
    counts = {kind: len(fields.get(f"{kind}_list", ())) for kind in kinds}
    prefix = ""
    while True:
        labels = {
            kind: [f"{prefix}{kind}_{n:0{len(str(count))}}" for n in range(1, count + 1)]
            for kind, count in counts.items()
        }
        if not any(f"@{label}" in said for known in labels.values() for label in known):
            return labels
        prefix = f"my_{prefix}"

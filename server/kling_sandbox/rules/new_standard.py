"""Rules of the new standard: `contents[]`, `settings` and `options` (copies of Kling's pages).

The order of the checks is the measured one: aspect_ratio, resolution, audio, then the prompt and
the duration of text-to-video, or the duration and the prompt of the endpoints with `contents`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from kling_sandbox.answers.refusals import refused
from kling_sandbox.config import SandboxConfig
from kling_sandbox.new_models import KINDS, NEW_MODELS, RESOLUTIONS, Material, NewModel, NewProduct
from kling_sandbox.orders import Asset, GivenVideo, Order, Picture, Reference
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.image2video import MAX_SHOTS, SHOT_PROMPT_LIMIT, even_shots
from kling_sandbox.rules.motion import seconds_of
from kling_sandbox.rules.omni import reference_flaw
from kling_sandbox.rules.shared import ID_LIMIT, URL_LIMIT, FindAsset, delivery

__all__ = ["new_standard"]

_MOST_CONTENTS = 50
_MOST_CONTENTS_OF_4 = 16
_LABEL_REQUIRED = ("element", "voice")
_PICTURES = ("first_frame", "middle_frame", "last_frame", "refer_image")
_VIDEOS = ("feature_video", "base_video")
_OTHER_CHARS_OF_4 = 11_000
_SHOT = re.compile(r"\s*shot\s+(\d{1,3})\s*,\s*(\d{1,3})\s*,([^;]*)(?:;|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Content:
    """One object of `contents`, and its place."""

    kind: Material
    fields: Fields
    place: int


@dataclass(frozen=True, slots=True)
class _Settings:
    resolution: str
    ratio: str
    audio: str
    multi_shot: bool | None


def new_standard(
    product: NewProduct,
    name: str,
    body: Any,
    files: PictureFiles,
    config: SandboxConfig,
    find: FindAsset,
) -> Order:
    """The order in the body for the model with that name in the path. Raises `Refusal`."""
    model = NEW_MODELS.get(name)
    if model is None or (model.family == "4.0" and not config.preview):
        raise refused("model_unknown", model=name)
    if product not in model.products:
        raise refused("not_for_this_api", model=name)
    if not isinstance(body, dict):
        raise refused("not_json")
    fields = Fields(body)
    text_alone = product == "text-to-video"
    contents = [] if text_alone else _contents(fields, model, product)
    settings = fields.object("settings", prefix="") or Fields({})
    chosen = _settings(settings, model, product)
    if text_alone:
        prompt = _text(fields, "prompt", "prompt", model)
        duration = _duration(settings, model)
    else:
        duration = _duration(settings, model)
        prompt = _prompt(contents, model)
    _check_labels(contents, prompt)
    _check_counts(contents, model, product)
    found = _Found(contents, product)
    assets = found.assets(find)
    _check_together(found, assets, model, chosen, duration)
    if model.family in ("omni", "o1") and not chosen.ratio and not found.shaped:
        raise refused("ratio_missing")
    options = fields.object("options") or Fields({})
    if model.family == "4.0":
        for unsupported in ("callback_url", "external_task_id"):
            if unsupported in options:
                raise refused("not_supported_yet", field=unsupported)
    pictures, tail = found.pictures(files, model)
    keeps = chosen.audio == "original"
    reference = found.reference(lambda url: files.find_video(url, config.clock()), keeps=keeps)
    shots, lines = _shots(prompt, duration, model, chosen, base=found.count("base_video") > 0)
    if reference and reference.kind == "base":
        duration = seconds_of(reference.video)
    return Order(
        product=KINDS[product],
        model=model.prices,
        mode=RESOLUTIONS[chosen.resolution],
        duration=duration,
        prompt=prompt,
        pictures=pictures,
        tail=tail,
        aspect_ratio=_width_by_height(chosen.ratio),
        sound=model.loud or chosen.audio in ("native", "original"),
        voice=any(asset.kind == "voice" for asset in assets),
        shots=shots,
        lines=lines,
        standard="new",
        assets=assets,
        video=found.count(*_VIDEOS) > 0 or any(asset.videos for asset in assets),
        flaw=reference_flaw(reference.video, model.prices) if reference else "",
        reference=reference,
        **delivery(options),
    )


def _contents(fields: Fields, model: NewModel, product: NewProduct) -> list[_Content]:
    """The objects of `contents`, whose types the model takes for the product."""
    items = fields.value("contents")
    if not isinstance(items, list) or not items:
        raise refused("contents_empty")
    most = _MOST_CONTENTS_OF_4 if model.family == "4.0" else _MOST_CONTENTS
    if len(items) > most:
        raise refused("too_many", field="contents", least=1, most=most)
    found = []
    for place, item in enumerate(items):
        if not isinstance(item, dict):
            raise fields.refuse("contents")
        content = Fields(item, f"contents[{place}].")
        kind = content.value("type")
        if kind not in get_args(Material):
            raise content.refuse("type")
        if kind != "prompt" and not model.most(product, kind):
            raise refused("material", kind=kind)
        found.append(_Content(kind, content, place))
    return found


def _settings(settings: Fields, model: NewModel, product: NewProduct) -> _Settings:
    ratio = ""
    if product != "image-to-video":
        default = "16:9" if product == "text-to-video" or model.family == "4.0" else ""
        ratio = settings.choice("aspect_ratio", model.ratios, default)
    resolution = settings.value("resolution")
    if resolution in (None, "") and model.family != "4.0":
        resolution = "720p"
    if not isinstance(resolution, str) or resolution not in model.resolutions:
        raise refused("resolution", value=resolution)
    audio = settings.choice("audio", model.audio, model.audio[0]) if model.audio else ""
    if model.prices == "kling-v2-6" and audio == "native" and resolution != "1080p":
        raise refused("needs_1080p", field="audio native")
    multi_shot = None
    if model.multi_shot is not None and settings.value("multi_shot") is not None:
        multi_shot = settings.flag("multi_shot")
    return _Settings(resolution, ratio, audio, multi_shot)


def _duration(settings: Fields, model: NewModel) -> int:
    """The seconds, a JSON integer. 4.0 requires it."""
    if settings.value("duration") is None and model.family != "4.0":
        return 5
    duration = settings.whole("duration")
    if duration not in model.durations:
        raise settings.refuse("duration")
    return duration


def _text(fields: Fields, name: str, shown: str, model: NewModel) -> str:
    """A prompt. A blank one is refused in the same words as a long one [live]."""
    value = fields.value(name)
    limit = model.prompt_chars
    if model.family == "4.0" and isinstance(value, str) and not value.isascii():
        limit = _OTHER_CHARS_OF_4
    if isinstance(value, str) and (not value.strip() or len(value) > limit):
        raise refused("text_size", field=shown, limit=limit)
    text = fields.text(name, limit)
    if not text:
        raise refused("label_missing", field=shown)
    return text


def _prompt(contents: list[_Content], model: NewModel) -> str:
    prompts = [content for content in contents if content.kind == "prompt"]
    if not prompts:
        raise refused("prompt_missing")
    if len(prompts) > 1:
        raise refused("material_count", kind="prompt", most=1)
    return _text(prompts[0].fields, "text", f"contents[{prompts[0].place}].text", model)


def _check_labels(contents: list[_Content], prompt: str) -> None:
    """Labels are unique, no part of each other, and no part of other text in the prompt."""
    labels = []
    for content in contents:
        label = content.fields.text("id", ID_LIMIT)
        if not label and content.kind in _LABEL_REQUIRED:
            raise refused("label_missing", field=f"contents[{content.place}].id")
        if label and content.kind != "prompt":
            labels.append(label)
    for place, label in enumerate(labels):
        if any(label in other for other in labels[:place] + labels[place + 1 :]):
            raise refused("label_clash", label=label)
        if re.search(rf"[A-Za-z0-9]@{re.escape(label)}", prompt):
            raise refused("label_in_text", label=label)


def _check_counts(contents: list[_Content], model: NewModel, product: NewProduct) -> None:
    kinds = [content.kind for content in contents]
    for kind in dict.fromkeys(kinds):
        if kind == "prompt":
            continue
        most = model.most(product, kind)
        if kinds.count(kind) > most:
            if kind in ("refer_image", "element") and model.family in ("omni", "o1"):
                raise refused("images_and_elements", most=most)
            raise refused("material_count", kind=kind, most=most)


class _Found:
    """The materials of one request."""

    def __init__(self, contents: list[_Content], product: NewProduct) -> None:
        self._contents = contents
        self.product = product

    def count(self, *kinds: str) -> int:
        """How many materials are of these kinds."""
        return sum(content.kind in kinds for content in self._contents)

    @property
    def shaped(self) -> bool:
        """Whether a first frame or a video gives the clip its shape."""
        return self.count("first_frame", *_VIDEOS) > 0

    def assets(self, find: FindAsset) -> tuple[Asset, ...]:
        """The elements and voices. Videos are checked for an address on the way."""
        assets = []
        for content in self._contents:
            if content.kind in _VIDEOS:
                url = content.fields.text("url", URL_LIMIT)
                if not url.startswith(("http://", "https://")):
                    raise content.fields.refuse("url")
            elif content.kind == "element" or content.kind == "voice":
                name = f"{content.kind}_id"
                asset_id = content.fields.text(name, ID_LIMIT)
                if not asset_id:
                    raise content.fields.refuse(name)
                assets.append(find(content.kind, asset_id))
        return tuple(assets)

    def reference(
        self, find_video: Callable[[str], GivenVideo], *, keeps: bool
    ) -> Reference | None:
        """The first video; the film shows no other one."""
        for content in self._contents:
            if content.kind == "base_video":
                return Reference(find_video(content.fields.value("url")), "base", keeps)
            if content.kind == "feature_video":
                return Reference(find_video(content.fields.value("url")), "feature", False)
        return None

    def pictures(
        self, files: PictureFiles, model: NewModel
    ) -> tuple[tuple[Picture, ...], Picture | None]:
        """The pictures in the order of the clip, and the last frame."""
        found: dict[str, list[Picture]] = {kind: [] for kind in _PICTURES}
        for content in self._contents:
            if content.kind in found:
                if "url" not in content.fields:
                    raise refused("label_missing", field=f"contents[{content.place}].url")
                url = content.fields.value("url")
                found[content.kind].append(
                    files.accept(f"contents[{content.place}].url", url, model.image_mb)
                )
        tail = found.pop("last_frame")
        shown = (picture for kind in found.values() for picture in kind)
        return tuple(shown), tail[0] if tail else None


def _check_together(
    found: _Found, assets: tuple[Asset, ...], model: NewModel, chosen: _Settings, duration: int
) -> None:
    """The rules between materials and settings."""
    first, last = found.count("first_frame"), found.count("last_frame")
    if last and not first:
        raise refused("tail_alone")
    if found.product == "image-to-video" and not first:
        raise refused("image_missing")
    if last and model.strict_ends:
        if chosen.resolution != "1080p":
            raise refused("needs_1080p", field="last_frame")
        if chosen.audio == "native":
            raise refused("silent_only", field="last_frame")
    if found.count("voice") and chosen.audio == "off":
        raise refused("voice_needs_sound")
    if model.family in ("omni", "o1"):
        _check_omni(found, assets, model, chosen)
    if model.family == "o1":
        _check_o1(found, duration)
    if model.family == "4.0" and found.count(*_PICTURES) > 10:
        raise refused("material_count", kind="images", most=10)


def _check_omni(
    found: _Found, assets: tuple[Asset, ...], model: NewModel, chosen: _Settings
) -> None:
    """The table of counts of Kling's omni page; frames count as images [live]."""
    videos = found.count(*_VIDEOS)
    frames = found.count("first_frame", "last_frame")
    characters = sum(bool(asset.videos) for asset in assets)
    if characters and model.family == "o1":
        raise refused("material", kind="video character element")
    if videos > 1:
        raise refused("material_count", kind="videos", most=1)
    if frames and len(assets) > 3:
        raise refused("images_and_elements", most=3)
    others = frames + found.count("refer_image") + len(assets) - characters
    most = 7 if not videos and not characters else 4
    if videos and characters:
        most = 0
    if others > most or characters > (1 if videos else 3):
        raise refused("images_and_elements", most=most)
    if found.count("feature_video"):
        if chosen.audio != "off":
            raise refused("silent_only", field="feature_video")
        if chosen.multi_shot is False:
            raise refused("shots_off_new", field="false and feature_video")
    if found.count("base_video"):
        if frames:
            raise refused("material", kind="first_frame with base_video")
        if chosen.multi_shot:
            raise refused("shots_off_new", field="base_video")
        if chosen.audio == "native":
            raise refused("unsupported", field="audio native")
    elif chosen.audio == "original":
        raise refused("unsupported", field="audio original without base_video")


def _check_o1(found: _Found, duration: int) -> None:
    first, last = found.count("first_frame"), found.count("last_frame")
    references = found.count("refer_image", "element")
    if first and last and references:
        raise refused("images_and_elements", most=2)
    if not references and not last and not found.count(*_VIDEOS) and duration not in (5, 10):
        raise refused("o1_duration")


def _shots(
    prompt: str, duration: int, model: NewModel, chosen: _Settings, *, base: bool
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The seconds and the words of each shot; empty for one take.

    `shot n, m, words;` in the prompt cuts the clip, unless `multi_shot` is false. Without the
    syntax, `multi_shot` leaves the cuts to Kling; here they are even ones.
    """
    multi_shot = model.multi_shot if chosen.multi_shot is None else chosen.multi_shot
    if not model.storyboard or multi_shot is False or base:
        return (), ()
    if not _SHOT.match(prompt):
        return (even_shots(duration) if multi_shot else ()), ()
    seconds: list[int] = []
    words: list[str] = []
    at = 0
    while prompt[at:].strip():
        shot = _SHOT.match(prompt, at)
        if shot is None or len(seconds) == MAX_SHOTS or int(shot[1]) != len(seconds) + 1:
            raise refused("shot_syntax")
        if int(shot[2]) < 1 or not 1 <= len(shot[3].strip()) <= SHOT_PROMPT_LIMIT:
            raise refused("shot_syntax")
        seconds.append(int(shot[2]))
        words.append(shot[3].strip())
        at = shot.end()
    if sum(seconds) != duration:
        raise refused("shots_sum")
    return tuple(seconds), tuple(words)


def _width_by_height(ratio: str) -> float | None:
    width, _, height = ratio.partition(":")
    return int(width) / int(height) if ratio else None

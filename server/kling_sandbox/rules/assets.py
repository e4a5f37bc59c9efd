"""Rules of new elements and voices (Kling's pages of element and voice management)."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kling_sandbox.answers.documents import TAGS
from kling_sandbox.answers.refusals import invalid_value, refused
from kling_sandbox.intake import Lifted
from kling_sandbox.model_table import TaskKind
from kling_sandbox.orders import Asset, Order
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.image2video import ID_LIMIT
from kling_sandbox.rules.shared import URL_LIMIT, FindAsset, delivery

__all__ = ["new_element", "new_voice"]

_NAME_LIMIT = 20
_DESCRIPTION_LIMIT = 100
_MOST_OTHER_PICTURES = 3
_VOICE_S = (5.0, 30.0)


def new_element(fields: Fields, files: PictureFiles, find: FindAsset) -> Order:
    """The order of an element. Raises `Refusal` at its first fault."""
    name = _required(fields, "element_name", _NAME_LIMIT)
    description = _required(fields, "element_description", _DESCRIPTION_LIMIT)
    kind = fields.choice("reference_type", ("image_refer", "video_refer"), "")
    if not kind:
        raise refused("label_missing", field="reference_type")
    tags = []
    for tag in fields.objects("tag_list", 1, len(TAGS)):
        tags.append(tag.choice("tag_id", TAGS, ""))
    made = Asset("element", "", name, description, tags=tuple(filter(None, tags)))
    if "element_voice_id" in fields:
        voice = find("voice", fields.text("element_voice_id", ID_LIMIT))
        made = replace(made, voice=voice.asset_id, voice_name=voice.name)
    if kind == "video_refer":
        return _order(fields, replace(made, videos=(_video(fields),)))
    listed = fields.object("element_image_list") or Fields({}, "element_image_list.")
    if "frontal_image" not in listed:
        raise refused("label_missing", field="element_image_list.frontal_image")
    others = listed.objects("refer_images", 1, _MOST_OTHER_PICTURES)
    if not others:
        raise refused("too_many", field="element_image_list.refer_images", least=1, most=3)
    values = [listed.value("frontal_image"), *(other.value("image_url") for other in others)]
    pictures = tuple(files.accept("element_image_list", value) for value in values)
    return _order(fields, replace(made, pictures=pictures))


def new_voice(fields: Fields, has_speech: Callable[[str], bool]) -> Order:
    """The order of a voice. `has_speech` says whether a clip with that id can be its source.

    A sample in base64 is measured at once; one at an address is taken unseen. Raises `Refusal`.
    """
    name = _required(fields, "voice_name", _NAME_LIMIT)
    if ("voice_url" in fields) == ("video_id" in fields):
        raise refused("voice_source")
    if "video_id" in fields:
        clip = fields.text("video_id", ID_LIMIT)
        if not has_speech(clip):
            raise refused("video_unknown", video_id=clip)
    else:
        _check_sample(fields.value("voice_url"))
    return _order(fields, Asset("voice", "", name))


def _order(fields: Fields, made: Asset) -> Order:
    product: TaskKind = "custom-elements" if made.kind == "element" else "custom-voices"
    return Order(product, "", "", 0, made=made, **delivery(fields))


def _required(fields: Fields, name: str, limit: int) -> str:
    text = fields.text(name, limit)
    if not text.strip():
        raise refused("label_missing", field=name)
    return text


def _video(fields: Fields) -> str:
    listed = fields.object("element_video_list") or Fields({}, "element_video_list.")
    videos = listed.objects("refer_videos", 1, 1)
    if not videos:
        raise refused("too_many", field="element_video_list.refer_videos", least=1, most=1)
    url = videos[0].text("video_url", URL_LIMIT)
    if not url.startswith(("http://", "https://")):
        raise videos[0].refuse("video_url")
    return url


def _check_sample(value: object) -> None:
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return
    source: Path | io.BytesIO
    if isinstance(value, Lifted):
        source = value.path
    elif isinstance(value, str):
        try:
            source = io.BytesIO(base64.b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            raise refused("not_base64") from None
    else:
        raise invalid_value("voice_url", value)
    seconds = _audio_seconds(source)
    if seconds is None:
        raise refused("audio_format")
    if not _VOICE_S[0] <= seconds <= _VOICE_S[1]:
        raise refused("audio_length")


def _audio_seconds(source: Path | io.BytesIO) -> float | None:
    """The length of the first sound in a file; None when it has none or cannot be read."""
    import av  # it loads a hundred megabytes

    try:
        with av.open(str(source) if isinstance(source, Path) else source, "r") as container:
            if not container.streams.audio:
                return None
            stream = container.streams.audio[0]
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            return container.duration / 1_000_000 if container.duration else None
    except (OSError, ValueError):  # av's own errors are both
        return None

"""The body of a create, rendered once: its fields in order, with open pictures as values.

The digest, the ledger's row, the dry run, the receipt and the wire all read the same fields.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter, methodcaller
from typing import Any

from kling_mcp.inputs.media import Medium
from kling_mcp.inputs.picture import Picture
from kling_mcp.providers.json_body import JsonBody
from kling_mcp.providers.wires import KINDS, create_body, create_path, without_place
from kling_tools.products import PRODUCTS, Product, ProductEntry
from kling_tools.requests.requests import (
    BrushRequest,
    EditVideoRequest,
    GenerateImageRequest,
    ImageToVideoRequest,
    LipSyncRequest,
    MotionControlRequest,
    MultiImageToVideoRequest,
    ShotsRequest,
    SpeakingRequest,
    TalkingPhotoRequest,
    TextToVideoRequest,
    VideoRequest,
    with_references,
)
from kling_tools.rules.capabilities import Wire, WireRow
from kling_tools.rules.reviews import Review

__all__ = [
    "FACE",
    "PRODUCT_FIELDS",
    "SESSION",
    "SOUND_AT",
    "SOUND_END",
    "SPEECH",
    "CreateBody",
    "StepBody",
    "render_fields",
]

NO_WATERMARK = {"enabled": False}
"""Kling's word for what it does without a word, too."""


@dataclass(frozen=True, slots=True)
class FromStep:
    """Stands in a body for what a step before the create makes. `sha256` is what it is made of, the
    same whenever that is made anew, `label` says it in words. `value` is what the step made; None
    before it."""

    sha256: str
    label: str
    value: Any = None

    def wire(self) -> Any:
        """The value that is sent. Raises ValueError before the step."""
        if self.value is None:
            raise ValueError(f"{self.label} is not made yet")
        return self.value


FROM_THE_ROW = "<made from the ledger's row>"
"""Stands in a dry run for an id that the ledger gives to a new row."""


@dataclass(frozen=True, slots=True)
class CreateBody:
    """The fields of one create, and the two ids that it gets once its ledger row exists.

    `fields` have their legacy names on both standards, so that a request is the same one on either;
    they may hold a `Picture`, a `Medium` or a `FromStep` at any depth. `wire` is the standard by
    which it goes, `model` the row of its model on the new one, `prefix` that of legacy paths.
    `callback_base` is the address before the row's callback key; it is empty when the provider does
    not call back,
    when this server cannot be reached, and when the caller named a callback_url.
    """

    fields: Mapping[str, Any]
    callback_base: str = ""
    product: Product = "image2video"
    prefix: str = ""
    wire: Wire = "legacy"
    model: WireRow = field(default_factory=WireRow)

    @property
    def endpoint(self) -> str:
        """The path of the create on the new standard; empty on the legacy one."""
        return self.path if self.wire == "new" and self.can_be_shown else ""

    @property
    def can_be_shown(self) -> bool:
        """Whether its standard has a place for all of it. A request that has faults may have
        none."""
        if self.wire == "legacy":
            return True
        return self.product in KINDS and not without_place(self.fields)

    @property
    def named(self) -> bool:
        """Whether our external_task_id goes with it."""
        return "external_task_id" in self.names()

    @property
    def path(self) -> str:
        """The path of the create below the base URL."""
        return create_path(self.wire, self.prefix, self.product, self.model.name)

    def names(self) -> list[str]:
        """The names of all fields that are sent, in order."""
        callback = ["callback_url"] if self.callback_base else []
        names = [*self.fields, "external_task_id", *callback]
        return [name for name in names if self.wire == "legacy" or name not in self.model.lacks]

    def identity(self) -> dict[str, Any]:
        """What makes the video what it is, with each picture as its SHA-256."""
        fields = _with_shown(self.fields, attrgetter("sha256"))
        return {
            name: value
            for name, value in fields.items()
            if name != "callback_url" and not (name == "watermark_info" and value == NO_WATERMARK)
        }

    def labelled(self) -> dict[str, Any]:
        """The fields with each picture as its label, for people to read."""
        return _with_shown(self.fields, attrgetter("label"))

    def preview(self, external_task_id: str) -> dict[str, Any]:
        """The fields as a dry run shows them: each picture in a few words."""
        told = _with_shown(self.fields, _with_some_address)
        ids = external_task_id or FROM_THE_ROW, FROM_THE_ROW
        return replace(self, fields=told).on_wire(*ids).preview()

    def with_addresses(self, addresses: Mapping[str, str]) -> CreateBody:
        """The body with the addresses that media got, by their fields."""
        if not addresses:
            return self

        def at(given: Given) -> Given:
            if isinstance(given, Medium) and given.field in addresses:
                return given.at(addresses[given.field])
            return given

        return replace(self, fields=_with_shown(self.fields, at))

    def with_values(self, values: Mapping[str, Any]) -> CreateBody:
        """The body with what steps made, by the labels of what stands for it."""
        if not values:
            return self

        def made(given: Given) -> Given:
            known = isinstance(given, FromStep) and given.label in values
            return replace(given, value=values[given.label]) if known else given

        return replace(self, fields=_with_shown(self.fields, made))

    def on_wire(
        self, external_task_id: str, callback_key: str = "", wire: Wire | None = None
    ) -> JsonBody:
        """The whole body with the ids of its ledger row, which was perhaps first sent by the other
        standard (`wire`)."""
        fields = _with_shown(self.fields, methodcaller("wire"))
        fields["external_task_id"] = external_task_id
        if self.callback_base and callback_key:
            fields["callback_url"] = f"{self.callback_base}/{callback_key}"
        return JsonBody(create_body(wire or self.wire, self.product, fields, self.model))


class StepBody(CreateBody):
    """The body of a step: it takes neither our id nor a callback."""

    def names(self) -> list[str]:
        """The names of its fields."""
        return [*self.fields]

    def on_wire(
        self, external_task_id: str, callback_key: str = "", wire: Wire | None = None
    ) -> JsonBody:
        """Its fields, whatever the row is."""
        return JsonBody(_with_shown(self.fields, methodcaller("wire")))


Given = Picture | Medium | FromStep
"""What stands in fields for something whose value is known later."""


def _with_some_address(given: Given) -> Given | str:
    if isinstance(given, FromStep):
        return f"<{given.label}>"
    if isinstance(given, Medium) and given.needs_address:
        return given.at(f"<address of {given.label}>")
    return given


def _with_shown(fields: Mapping[str, Any], shown: Callable[[Any], Any]) -> dict[str, Any]:
    """The fields with `shown(picture)` in the place of each picture, each medium, and all that is
    made before the create."""

    def value_of(value: Any) -> Any:
        if isinstance(value, Picture | Medium | FromStep):
            return shown(value)
        if isinstance(value, Mapping):
            return {name: value_of(inner) for name, inner in value.items()}
        return [value_of(inner) for inner in value] if isinstance(value, list) else value

    return {name: value_of(value) for name, value in fields.items()}


def render_fields(review: Review, pictures: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the body; those that ask for nothing are left out.

    `pictures` maps field paths (`image`, `dynamic_masks[0].mask`) to what stands for them.
    `model_name` and a video's `duration` (text) are always sent: Kling's default model is retired,
    and Kling refuses a duration that is a number.
    """
    request = review.request
    fields: dict[str, Any] = {"model_name": review.model_name}
    fields |= PRODUCT_FIELDS[review.product](request, pictures, PRODUCTS[review.product])
    fields["negative_prompt"] = request.negative_prompt
    if isinstance(request, VideoRequest):
        fields |= {
            "mode": review.mode,
            "duration": request.duration,
            "sound": _sound(request, review),
            "cfg_scale": request.cfg_scale,
        }
    fields |= {
        "watermark_info": request.watermark_info and request.watermark_info.model_dump(),
        "callback_url": request.callback_url,
    }
    left_out = request.unsent()
    return {
        name: value
        for name, value in fields.items()
        if name not in left_out and value not in (None, "", [])
    }


def _one_picture(
    request: ImageToVideoRequest, pictures: Mapping[str, Any], _: ProductEntry
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "image": pictures.get("image"),
        "image_tail": pictures.get("image_tail"),
        "prompt": request.prompt,
        **_masks(request, pictures),
    }
    fields |= _shots(request)
    if request.camera_control:
        camera = request.camera_control
        fields["camera_control"] = {"type": camera.type} | (
            {"config": camera.config.model_dump()} if camera.type == "simple" else {}
        )
    return fields | {
        "element_list": [{"element_id": number} for number in request.element_list],
        "voice_list": [{"voice_id": voice} for voice in request.voice_list],
    }


def _several_pictures(
    request: MultiImageToVideoRequest, pictures: Mapping[str, Any], product: ProductEntry
) -> dict[str, Any]:
    listed = [pictures[f"image_list[{place}]"] for place in range(len(request.image_list))]
    prompt = request.prompt
    return {
        "image_list": [{product.picture_key: picture} for picture in listed],
        "prompt": with_references(prompt, request.references())
        if product.names_pictures
        else prompt,
        "element_list": [{"element_id": number} for number in request.element_list],
        "aspect_ratio": request.aspect_ratio,
        **_masks(request, pictures),
    }


def _text(request: TextToVideoRequest, _: Mapping[str, Any], __: ProductEntry) -> dict[str, Any]:
    return {
        "prompt": request.prompt,
        **_shots(request),
        "aspect_ratio": request.aspect_ratio,
    }


def _pictures_of_words(
    request: GenerateImageRequest, pictures: Mapping[str, Any], product: ProductEntry
) -> dict[str, Any]:
    listed = [pictures[f"image_list[{place}]"] for place in range(len(request.image_list))]
    given: dict[str, Any] = {"image_list": [{product.picture_key: picture} for picture in listed]}
    if product.name == "image-generation":  # one picture, without a list
        given = {product.picture_key: listed[0] if listed else None}
    return {
        "prompt": with_references(request.prompt, request.references())
        if product.names_pictures
        else request.prompt,
        **given,
        "image_reference": request.image_reference,
        "image_fidelity": request.image_fidelity,
        "human_fidelity": request.human_fidelity,
        "resolution": request.resolution,
        "n": request.n,
        "aspect_ratio": request.aspect_ratio,
    }


def _another_video(
    request: EditVideoRequest, given: Mapping[str, Any], product: ProductEntry
) -> dict[str, Any]:
    """Only an edit can keep the sound of its video [new standard: a reference is silent]."""
    keeps = request.keep_original_sound if request.refer_type == "base" else "no"
    listed = [given[f"image_list[{place}]"] for place in range(len(request.image_list))]
    return {
        "video_list": [
            {
                "video_url": given.get("video"),
                "refer_type": request.refer_type,
                "keep_original_sound": keeps,
            }
        ],
        "image_list": [{product.picture_key: picture} for picture in listed],
        "prompt": with_references(request.prompt, request.references()),
        "element_list": [{"element_id": number} for number in request.element_list],
        "aspect_ratio": request.aspect_ratio,
    }


def _moving_figure(
    request: MotionControlRequest, given: Mapping[str, Any], _: ProductEntry
) -> dict[str, Any]:
    return {
        "image_url": given.get("image"),
        "video_url": given.get("video"),
        "prompt": request.prompt,
        "character_orientation": request.character_orientation,
        "keep_original_sound": request.keep_original_sound,
        "element_list": [{"element_id": number} for number in request.element_list],
    }


def _talking_face(
    request: TalkingPhotoRequest, given: Mapping[str, Any], _: ProductEntry
) -> dict[str, Any]:
    return {
        "image": given.get("image"),
        "sound_file": given.get("sound_file"),
        "audio_id": _spoken(request),
        "prompt": request.prompt,
    }


def _spoken(request: SpeakingRequest) -> FromStep | None:
    """Stands for the speech of the text; None without a text."""
    spoken = [request.text, request.voice_id, request.voice_speed or 1.0]
    return FromStep(json.dumps(spoken), SPEECH) if request.text else None


SESSION, FACE, SPEECH, SOUND_END, SOUND_AT = (
    "session of the face check",
    "id of the face",
    "id of the speech",
    "end of the sound",
    "start of the face",
)
"""Labels of what the steps before a create make."""


def _other_words(
    request: LipSyncRequest, given: Mapping[str, Any], _: ProductEntry
) -> dict[str, Any]:
    """The session stands for the video, the numbered face for its id, and the speech for the text
    in its voice: they are the same whenever Kling gives them other ids."""
    video = getattr(given.get("video"), "sha256", "")
    end: Any = request.sound_end_time
    if end is None:
        end = FromStep("the whole sound", SOUND_END)
    at: Any = request.sound_insert_time
    if at is None:
        at = FromStep("where the face is seen", SOUND_AT)
    face = {
        "face_id": FromStep(f"face {request.face or 1}", FACE),
        "sound_file": given.get("sound_file"),
        "audio_id": _spoken(request),
        "sound_start_time": 0,
        "sound_end_time": end,
        "sound_insert_time": at,
        "original_audio_volume": 0 if request.keep_original_sound == "no" else None,
    }
    return {
        "session_id": FromStep(f"faces of {video}", SESSION),
        "face_choose": [{name: value for name, value in face.items() if value is not None}],
    }


PRODUCT_FIELDS: Mapping[
    Product, Callable[[Any, Mapping[str, Any], ProductEntry], dict[str, Any]]
] = {
    "image2video": _one_picture,
    "omni-video": _several_pictures,
    "multi-image2video": _several_pictures,
    "text2video": _text,
    "omni-image": _pictures_of_words,
    "image-generation": _pictures_of_words,
    "omni-edit": _another_video,
    "motion-control": _moving_figure,
    "avatar": _talking_face,
    "lip-sync": _other_words,
}
"""Renders the fields that a product does not share with all others."""


def _shots(request: ShotsRequest) -> dict[str, Any]:
    if not request.multi_shot:
        return {}
    return {
        "multi_shot": True,
        "shot_type": request.shot_type,
        "multi_prompt": [shot.model_dump() for shot in request.multi_prompt],
    }


def _masks(request: BrushRequest, pictures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "static_mask": pictures.get("static_mask"),
        "dynamic_masks": [
            {
                "mask": pictures[f"dynamic_masks[{place}].mask"],
                "trajectories": [point.model_dump() for point in group.trajectories],
            }
            for place, group in enumerate(request.dynamic_masks)
        ],
    }


def _sound(request: VideoRequest, review: Review) -> str | None:
    """The value that is sent. `off` goes only to models that can make sound: others do not know
    the field, nor do those that always make it."""
    if review.row and review.row.always_sound:
        return None
    knows_sound = review.row and review.row.patterns("sound")
    return request.sound if request.sound == "on" or knows_sound else None

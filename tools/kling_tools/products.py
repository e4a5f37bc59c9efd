"""The table of products: one row for each thing that Kling makes.

All code that depends on the product reads its row. Rows are data below requests, rules and tools,
so they name functions and classes there by plain names. `tests/tools/test_products.py` proves that
each name leads somewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Literal

__all__ = [
    "ASSETS",
    "FILM",
    "FILM_IDS",
    "IMAGE_UNIT",
    "MADE",
    "OLDEST",
    "PRODUCTS",
    "PRODUCTS_BY_TOOL",
    "REQUESTS",
    "STEPS",
    "AssetEntry",
    "AssetKind",
    "AssetProduct",
    "FilmEntry",
    "InFilm",
    "Made",
    "Product",
    "ProductEntry",
    "Result",
    "StepEntry",
    "StepProduct",
    "asset_entry",
    "products_named",
    "rules_of_others",
    "spoken",
]

Product = Literal[
    "image2video",
    "multi-image2video",
    "omni-video",
    "text2video",
    "omni-image",
    "image-generation",
    "omni-edit",
    "motion-control",
    "avatar",
    "lip-sync",
]
"""The names of the products, as Kling's paths have them; its `images/generations` is
`image-generation`, omni-video with a video is `omni-edit`, avatar/image2video is `avatar`, and
advanced-lip-sync is `lip-sync`."""

Result = Literal["video", "picture"]
"""The kinds of files that are made."""

InFilm = Literal["shot", "clip", "picture"]
"""What a product is in a film: a shot that the film asks for; or a clip, or the picture of a shot,
which is made first."""

_MATERIAL = {
    "prompt": "prompt",
    "image": "picture",
    "image_tail": "picture",
    "image_list": "picture",
    "video": "video",
    "sound_file": "sound",
    "text": "text",
}
"""What the inputs are from which something is made."""

FILE_INPUTS = frozenset(name for name, word in _MATERIAL.items() if word not in ("prompt", "text"))
"""The inputs that are files."""

IMAGE_UNIT = 1 / 40
"""An image unit lists at 0.0035 USD, a unit of videos at 0.14 [Kling's price page, 2026-09-20]:
where both are counted together, an image unit is so much of a unit."""

AssetKind = Literal["element", "voice"]
AssetProduct = Literal["custom-elements", "custom-voices"]
"""What a video can be made with, and the products that make it."""

StepProduct = Literal["face-check", "speech"]
"""What is paid and made before a create, which then names it."""

Made = Literal[Product, AssetProduct, StepProduct, "film"]
"""What a row of the ledger can be about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductEntry:
    """One row. Raises ValueError when a field that every product requires is empty.

    `tool` makes it. If a tool makes two products, the model decides; without one the first of a
    provider's `default_models` does, and an unknown model goes to the upper row. `request` is its
    class in `requests.requests`, `inputs` are the fields that its tool's schema lists first.
    `rules` are the ids in `rules.between_fields` and the functions in `rules.checks` that judge
    requests for this product; those that no row names judge all requests. `result` is the kind of
    file that it makes, `makes` says it in words, `in_film` what it is there. `path` follows a
    provider's prefix, or stands in the place of its last part (`videos`) if it begins with a slash.
    `picture_key` is the body's name for a picture of a list; with `names_pictures` the prompt must
    name each.
    `body_names` are the body's names of arguments that it calls otherwise. `steps` are made before
    its create, in this order. A task is found by the provider's id alone where it is not
    `found_by_our_id`. Its tool has a model_name where it `has_models`.

    Two fields are read by the tests alone: `priced_by`, the ways in which its models are priced in
    `rules/capabilities.json`, and `desk`, the function in `kling_sandbox.rules` that plays it (the
    sandbox imports nothing from here).
    """

    name: Product
    tool: str
    request: str
    inputs: tuple[str, ...]
    rules: tuple[str, ...]
    result: Result
    makes: str
    in_film: InFilm
    path: str
    priced_by: tuple[Literal["clip", "second", "picture"], ...]
    desk: str
    picture_key: str = ""
    names_pictures: bool = False
    body_names: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[StepProduct, ...] = ()
    found_by_our_id: bool = True
    has_models: bool = True

    def __post_init__(self) -> None:
        optional = {"picture_key", "names_pictures", "body_names", "steps"}
        optional |= {"found_by_our_id", "has_models"}
        needed = {part.name for part in fields(self)} - optional
        empty = sorted(name for name in needed if not getattr(self, name))
        if empty:
            raise ValueError(f"The product {self.name!r} has no {' and no '.join(empty)}.")

    @property
    def made(self) -> str:
        """What it makes, with its article."""
        return self.makes if self.result == "picture" else f"a {self.makes}"

    @property
    def unit(self) -> str:
        """The name of the units in which it is priced."""
        return "image unit" if self.result == "picture" else "unit"

    @property
    def other_unit(self) -> str | None:
        """The name of its units where they are others than those of videos."""
        return self.unit if self.result == "picture" else None

    @property
    def made_from(self) -> str:
        """What it is made from, in words: `prompt or picture`."""
        given = (word for name, word in _MATERIAL.items() if name in self.inputs)
        words = [*dict.fromkeys(given)]
        return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))

    @property
    def unit_weight(self) -> float:
        """How much one of its units counts where units of all kinds are counted together."""
        return IMAGE_UNIT if self.result == "picture" else 1.0

    def below(self, prefix: str) -> str:
        """The path of its creates and queries at a provider with this prefix."""
        return (
            prefix.rpartition("/")[0] + self.path
            if self.path[0] == "/"
            else f"{prefix}/{self.path}"
        )


_OF_PICTURES = (
    "image_prompt_required",
    "references_are_there",
    "negative_prompt_excludes_images",
    "references_need_an_image",
)

_OF_SPEAKERS = (
    "sound_or_text",
    "sound_without_text",
    "a_voice_speaks",
    "a_voice_of_its_language",
)

_ROWS = (
    ProductEntry(
        name="image2video",
        tool="kling_image_to_video",
        request="ImageToVideoRequest",
        inputs=("image", "prompt", "image_tail"),
        rules=(
            "prompt_required",
            "image_or_image_tail",
            "shots_add_up",
            "shots_in_order",
            "voices_are_spoken",
            "camera_moves_once",
        ),
        result="video",
        makes="video of one picture",
        in_film="shot",
        path="image2video",
        priced_by=("clip", "second"),
        desk="image2video",
    ),
    ProductEntry(
        name="omni-video",
        tool="kling_multi_image_to_video",
        request="MultiImageToVideoRequest",
        inputs=("image_list", "prompt"),
        rules=("prompt_required", "image_list_required", "references_are_there"),
        result="video",
        makes="video of several pictures",
        in_film="shot",
        path="omni-video",
        priced_by=("second",),
        desk="omni",
        picture_key="image_url",
        names_pictures=True,
    ),
    ProductEntry(
        name="multi-image2video",
        tool="kling_multi_image_to_video",
        request="MultiImageToVideoRequest",
        inputs=("image_list", "prompt"),
        rules=("prompt_required", "image_list_required", "references_are_there"),
        result="video",
        makes="video of several pictures",
        in_film="shot",
        path="multi-image2video",
        priced_by=("clip",),
        desk="multi_image",
        picture_key="image",
    ),
    ProductEntry(
        name="text2video",
        tool="kling_text_to_video",
        request="TextToVideoRequest",
        inputs=("prompt", "aspect_ratio"),
        rules=("prompt_required", "shots_add_up", "shots_in_order"),
        result="video",
        makes="video of words alone",
        in_film="shot",
        path="text2video",
        priced_by=("clip", "second"),
        desk="text2video",
    ),
    ProductEntry(
        name="omni-image",
        tool="kling_generate_image",
        request="GenerateImageRequest",
        inputs=("prompt", "image_list"),
        rules=_OF_PICTURES,
        result="picture",
        makes="pictures",
        in_film="picture",
        path="/images/omni-image",
        priced_by=("picture",),
        desk="omni_image",
        picture_key="image",
        names_pictures=True,
    ),
    ProductEntry(
        name="image-generation",
        tool="kling_generate_image",
        request="GenerateImageRequest",
        inputs=("prompt", "image_list"),
        rules=_OF_PICTURES,
        result="picture",
        makes="pictures",
        in_film="picture",
        path="/images/generations",
        priced_by=("picture",),
        desk="image_generation",
        picture_key="image",
    ),
    ProductEntry(
        name="omni-edit",
        tool="kling_edit_video",
        request="EditVideoRequest",
        inputs=("video", "prompt", "refer_type", "image_list"),
        rules=(
            "wish_required",
            "video_required",
            "an_edit_keeps_its_shape",
            "references_are_there",
        ),
        result="video",
        makes="video of a video",
        in_film="clip",
        path="omni-video",
        priced_by=("second",),
        desk="omni",
        picture_key="image_url",
        names_pictures=True,
        body_names={
            "video": "video_list",
            "refer_type": "video_list",
            "keep_original_sound": "video_list",
        },
    ),
    ProductEntry(
        name="motion-control",
        tool="kling_motion_control",
        request="MotionControlRequest",
        inputs=("image", "video", "prompt", "character_orientation"),
        rules=("figure_required", "motion_required", "element_faces_as_the_video"),
        result="video",
        makes="video of a figure that moves as in another video",
        in_film="clip",
        path="motion-control",
        priced_by=("second",),
        desk="motion_control",
        body_names={"image": "image_url", "video": "video_url"},
    ),
    ProductEntry(
        name="avatar",
        tool="kling_talking_photo",
        request="TalkingPhotoRequest",
        inputs=("image", "sound_file", "text", "voice_id", "prompt"),
        rules=("face_required", *_OF_SPEAKERS),
        result="video",
        makes="video of a face that speaks or sings",
        in_film="clip",
        path="avatar/image2video",
        priced_by=("second",),
        desk="avatar",
        has_models=False,
        body_names={"text": "audio_id", "voice_id": "audio_id", "voice_speed": "audio_id"},
        steps=("speech",),
    ),
    ProductEntry(
        name="lip-sync",
        tool="kling_lip_sync",
        request="LipSyncRequest",
        inputs=("video", "sound_file", "text", "voice_id", "face"),
        rules=("speaking_video_required", *_OF_SPEAKERS),
        result="video",
        makes="video in which a face speaks other words",
        in_film="clip",
        path="advanced-lip-sync",
        priced_by=("second",),
        desk="lip_sync",
        has_models=False,
        body_names={
            "video": "session_id",
            "sound_file": "face_choose",
            "text": "face_choose",
            "voice_id": "face_choose",
            "voice_speed": "face_choose",
            "face": "face_choose",
            "sound_end_time": "face_choose",
            "sound_insert_time": "face_choose",
            "keep_original_sound": "face_choose",
        },
        steps=("face-check", "speech"),
        found_by_our_id=False,
    ),
)


OLDEST: tuple[Product, ...] = ("image2video", "omni-video")
"""The products whose tools publish what all makers take, `take` among it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetEntry:
    """One kind of asset: no model makes it, and a video is made with it.

    `tool` makes it, with a request of its own. `path` lists, makes and tells of the account's own
    ones, `presets` lists Kling's, `delete` deletes one; they follow the `assets` of a provider's
    row. `units` is what one costs, `usual_s` the seconds that it takes. `used_in` says where one
    can be used.
    """

    name: AssetProduct
    kind: AssetKind
    tool: str
    path: str
    presets: str
    delete: str
    units: float
    usual_s: float
    used_in: str
    made_from: str

    has_models = False
    unit = "unit"
    unit_weight = 1.0
    other_unit = None

    @property
    def result(self) -> AssetKind:
        """What it makes."""
        return self.kind

    def below(self, prefix: str) -> str:
        """The path of its creates and queries at a provider with this prefix."""
        return f"{prefix}/{self.path}"


_ASSETS = (
    AssetEntry(
        name="custom-elements",
        kind="element",
        tool="kling_create_element",
        path="advanced-custom-elements",
        presets="advanced-presets-elements",
        delete="delete-advanced-elements",
        units=0.0,
        usual_s=5.0,
        made_from="picture, video or description",
        used_in="element_list (names or ids) of kling_image_to_video with kling-v3; an element "
        "with a voice of its own speaks with sound on. Or element_list of "
        "kling_multi_image_to_video. Or element_list of kling_edit_video.",
    ),
    AssetEntry(
        name="custom-voices",
        kind="voice",
        tool="kling_create_voice",
        path="custom-voices",
        presets="presets-voices",
        delete="delete-voices",
        units=0.05,
        usual_s=9.0,
        made_from="sound",
        used_in="voice_list of kling_image_to_video (names or ids), with kling-v2-6, mode pro and "
        "sound on; for kling-v3 it is bound to an element when that is made.",
    ),
)


@dataclass(frozen=True, slots=True)
class FilmEntry:
    """Films: made here, of videos. No provider has them, and they cost what their shots do."""

    name: Literal["film"] = "film"
    tool: str = "kling_film"
    result: Result = "video"
    made_from: str = "videos"
    has_models: bool = False
    path: str = ""
    unit: str = "unit"
    unit_weight: float = 1.0
    other_unit: str | None = None

    def below(self, prefix: str) -> str:
        """No path of a provider."""
        raise LookupError(f"{prefix} makes no films")


FILM = FilmEntry()

FILM_IDS = "film-"
"""How the ids of films begin."""

ASSETS: Mapping[Made, AssetEntry] = {row.name: row for row in _ASSETS}
"""Elements and voices, by product [Kling's pages of element and voice management; times and prices
seen live]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEntry:
    """One kind of step before a create: the provider answers at once, takes no id of ours, and
    charges `units`. What it made can be named in creates for `keeps_s` seconds. `words` say what it
    is, `result` what it is a part of; `tool`, `path` and `below` are those of a `ProductEntry`."""

    name: StepProduct
    words: str
    tool: str
    path: str
    units: float
    keeps_s: float
    made_from: str

    result: Result = "video"
    has_models = False
    unit = "unit"
    unit_weight = 1.0
    other_unit = None

    def below(self, prefix: str) -> str:
        """The path of the step at a provider with this prefix."""
        start = prefix.rpartition("/")[0] if self.path[0] == "/" else f"{prefix}/"
        return start + self.path


_STEPS = (
    StepEntry(
        name="face-check",
        words="face check",
        tool="kling_lip_sync",
        path="identify-face",
        units=0.05,
        keeps_s=23 * 3600,
        made_from="video",
    ),
    StepEntry(
        name="speech",
        words="speech",
        tool="kling_lip_sync",
        path="/audio/tts",
        units=0.05,
        keeps_s=29 * 86_400,
        made_from="text",
    ),
)

STEPS: Mapping[Made, StepEntry] = {row.name: row for row in _STEPS}
"""The steps, by product [Kling's pages of lip-sync and speech, 2026-09-20: a session of faces lasts
24 hours, a sound 30 days; each is used an hour or a day less]."""

PRODUCTS: Mapping[Product, ProductEntry] = {row.name: row for row in _ROWS}
"""The products by name, in the order of the table."""

MADE: Mapping[Made, ProductEntry | AssetEntry | StepEntry | FilmEntry] = {
    row.name: row for row in (*_ROWS, *_ASSETS, *_STEPS, FILM)
}
"""The rows of everything that can be made, by product."""

PRODUCTS_BY_TOOL: Mapping[str, tuple[Product, ...]] = {
    tool: tuple(row.name for row in _ROWS if row.tool == tool)
    for tool in dict.fromkeys(row.tool for row in _ROWS)
}
"""The tools that make something and cost money, each with its products in their order."""

REQUESTS: Mapping[str, tuple[Product, ...]] = {
    request: tuple(row.name for row in _ROWS if row.request == request)
    for request in dict.fromkeys(row.request for row in _ROWS)
}
"""The request classes, each with the products that it can ask for, in their order."""


def spoken(product: Made) -> str:
    """How people call what makes this product: the name of its tool in words, `text to video`."""
    return MADE[product].tool.removeprefix("kling_").replace("_", " ")


@cache
def products_named(word: str) -> tuple[Made, ...]:
    """The products that a word names: one by its name, those of a tool by the tool's name or its
    words, those with a kind of result by it (`pictures`, `elements`). Empty for others."""
    word = word.strip().lower()
    if word in MADE:
        return tuple(name for name in MADE if name == word)
    word = re.sub(r"[\s_-]+", " ", word.removeprefix("kling_")).removesuffix("s")
    word = {"image": "picture", "clip": "video"}.get(word, word)
    return tuple(name for name, row in MADE.items() if word in (row.result, spoken(name)))


def asset_entry(kind: AssetKind) -> AssetEntry:
    """The row of this kind of asset."""
    return next(row for row in _ASSETS if row.kind == kind)


@cache
def rules_of_others(products: tuple[Product, ...]) -> frozenset[str]:
    """The rules that judge requests for other products only, and none for these."""
    own = {rule for name in products for rule in PRODUCTS[name].rules}
    return frozenset(rule for row in _ROWS for rule in row.rules) - own

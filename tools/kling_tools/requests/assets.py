"""The arguments of the tools for elements and voices, and the rules between them.

Limits are those of Kling's pages of element and voice management.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from kling_tools.faults import Fault
from kling_tools.products import ASSETS, AssetEntry, AssetKind, Made
from kling_tools.requests import normalize
from kling_tools.requests.arguments import MaxUnits, Provider

__all__ = [
    "TAGS",
    "AssetArguments",
    "AssetChanges",
    "CreateElementArguments",
    "CreateVoiceArguments",
    "DeleteAssetArguments",
    "ListAssetsArguments",
]

SOURCE = "Kling's pages of element and voice management"

LEAST_PICTURES, MOST_PICTURES = 2, 4

TAGS = {
    "hottest": "o_101",
    "character": "o_102",
    "animal": "o_103",
    "item": "o_104",
    "costume": "o_105",
    "scene": "o_106",
    "effect": "o_107",
    "others": "o_108",
}
"""Kling's tags of an element by name, with their ids."""

_OTHER_SOUND = re.compile(
    r"\.(?:og[ag]|opus|flac|m4a|aac|wma|aiff?|amr|webm|mkv|avi)$", re.IGNORECASE
)
"""Endings of sounds and videos that Kling does not take as a sample."""

_TEXT = WithJsonSchema({"type": "string"})
_TEXTS = WithJsonSchema({"type": "array", "items": {"type": "string"}})

Kind = Annotated[
    Literal["", AssetKind],
    BeforeValidator(normalize.asset_kind),
    WithJsonSchema({"type": "string", "enum": ["element", "voice"]}),
]
Words = Annotated[str, BeforeValidator(normalize.text), Field(max_length=200), _TEXT]
Name = Annotated[str, BeforeValidator(normalize.text), Field(max_length=20), _TEXT]
Address = Annotated[str, _TEXT]


class ListAssetsArguments(BaseModel):
    """`kling_list_assets`: one kind, and a part of a name, a description or an id."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    kind: Kind = ""
    text: Annotated[Words, Field(description="Part of name, description or id.")] = ""
    provider: Provider = ""


class AssetChanges(BaseModel):
    """The arguments of tools that change the account's library."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    provider: Provider = ""


class AssetArguments(AssetChanges):
    """What is common to the tools that make an element or a voice."""

    name: Annotated[Name, Field(description="<=20 characters.")] = ""
    max_units: MaxUnits = None
    dry_run: bool = False

    @property
    def entry(self) -> AssetEntry:
        """The row of what is made."""
        raise NotImplementedError(type(self))

    def faults(self) -> Iterator[Fault]:
        """What is missing, or does not go together."""
        if not self.name:
            yield Fault("name", "missing", "is required.", "a name of at most 20 characters")
        elif self.name.isdecimal():
            message = f"{self.name} is read as an id wherever it is named: it has digits alone."
            yield Fault(
                "name", "name_of_digits", message, f'a name with a letter: "No {self.name}"'
            )


def _row(name: Made) -> AssetEntry:
    return ASSETS[name]


class CreateElementArguments(AssetArguments):
    """`kling_create_element`: 2 to 4 pictures, the frontal one first, or one video."""

    description: Annotated[
        Annotated[str, BeforeValidator(normalize.text), Field(max_length=100), _TEXT],
        Field(description="Who or what it is, <=100 characters."),
    ] = ""
    images: Annotated[
        list[Address],
        BeforeValidator(normalize.picture_list),
        Field(max_length=MOST_PICTURES),
        _TEXTS,
        Field(description="2-4 pictures of it, the frontal one first: path, URL or kling://."),
    ] = []
    video: Annotated[
        Address,
        Field(description="Instead: URL or path (mp4/mov, 3-8 s, 1080p) or task_id."),
    ] = ""
    voice: Annotated[Words, Field(description="Name or id of a voice; with images.")] = ""
    tags: Annotated[
        list[Annotated[str, BeforeValidator(normalize.word)]],
        BeforeValidator(normalize.one_or_many),
        _TEXTS,
        Field(description="character, animal, item, costume, scene, effect, others."),
    ] = []

    @property
    def entry(self) -> AssetEntry:
        """The row of elements."""
        return _row("custom-elements")

    def pictures(self) -> list[tuple[str, str]]:
        """Every picture as (field path, reference), the frontal one first."""
        return [(f"images[{place}]", value) for place, value in enumerate(self.images)]

    def faults(self) -> Iterator[Fault]:
        """What is missing, or does not go together."""
        yield from super().faults()
        if not self.description:
            use = "a sentence of at most 100 characters that says who or what it is"
            yield Fault("description", "missing", "is required.", use)
        if self.images and self.video:
            message = "an element is made from pictures or from a video."
            yield Fault("video", "pictures_or_video", message, "images or video alone", SOURCE)
        elif not self.video and len(self.images) < LEAST_PICTURES:
            given = len(self.images)
            message = f"an element requires 2 to 4 pictures, or one video; given are {given}."
            use = "a frontal picture and 1 to 3 others of the same person or thing"
            yield Fault("images", "too_few_pictures", message, use, SOURCE)
        if self.voice and self.video:
            message = "an element of a video has the voice of its video."
            yield Fault("voice", "voice_of_pictures", message, "images, or no voice", SOURCE)
        for place, tag in enumerate(self.tags):
            if tag not in TAGS:
                message = f"{tag[:40]!r} is no tag of Kling's."
                yield Fault(f"tags[{place}]", "tag_unknown", message, ", ".join(TAGS), SOURCE)


class CreateVoiceArguments(AssetArguments):
    """`kling_create_voice`: a sample of one voice."""

    sample: Annotated[
        Address,
        Field(
            description="5-30 s of one clear voice: URL or path of mp3, wav, mp4 or mov, or "
            "task_id of a kling-v2-6 video with sound."
        ),
    ] = ""

    @property
    def entry(self) -> AssetEntry:
        """The row of voices."""
        return _row("custom-voices")

    def faults(self) -> Iterator[Fault]:
        """What is missing."""
        yield from super().faults()
        if not self.sample:
            use = "an https URL, or the task_id of a kling-v2-6 video with sound"
            yield Fault("sample", "missing", "is required.", use)
        elif ending := _OTHER_SOUND.search(urlsplit(self.sample.strip()).path):
            message = f"Kling takes no {ending[0]} file."
            yield Fault("sample", "sample_type", message, "an mp3, wav, mp4 or mov", SOURCE)


class DeleteAssetArguments(AssetChanges):
    """`kling_delete_asset`: one of the account's own, by id or name."""

    kind: Kind = ""
    id: Annotated[
        str,
        BeforeValidator(normalize.identifier),
        Field(max_length=128),
        _TEXT,
        Field(description="Its id, or its exact name."),
    ] = ""
    confirm: Annotated[
        bool, Field(description="true once the person agreed, where the host cannot ask.")
    ] = False

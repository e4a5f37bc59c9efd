"""Elements and voices as a provider tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kling_mcp.providers.values import identifier, mapping, text, web_address
from kling_tools.products import ASSETS, AssetKind

__all__ = ["Asset", "read_asset", "read_library"]

MOST_TAGS = 8
MOST_IN_ONE_TASK = 16
NAME_LIMIT, DESCRIPTION_LIMIT = 60, 200
"""Characters of a name and of a description that are read; Kling takes 20 and 100."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One element or voice. `preview` is the address of its picture or its sample, `own` says that
    it is the account's and not Kling's, `of_video` that an element was made of a video, `voice` is
    the name of an element's voice."""

    kind: AssetKind
    id: str
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    preview: str = ""
    voice: str = ""
    own: bool = True
    of_video: bool = False
    deleted: bool = False


def read_asset(data: Mapping[str, Any]) -> Asset | None:
    """The element or voice that a task made, from its result of the old standard or its outputs of
    the new one; None for any other task."""
    return next(_assets(data), None)


def read_library(document: Mapping[str, Any], *, own: bool) -> tuple[list[Asset], int]:
    """The assets of a page of a list, each one once, without unreadable entries; and the number of
    entries, those without an asset too."""
    data = document.get("data")
    tasks = [mapping(item) for item in data] if isinstance(data, list) else []
    found = {asset.id: asset for task in tasks for asset in _assets(task)}
    return [replace(asset, own=own) for asset in found.values()], len(tasks)


def _assets(task: Mapping[str, Any]) -> Iterator[Asset]:
    result = mapping(task.get("task_result"))
    for row in ASSETS.values():
        for item in _items(result.get(f"{row.kind}s")):
            if found := identifier(item.get(f"{row.kind}_id")):
                yield _of_old_standard(row.kind, found, item)
    for item in _items(task.get("outputs")):
        kind, found = item.get("type"), identifier(item.get("id"))
        if found and (kind == "element" or kind == "voice"):
            yield _of_new_standard(kind, found, item)


def _of_old_standard(kind: AssetKind, found: str, item: Mapping[str, Any]) -> Asset:
    pictures = mapping(item.get("element_image_list"))
    voice = mapping(item.get("element_voice_info"))
    return Asset(
        kind,
        found,
        name=_words(item.get(f"{kind}_name"), NAME_LIMIT),
        description=_words(item.get("element_description"), DESCRIPTION_LIMIT),
        tags=_tags(item.get("tag_list")),
        preview=web_address(item.get("trial_url")) or web_address(pictures.get("frontal_image")),
        voice=_words(voice.get("voice_name"), NAME_LIMIT),
        own=text(item.get("owned_by")) != "kling",
        of_video=item.get("reference_type") == "video_refer",
        deleted=item.get("status") == "deleted",
    )


def _of_new_standard(kind: AssetKind, found: str, item: Mapping[str, Any]) -> Asset:
    parts = _items(item.get("references")) or _items(item.get("materials"))
    front = next((part for part in parts if part.get("role") == "frontal"), {})
    return Asset(
        kind,
        found,
        name=_words(item.get("name"), NAME_LIMIT),
        description=_words(item.get("description"), DESCRIPTION_LIMIT),
        tags=_tags(item.get("tags")),
        preview=web_address(item.get("url")) or web_address(front.get("url")),
        own=text(item.get("owned_by")) != "kling",
        of_video=item.get("element_type") == "video_character_elements",
        deleted=item.get("status") == "deleted",
    )


def _items(value: Any) -> Sequence[Mapping[str, Any]]:
    return [mapping(item) for item in value[:MOST_IN_ONE_TASK]] if isinstance(value, list) else []


def _tags(value: Any) -> tuple[str, ...]:
    names = (_words(tag.get("name"), NAME_LIMIT) for tag in _items(value)[:MOST_TAGS])
    return tuple(filter(None, names))


def _words(value: Any, limit: int) -> str:
    """A text of one line, at most `limit` characters; also from strangers, so only what prints."""
    line = " ".join(text(value)[: 4 * limit].split())
    return "".join(letter for letter in line if letter.isprintable())[:limit]

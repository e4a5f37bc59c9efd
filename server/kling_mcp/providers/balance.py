"""The resource packs of an account, from `GET /account/costs` of Kling's own API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kling_mcp.providers.dialects import mapping, number, seconds, text
from kling_tools.errors import quote_provider

__all__ = ["ResourcePack", "read_packs", "units_left"]

USABLE = ("online", "toBeOnline")
"""The states of packs that can be used now or later; other packs are expired or used up."""


MOST_PACKS = 100
"""The most packs of an account that are read."""

MOST_UNITS = 1e9
"""The most units that a pack can hold."""


@dataclass(frozen=True, slots=True)
class ResourcePack:
    """One pack: its `total` and `remaining` units (None if unknown), its end in seconds since the
    epoch, and its state in Kling's words (`toBeOnline online expired runOut`)."""

    name: str
    total: float | None
    remaining: float | None
    ends_at: float | None
    status: str


def read_packs(document: Mapping[str, Any]) -> list[ResourcePack]:
    """The packs in an answer; empty without any."""
    listed = mapping(document.get("data")).get("resource_pack_subscribe_infos")
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        return []
    return [_pack(mapping(item)) for item in listed[:MOST_PACKS]]


def units_left(packs: Sequence[ResourcePack]) -> float:
    """The units in all packs that can be used now or later; 0 without packs."""
    return sum(pack.remaining or 0 for pack in packs if pack.status in USABLE)


def _pack(fields: Mapping[str, Any]) -> ResourcePack:
    return ResourcePack(
        name=quote_provider(text(fields.get("resource_pack_name")))[:80],
        total=number(fields.get("total_quantity"), MOST_UNITS),
        remaining=number(fields.get("remaining_quantity"), MOST_UNITS),
        ends_at=seconds(fields.get("invalid_time")),
        status=quote_provider(text(fields.get("status")))[:20],
    )

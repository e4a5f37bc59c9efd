"""What is left of an account, as `GET /account/costs` of Kling's own API tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kling_mcp.providers.dialects import mapping, number, seconds, text
from kling_tools.errors import quote_provider

__all__ = ["ResourcePack", "read_packs", "units_left"]

USABLE = ("online", "toBeOnline")
"""States of a pack that can be used now or later; others are expired or used up."""


MOST_PACKS = 100
"""Packs of an account that are read."""

MOST_UNITS = 1e9
"""Units of a pack that can be true."""


@dataclass(frozen=True, slots=True)
class ResourcePack:
    """One pack: units bought and left (None when it does not say), its end in seconds since the
    epoch, and its state in Kling's words (`toBeOnline online expired runOut`)."""

    name: str
    total: float | None
    remaining: float | None
    ends_at: float | None
    status: str


def read_packs(document: Mapping[str, Any]) -> list[ResourcePack]:
    """The packs of an answer; none when it names none."""
    listed = mapping(document.get("data")).get("resource_pack_subscribe_infos")
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        return []
    return [_pack(mapping(item)) for item in listed[:MOST_PACKS]]


def units_left(packs: Sequence[ResourcePack]) -> float:
    """Units in the packs that can be used now; 0 when there is none."""
    return sum(pack.remaining or 0 for pack in packs if pack.status in USABLE)


def _pack(fields: Mapping[str, Any]) -> ResourcePack:
    return ResourcePack(
        name=quote_provider(text(fields.get("resource_pack_name")))[:80],
        total=number(fields.get("total_quantity"), MOST_UNITS),
        remaining=number(fields.get("remaining_quantity"), MOST_UNITS),
        ends_at=seconds(fields.get("invalid_time")),
        status=quote_provider(text(fields.get("status")))[:20],
    )

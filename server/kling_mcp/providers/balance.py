"""An account at Kling: its resource packs (`GET /account/costs`), and what they and its balance
paid (`POST /account/billing/package` and `/account/billing/balance`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kling_mcp.providers.error_codes import unreadable
from kling_mcp.providers.values import currency, mapping, number, seconds, text
from kling_tools.errors import quote_provider

__all__ = [
    "Deduction",
    "ResourcePack",
    "Source",
    "read_deductions",
    "read_packs",
    "units_left",
]

Source = Literal["package", "balance"]
"""What pays a task: a resource pack, or the account's balance."""

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

    @property
    def of_pictures(self) -> bool:
        """Whether it pays pictures, by its name (`Trial-Image-1000Units-…`): its units are others
        than those of videos."""
        return "image" in self.name.lower()


def read_packs(document: Mapping[str, Any]) -> list[ResourcePack]:
    """The packs in an answer; empty without any."""
    listed = mapping(document.get("data")).get("resource_pack_subscribe_infos")
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        return []
    return [_pack(mapping(item)) for item in listed[:MOST_PACKS]]


def units_left(packs: Sequence[ResourcePack]) -> float | None:
    """The units for videos in all packs that can be used now or later; None without such packs, as
    the account pays from its balance."""
    of_videos = [pack for pack in packs if not pack.of_pictures]
    usable = (pack for pack in of_videos if pack.status in USABLE)
    return sum(pack.remaining or 0 for pack in usable) if of_videos else None


def _pack(fields: Mapping[str, Any]) -> ResourcePack:
    return ResourcePack(
        name=quote_provider(text(fields.get("resource_pack_name")))[:80],
        total=number(fields.get("total_quantity"), MOST_UNITS),
        remaining=number(fields.get("remaining_quantity"), MOST_UNITS),
        ends_at=seconds(fields.get("invalid_time")),
        status=quote_provider(text(fields.get("status")))[:20],
    )


@dataclass(frozen=True, slots=True)
class Deduction:
    """What a pack (`units`) or the balance (`money` of `currency`) paid for a task, by which API
    key, and when (seconds since the epoch). `left` is what the balance had afterwards."""

    task_id: str
    key_name: str
    model_name: str
    at: float | None
    units: float | None = None
    money: float | None = None
    currency: str = ""
    left: float | None = None


def read_deductions(
    document: Mapping[str, Any], source: Source, provider: str
) -> tuple[list[Deduction], str]:
    """A page of the bill, and the cursor of the next page; empty on the last one. Entries without a
    task or an amount are left out. Raises ProviderDown for an answer that is no bill."""
    data = mapping(document.get("data"))
    result = data.get("result")
    listed = result if isinstance(result, list) else mapping(result).get("detail")
    if not isinstance(listed, list):
        raise unreadable(provider, "it is no list of charges")
    read = [_deduction(mapping(item), source) for item in listed]
    found = [item for item in read if item.task_id and (item.units or item.money)]
    return found, text(data.get("next_cursor")) if data.get("has_more") is True else ""


def _deduction(fields: Mapping[str, Any], source: Source) -> Deduction:
    amount = number(fields.get("deduction_amount"), MOST_UNITS)
    by_balance = source == "balance"
    return Deduction(
        task_id=text(fields.get("task_id"))[:128],
        key_name=quote_provider(text(fields.get("api_key_name")))[:80],
        model_name=quote_provider(text(fields.get("model_name")))[:80],
        at=seconds(fields.get("deduction_time")),
        units=None if by_balance else amount,
        money=amount if by_balance else None,
        currency=currency(fields.get("currency")) if by_balance else "",
        left=number(fields.get("balance_after_deduction"), MOST_UNITS) if by_balance else None,
    )

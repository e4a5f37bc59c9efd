"""What tells two requests apart that were given the same external_task_id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kling_mcp.ledger.records import Record, Wish

__all__ = ["differences"]

SHOWN = 40
"""Characters of a value."""

NAMED = 4
"""Fields at most; how many more there are is said."""


def differences(used: Record, wish: Wish) -> str:
    """The fields in which they differ, each with its value then and now, in one line."""
    then = {**_named(used.request), "route": used.product, "take": used.take}
    now = {**_named(wish.request), "route": wish.product, "take": wish.take}
    apart = [
        f"{name} was {_shown(then.get(name))}, is {_shown(now.get(name))}"
        for name in dict.fromkeys((*now, *then))
        if then.get(name) != now.get(name)
    ]
    if not apart:
        return "the content of a picture"
    more = f" and {len(apart) - NAMED} more" if len(apart) > NAMED else ""
    return "; ".join(apart[:NAMED]) + more


def _named(request: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name != "external_task_id"}


def _shown(value: Any) -> str:
    if value is None:
        return "not given"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"

"""What hosts put into a call that nobody asked for: blanks for optionals, names of their own.

Some hosts fill in every optional of a schema (metatool-ai/metamcp#365), others send their own
bookkeeping along (n8n-io/n8n#21500; Cursor's `random_string` for a tool without arguments).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["ADDED_BY_HOSTS", "REQUIRED_LISTS", "ZERO_IS_A_VALUE", "given"]

ADDED_BY_HOSTS = frozenset(
    {"toolCallId", "tool", "sessionId", "action", "chatInput", "random_string"}
)
"""Arguments that are passed over. None is near a name of ours, so no slip of the pen is among
them."""

ZERO_IS_A_VALUE = frozenset({"cfg_scale", "timeout_s"})
"""Where 0 is within Kling's or our own limits: the weakest hold on the prompt (whether the model
takes it is for the review to say), and a look without waiting. Every other 0 is a blank."""

REQUIRED_LISTS = frozenset({"image_list", "task_ids"})
"""No optionals: the fault names the entry that holds nothing."""


def given(raw: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The arguments that say something. `names` are those of the call; names that nobody knows
    stay, so that they are refused."""
    return {
        name: _without_blanks(value) if name in names else value
        for name, value in raw.items()
        if name not in ADDED_BY_HOSTS
        and value is not None
        and not (name in names and _is_left_out(name, value))
    }


def _is_left_out(name: str, value: Any) -> bool:
    if name in ZERO_IS_A_VALUE and value == 0 and value is not False:
        return False
    if name in REQUIRED_LISTS and isinstance(value, list):
        return False
    return value is False or _is_blank(value)


def _is_blank(value: Any) -> bool:
    """Null, an empty text, 0, and lists and objects of nothing else. False within an object is a
    value: `{"enabled": false}` is Kling's own word for no watermark."""
    if isinstance(value, dict):
        return all(_is_blank(part) for part in value.values())
    if isinstance(value, list):
        return all(_is_blank(part) for part in value)
    return value in (None, "", 0) and value is not False


def _without_blanks(value: Any) -> Any:
    """The value without optionals of nested objects that hold nothing; 0 is a place or a setting
    there. Entries of a list stay: their numbers are named in prompts."""
    if isinstance(value, list):
        return [_without_blanks(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _without_blanks(part)
        for name, part in value.items()
        if part not in (None, "", [], {})
    }

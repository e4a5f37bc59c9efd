"""Pages with a cursor, of tasks and of charges: a window of time, a place in it, and a limit."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kling_sandbox.answers.refusals import refused
from kling_sandbox.rules.body_fields import Fields

__all__ = ["Page"]

_MOST = 500
_DEFAULT = 100


@dataclass(frozen=True, slots=True)
class Page:
    """The items from `since` to `until` (Unix seconds), beginning with number `at`."""

    since: float
    until: float
    at: int = 0

    @classmethod
    def asked(cls, fields: Fields, now: float, window_s: float | None) -> Page:
        """The page that a body asks for. A cursor overrides its times, which are required when
        there is no `window_s` (seconds until now) in place of them. Raises `Refusal`."""
        if "cursor" in fields:
            try:
                page = cls(**json.loads(base64.urlsafe_b64decode(str(fields.value("cursor")))))
                return cls(float(page.since), float(page.until), max(0, int(page.at)))
            except (ValueError, TypeError):
                raise fields.refuse("cursor") from None
        if window_s is None and not ("start_time" in fields and "end_time" in fields):
            raise refused("time_missing")
        since = _seconds(fields, "start_time", now - (window_s or 0))
        return cls(since, _seconds(fields, "end_time", now))

    def of(self, items: Sequence[Any], fields: Fields) -> tuple[Sequence[Any], str]:
        """The page's items, up to the body's `limit`, and the cursor of the next page; empty after
        the last one. Raises `Refusal`."""
        limit = _DEFAULT if fields.value("limit") is None else fields.whole("limit")
        if not 1 <= limit <= _MOST:
            raise fields.refuse("limit")
        end = self.at + limit
        if end >= len(items):
            return items[self.at :], ""
        text = json.dumps(asdict(replace(self, at=end)))
        return items[self.at : end], base64.urlsafe_b64encode(text.encode()).decode()


def _seconds(fields: Fields, name: str, default: float) -> float:
    """A time in ms, a number or digits, as Unix seconds."""
    value = fields.value(name)
    if value in (None, ""):
        return default
    digits = str(value)
    if isinstance(value, bool) or not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise fields.refuse(name)
    return int(digits) / 1000

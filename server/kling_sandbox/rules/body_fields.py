"""Reads the fields of a request body as strictly as Kling. Absent and null are the same."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from kling_sandbox.answers.refusals import Refusal, invalid_value, refused
from kling_sandbox.intake import Lifted

__all__ = ["Fields"]


class Fields:
    """One JSON object of a request. Each method raises `Refusal` for a value of a wrong type.

    `prefix` is the object's path, for the texts of refusals. Unknown fields are ignored [live].
    """

    def __init__(self, values: dict[str, Any], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def __contains__(self, name: str) -> bool:
        """Whether the field is present, and neither null nor empty."""
        return self._values.get(name) not in (None, "", [], {})

    def value(self, name: str) -> Any:
        """The raw value; None when absent."""
        return self._values.get(name)

    def refuse(self, name: str) -> Refusal:
        """The refusal of that field's value."""
        return invalid_value(self._prefix + name, self._values.get(name))

    def text(self, name: str, limit: int) -> str:
        """A string of at most `limit` characters; empty when absent."""
        value = self.value(name)
        if value is None:
            return ""
        if isinstance(value, Lifted) or (isinstance(value, str) and len(value) > limit):
            raise refused("text_too_long", field=self._prefix + name, limit=limit)
        if not isinstance(value, str) or not _encodable(value):
            raise self.refuse(name)
        return value

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """One of the `allowed` strings; the default when absent or empty."""
        value = self.value(name)
        if value in (None, ""):
            return default
        if not isinstance(value, str) or value not in allowed:
            raise self.refuse(name)
        return value

    def flag(self, name: str) -> bool:
        """A JSON boolean, False when absent. The string "true" is refused."""
        value = self.value(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.refuse(name)
        return value

    def seconds(self, name: str, allowed: Collection[int], default: int | None = None) -> int:
        """A duration: a string of digits. A JSON number is refused [live]."""
        value = self.value(name)
        if value in (None, "") and default is not None:
            return default
        if not isinstance(value, str) or not (value.isascii() and value.isdigit()):
            raise self.refuse(name)
        if len(value) > 3 or str(int(value)) != value or int(value) not in allowed:
            raise self.refuse(name)
        return int(value)

    def number(self, name: str, least: float, most: float) -> float:
        """A JSON number within bounds, 0 when absent."""
        value = self.value(name)
        if value is None:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(name)
        if not least <= value <= most:
            raise self.refuse(name)
        return float(value)

    def whole(self, name: str) -> int:
        """A JSON integer; it is required."""
        value = self.value(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(name)
        return value

    def object(self, name: str, prefix: str | None = None) -> Fields | None:
        """A nested object, None when absent. `prefix` replaces its path in refusals."""
        value = self.value(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refuse(name)
        return Fields(value, f"{self._prefix}{name}." if prefix is None else prefix)

    def objects(self, name: str, least: int, most: int) -> list[Fields]:
        """A list of `least` to `most` objects; empty when absent."""
        value = self.value(name)
        if value is None or value == []:
            return []
        if not isinstance(value, list):
            raise self.refuse(name)
        if not least <= len(value) <= most:
            raise refused("too_many", field=self._prefix + name, least=least, most=most)
        items = []
        for item in value:
            if not isinstance(item, dict):
                raise self.refuse(name)
            items.append(Fields(item, f"{self._prefix}{name}."))
        return items


def _encodable(text: str) -> bool:
    """Whether the text can be encoded in UTF-8. JSON escapes can name half a character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True

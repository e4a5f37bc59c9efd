"""The reason why a picture cannot be used, before its field is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kling_tools.faults import Fault

__all__ = ["FORMS", "SOURCE", "Refusal", "short"]

SOURCE = "Kling image2video page"
"""The source of Kling's own rules about pictures."""

FORMS = "an https URL, a path, a file:// URL, a data: URI or raw base64 of a JPEG or PNG"
"""The forms of a picture that a request may hold."""

_HEAD_CHARS, _TAIL_CHARS = 36, 23


class Refusal(Exception):
    """A picture cannot be used; `fault` gives the reason for a field."""

    def __init__(
        self,
        rule: str,
        message: str,
        use: str = "",
        source: str = "",
        *,
        choices: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self._fault = Fault("", rule, message, use, source, tuple(choices))

    def fault(self, field: str) -> Fault:
        """The reason as a fault of `field`."""
        return replace(self._fault, field=field)


def short(text: str) -> str:
    """The text, safe to show: printable, with both ends, at most 60 characters."""
    if len(text) > _HEAD_CHARS + 1 + _TAIL_CHARS:
        text = f"{text[:_HEAD_CHARS]}…{text[-_TAIL_CHARS:]}"
    return "".join(ch if ch.isprintable() else "?" for ch in text)

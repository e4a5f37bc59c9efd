"""Why a picture cannot be used, before it is known which field asked for it."""

from __future__ import annotations

from dataclasses import replace

from kling_tools.faults import Fault

__all__ = ["FORMS", "SOURCE", "Refusal", "short"]

SOURCE = "Kling image2video page"
"""Where Kling's own rules about pictures stand."""

FORMS = "an https URL, a path, a file:// URL, a data: URI or raw base64 of a JPEG or PNG"
"""The forms in which a picture may be given."""

_HEAD_CHARS, _TAIL_CHARS = 36, 23


class Refusal(Exception):
    """One picture cannot be used; `fault` says why, for a field still to be named."""

    def __init__(self, rule: str, message: str, use: str = "", source: str = "") -> None:
        super().__init__(message)
        self._fault = Fault("", rule, message, use, source)

    def fault(self, field: str) -> Fault:
        """The reason as a fault of `field`."""
        return replace(self._fault, field=field)


def short(text: str) -> str:
    """`text` made safe to show: printable, at most 60 characters, both ends kept."""
    if len(text) > _HEAD_CHARS + 1 + _TAIL_CHARS:
        text = f"{text[:_HEAD_CHARS]}…{text[-_TAIL_CHARS:]}"
    return "".join(ch if ch.isprintable() else "?" for ch in text)

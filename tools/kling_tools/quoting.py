"""Makes a provider's words safe to quote: one short line in which every character is visible.

A provider's message reaches an assistant, which reads everything in it. Instructions can hide in
what a person does not see on a screen (terminal colours, writing directions, invisible letters),
so these are removed. Quotation marks become apostrophes, so that the quote cannot end early.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = [
    "PROVIDER_TEXT_LIMIT",
    "clipped",
    "counted",
    "listed_shots",
    "quote_provider",
    "size_text",
    "spans",
    "token",
]

PROVIDER_TEXT_LIMIT = 200
"""Characters of a provider's message that may reach an agent."""

TOKEN_LIMIT = 64
"""Characters of a provider's code or request id."""

_READ_LIMIT = 4000
"""Characters that are read: a message may be megabytes long."""

_TERMINAL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]P^_X]|[\x9d\x90\x9e\x9f\x98])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
"""Escape sequences of ECMA-48: colours and cursor, titles and links, all others."""

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0000-\U000e0fff]"
)
"""Letters and marks that show nothing and are not in Unicode's category Cf (format)."""

_MARKS = str.maketrans(dict.fromkeys('"\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\uff02', "'"))

_NO_TOKEN = re.compile(r"[^A-Za-z0-9._:-]+")


def quote_provider(text: str) -> str:
    """The text, safe to put between quotation marks; at most PROVIDER_TEXT_LIMIT characters."""
    plain = _INVISIBLE.sub("", _TERMINAL.sub("", text[:_READ_LIMIT]))
    shown = "".join(_shown(character) for character in plain)
    line = " ".join(shown.translate(_MARKS).split())
    return clipped(line, PROVIDER_TEXT_LIMIT)


def clipped(text: str, limit: int) -> str:
    """The text; its beginning and `…` where it has more than `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def counted(number: float, one: str, several: str = "") -> str:
    """A number with its noun: `1 task`, `2 tasks`, `1.5 units`. `several` is a plural without a
    plain `s`."""
    shown = f"{number}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {one if shown == '1' else several or one + 's'}"


def listed_shots(numbers: Sequence[int]) -> str:
    """The shots with these ascending numbers: `shot 3`, `shots 1-4, 7`."""
    return f"shot{'s' if len(numbers) > 1 else ''} {spans(numbers)}"


def spans(numbers: Sequence[int]) -> str:
    """Ascending numbers, shortly: `3`, `1-4, 7`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join("-".join(map(str, span)) for span in found)


def size_text(count: int) -> str:
    """So many bytes in kB or MB: `43 kB`, `2.4 MB`."""
    return f"{count / 1e6:.1f} MB" if count >= 950_000 else f"{max(1, round(count / 1e3))} kB"


def token(text: str) -> str:
    """The code or id as one word of ASCII; at most TOKEN_LIMIT characters."""
    return _NO_TOKEN.sub("_", text[:TOKEN_LIMIT])


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return "" if unicodedata.category(character) == "Cf" else " "

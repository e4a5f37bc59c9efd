"""Files whose names look like the one that was asked for, below a folder that may be read.

macOS writes U+202F before "PM" and takes accents apart; whoever types the name does neither.
"""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from kling_mcp.images.file_type import named_like

__all__ = ["in_plain_signs", "nearest_name", "same_looking"]

ENTRIES = 5_000
"""Of one folder, as many as are looked at."""

NEAR = 0.6
"""How much of two names must agree, as `difflib` counts it."""


def same_looking(root: Path, asked: Path) -> Path | None:
    """The one path that differs from `asked` only in the kind of its spaces and in how its accents
    are composed; both lie below the root. None when there is none, or more than one."""
    found = root
    for part in asked.relative_to(root).parts:
        if os.path.lexists(found / part):
            found /= part
            continue
        like = [name for name in _names(found) if in_plain_signs(name) == in_plain_signs(part)]
        if len(like) != 1:
            return None
        found /= like[0]
    return found


def nearest_name(folder: Path, name: str) -> str | None:
    """The name of the picture there that is most like this one; None when none is."""
    pictures = {in_plain_signs(n).casefold(): n for n in _names(folder) if named_like(n)}
    near = difflib.get_close_matches(in_plain_signs(name).casefold(), pictures, n=1, cutoff=NEAR)
    return pictures[near[0]] if near else None


def in_plain_signs(text: str) -> str:
    """The text with accents composed and every kind of space as the usual one."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(" " if unicodedata.category(sign) == "Zs" else sign for sign in composed)


def _names(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in islice(entries, ENTRIES))
    except OSError:
        return

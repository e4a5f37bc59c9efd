"""File names for videos: readable, and valid on every common file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

__all__ = ["NAME_LIMIT_BYTES", "default_name", "name_fault", "numbered"]

NAME_LIMIT_BYTES = 200
"""UTF-8 bytes of a file name; below the usual 255 so that a counter or a part mark still fits."""

_SLUG_LIMIT = 40
_SLUG_LIMIT_BYTES = 100
_TASK_ID_LIMIT = 64
_REFERENCE = re.compile(r"<<<\w*>>>")
_KEPT_CATEGORIES = frozenset("LNM")
_REFUSED_CHARACTERS = frozenset('<>:"|?*\\')
_REFUSED_CATEGORIES = frozenset(("Cc", "Cs", "Zl", "Zp"))
_WRITING_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [port + digit for port in ("com", "lpt") for digit in "0123456789¹²³"]
)


def default_name(prompt: str, task_id: str, index: int = 0) -> str:
    """A name from the prompt's first words and the task's id, ending in `.mp4`.

    `index` counts the videos of one task from 0; from 1 on it stands in the name.
    """
    clip = f"-clip{index + 1}" if index else ""
    return f"{_slug(prompt) or 'kling'}-{_identifier(task_id) or 'video'}{clip}.mp4"


def _slug(prompt: str) -> str:
    """The first words in lower case, joined by hyphens; letters of every script are kept."""
    text = unicodedata.normalize("NFKC", _REFERENCE.sub(" ", prompt[:1000])).lower()
    letters = "".join(ch if unicodedata.category(ch)[0] in _KEPT_CATEGORIES else " " for ch in text)
    slug = ""
    for word in letters.split():
        longer = f"{slug}-{word}" if slug else _shortened(word)
        if len(longer) > _SLUG_LIMIT or len(longer.encode()) > _SLUG_LIMIT_BYTES:
            break
        slug = longer
    return slug


def _shortened(word: str) -> str:
    """The word within the limits; scripts without spaces make one word of a whole sentence."""
    return word[:_SLUG_LIMIT].encode()[:_SLUG_LIMIT_BYTES].decode(errors="ignore")


def _identifier(task_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", task_id)[:_TASK_ID_LIMIT].strip("-")


def numbered(name: str) -> Iterator[str]:
    """The name itself, then `name-2`, `name-3` … with the suffix kept at the end."""
    yield name
    stem, dot, suffix = name.rpartition(".")
    for number in range(2, 10_000):
        yield f"{stem}-{number}{dot}{suffix}"


def name_fault(name: str) -> str | None:
    """What makes a file name unusable on some common system, as the rest of "the name …".

    None when nothing does. Windows' rules hold everywhere, because folders are copied and synced.
    """
    for ch in name:
        if ch in _REFUSED_CHARACTERS:
            return f"has the character {ch}, which Windows refuses"
        if unicodedata.category(ch) in _REFUSED_CATEGORIES or ch in _WRITING_DIRECTION:
            return f"has the control character U+{ord(ch):04X}"
    if len(name.encode()) > NAME_LIMIT_BYTES:
        return f"is longer than {NAME_LIMIT_BYTES} bytes"
    if name.split(".")[0].rstrip(" ").lower() in _DEVICES:
        return "is the name of a device on Windows"
    return None

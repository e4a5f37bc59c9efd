"""What the terminal at an output can show."""

from __future__ import annotations

import os
from typing import TextIO

__all__ = ["shows_colours", "shows_unicode"]


def shows_colours(stream: TextIO) -> bool:
    """Whether colours are wanted there: a terminal, no NO_COLOR (no-color.org), not `dumb`."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shows_unicode(stream: TextIO) -> bool:
    """Whether signs beyond ASCII can be written there (not to a Windows console of old)."""
    try:
        "✓✗·".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

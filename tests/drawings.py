"""The drawings of states in docstrings, read: a line for each arrow, `start ──method──> end`."""

import re
from typing import NamedTuple

ARROW = re.compile(r"^ {4}(\w+) +──([\w.]+?)─*> (\w+)(?: +(\S.*))?$", re.MULTILINE)

DIES = "..."
"""In the place of a method: no code of ours, as a process dies."""


class Arrow(NamedTuple):
    """One arrow: `by` which method, and the `words` behind it."""

    start: str
    by: str
    end: str
    words: str


def drawn(docstring: str | None) -> list[Arrow]:
    """The arrows of the drawing in a docstring, from above."""
    return [Arrow(*match.groups("")) for match in ARROW.finditer(docstring or "")]


def states(arrows: list[Arrow]) -> set[str]:
    """Every state that is drawn."""
    return {state for arrow in arrows for state in (arrow.start, arrow.end)}

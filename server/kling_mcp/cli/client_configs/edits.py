"""Edits of a configuration's text, and the error for a text that cannot be edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Edit", "Format", "ListItem", "NotEditable", "Put"]


@dataclass(frozen=True, slots=True)
class Put:
    """Sets the value at a path of keys."""

    path: tuple[str, ...]
    value: Any


@dataclass(frozen=True, slots=True)
class ListItem:
    """Adds an object to the list at a path, or replaces the one with the same `id`."""

    path: tuple[str, ...]
    value: Mapping[str, Any]


Edit = Put | ListItem


class NotEditable(Exception):
    """A text cannot be changed safely: the reason and the line (from 1; 0 when unknown)."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)


@dataclass(frozen=True, slots=True)
class Format:
    """How a text is changed.

    `put` returns the text with an edit made, `take` with an edit undone (unchanged when the edit is
    not there), and `read` the text's content. All raise NotEditable.
    """

    put: Callable[[str, Edit], str]
    take: Callable[[str, Edit], str]
    read: Callable[[str], Mapping[str, Any]]

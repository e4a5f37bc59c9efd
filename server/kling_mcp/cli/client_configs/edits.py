"""The edits of a configuration's text: what is put where, and why a text cannot be edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Edit", "Format", "ListItem", "NotEditable", "Put"]


@dataclass(frozen=True, slots=True)
class Put:
    """The value at a path of keys; whatever was there is replaced."""

    path: tuple[str, ...]
    value: Any


@dataclass(frozen=True, slots=True)
class ListItem:
    """An object in the list at a path; one with the same `id` is replaced."""

    path: tuple[str, ...]
    value: Mapping[str, Any]


Edit = Put | ListItem


class NotEditable(Exception):
    """A text that cannot be changed safely: why, and in which line (from 1; 0 when unknown)."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)


@dataclass(frozen=True, slots=True)
class Format:
    """How a text is changed.

    `put` and `take` give the text with an edit made or undone (an edit that is not there leaves
    the text as it is), `read` what a text says; all raise NotEditable.
    """

    put: Callable[[str, Edit], str]
    take: Callable[[str, Edit], str]
    read: Callable[[str], Mapping[str, Any]]

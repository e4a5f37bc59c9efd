"""A parser of JSON with comments and trailing commas, into nodes with positions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from kling_mcp.cli.client_configs.edits import NotEditable

__all__ = ["BLANK", "Member", "Node", "parse"]

BLANK = re.compile(r"(?:[ \t\r\n\ufeff]|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
"""Spaces and comments."""

_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_WORD = re.compile(r"[-+.\w]+")
DEPTH = 200


@dataclass(slots=True)
class Node:
    """A value and its position in the text; `end` is after its last character. An object or a list
    has `members`; `comma_at_end` is True when a comma follows the last one."""

    start: int
    end: int
    kind: str
    value: Any = None
    members: list[Member] = field(default_factory=list)
    comma_at_end: bool = False

    def python(self) -> Any:
        """The value without comments. Of a repeated key, the last value counts."""
        if self.kind == "object":
            return {member.key: member.node.python() for member in self.members}
        if self.kind == "list":
            return [member.node.python() for member in self.members]
        return self.value

    def member(self, key: str) -> Member | None:
        """The object's member with this key (the last, when repeated); None when missing."""
        found = [member for member in self.members if member.key == key]
        return found[-1] if found else None


@dataclass(slots=True)
class Member:
    """An entry of an object or a list: where it starts (at its key), and its value."""

    start: int
    node: Node
    key: str = ""


def parse(text: str) -> Node | None:
    """The value of the text; None for an empty text. Raises NotEditable."""
    reader = _Reader(text)
    reader.blank()
    if reader.at == len(text):
        return None
    node = reader.value(0)
    reader.blank()
    if reader.at < len(text):
        raise reader.fault("there is text after the end")
    return node


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fault(self, reason: str) -> NotEditable:
        return NotEditable(reason, self.text.count("\n", 0, self.at) + 1)

    def blank(self) -> None:
        found = BLANK.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        if self.text.startswith("/*", self.at):
            raise self.fault("a comment has no end")

    def value(self, depth: int) -> Node:
        if depth > DEPTH:
            raise self.fault("it is nested too deep")
        start = self.at
        opening = self.text[start : start + 1]
        if opening == "{":
            return self._container(Node(start, start, "object"), "}", depth)
        if opening == "[":
            return self._container(Node(start, start, "list"), "]", depth)
        if opening == '"':
            said = self._string()
            return Node(start, self.at, "scalar", said)
        word = _WORD.match(self.text, start)
        try:
            found = json.loads(word.group() if word else "")
        except ValueError:
            raise self.fault("a value is expected here") from None
        assert word is not None
        self.at = word.end()
        return Node(start, self.at, "scalar", found)

    def _container(self, node: Node, closing: str, depth: int) -> Node:
        self.at += 1
        self.blank()
        while not self.text.startswith(closing, self.at):
            if node.members and not node.comma_at_end:
                raise self.fault(f"a comma or {closing} is expected here")
            node.members.append(self._member(node.kind, depth))
            self.blank()
            node.comma_at_end = self.text.startswith(",", self.at)
            if node.comma_at_end:
                self.at += 1
                self.blank()
        self.at += 1
        node.end = self.at
        return node

    def _member(self, kind: str, depth: int) -> Member:
        start, key = self.at, ""
        if kind == "object":
            if not self.text.startswith('"', self.at):
                raise self.fault("a name in quotation marks is expected here")
            key = self._string()
            self.blank()
            if not self.text.startswith(":", self.at):
                raise self.fault("a colon is expected here")
            self.at += 1
            self.blank()
        return Member(start, self.value(depth + 1), key)

    def _string(self) -> str:
        found = _STRING.match(self.text, self.at)
        try:
            said = json.loads(found.group() if found else "")
        except ValueError:
            raise self.fault("a string has no end, or cannot be read") from None
        assert found is not None
        self.at = found.end()
        return str(said)

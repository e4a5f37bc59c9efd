"""Edits of JSON with comments and trailing commas, by its nodes with their positions. All bytes
outside the edited value stay as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["JSONC", "Edit", "Format", "ListItem", "Node", "NotEditable", "Put", "parse"]


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


def _read(text: str) -> Mapping[str, Any]:
    root = parse(text)
    if root is None:
        return {}
    if root.kind != "object":
        raise NotEditable("it is not an object", _line(text, root.start))
    found: dict[str, Any] = root.python()
    return found


def _put(text: str, edit: Edit) -> str:
    root = parse(text)
    style = _Style(text)
    if root is None:
        lead = text if not text or text.endswith("\n") else text + style.newline
        return lead + style.dumps(_nested(edit.path, _leaf(edit)), "") + style.newline
    node, rest = _descend(text, root, edit.path)
    if isinstance(edit, ListItem) and not rest:
        return _put_item(text, style, node, edit)
    if not rest and node.python() == edit.value:
        return text
    if not rest:
        indent = style.indent_of_line(node.start)
        return text[: node.start] + style.dumps(edit.value, indent) + text[node.end :]
    return _insert(text, style, node, rest[0], _nested(rest[1:], _leaf(edit)))


def _take(text: str, edit: Edit) -> str:
    root = parse(text)
    if root is None:
        return text
    path = edit.path if isinstance(edit, ListItem) else edit.path[:-1]
    node, rest = _descend(text, root, path)
    if rest:
        return text
    if isinstance(edit, ListItem):
        member = _item(node, edit)
        if member is not None and len(node.members) == 1:
            return _take(text, Put(edit.path, {}))
    else:
        member = node.member(edit.path[-1]) if node.kind == "object" else None
    return text if member is None else _without(text, node, member)


JSONC = Format(_put, _take, _read)
"""Also for `.json` files: people write comments into them, and clients accept those."""


def _leaf(edit: Edit) -> Any:
    return [edit.value] if isinstance(edit, ListItem) else edit.value


def _nested(path: tuple[str, ...], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _descend(text: str, node: Node, path: tuple[str, ...]) -> tuple[Node, tuple[str, ...]]:
    """The deepest existing node of the path, and the missing rest of the path."""
    for place, key in enumerate(path):
        if node.kind != "object":
            above = path[place - 1] if place else "the whole"
            raise NotEditable(f"{above} is not an object", _line(text, node.start))
        member = node.member(key)
        if member is None:
            return node, path[place:]
        node = member.node
    return node, ()


def _item(node: Node, edit: ListItem) -> Member | None:
    for member in node.members:
        value = member.node.python()
        if isinstance(value, dict) and value.get("id") == edit.value["id"]:
            return member
    return None


def _put_item(text: str, style: _Style, node: Node, edit: ListItem) -> str:
    if node.kind != "list":
        raise NotEditable(f"{edit.path[-1]} is not a list", _line(text, node.start))
    member = _item(node, edit)
    if member is None:
        return _insert(text, style, node, None, edit.value)
    if member.node.python() == edit.value:
        return text
    indent = style.indent_of_line(member.start)
    return text[: member.start] + style.dumps(edit.value, indent) + text[member.node.end :]


def _insert(text: str, style: _Style, node: Node, key: str | None, value: Any) -> str:
    """The text with a new last member of an object or a list."""
    close = node.end - 1
    inner = text[node.start + 1 : close]
    name = "" if key is None else json.dumps(key, ensure_ascii=False) + ": "
    last = node.members[-1].node.end if node.members else 0
    if node.members and "\n" not in inner and not node.comma_at_end:
        return f"{text[:last]}, {name}{json.dumps(value, ensure_ascii=False)}{text[last:]}"
    outer = style.indent_of_line(node.start)
    indent = style.member_indent(node) or outer + style.unit
    added = style.newline + indent + name + style.dumps(value, indent)
    if node.comma_at_end:
        added += ","
    kept = node.start + 1 + len(inner.rstrip())
    after = text[kept:close] if "\n" in text[kept:close] else style.newline + outer
    if node.members and not node.comma_at_end:
        return text[:last] + "," + text[last:kept] + added + after + text[close:]
    return text[:kept] + added + after + text[close:]


def _without(text: str, node: Node, member: Member) -> str:
    """The text without a member, and without a comment after it on its last line."""
    place = next(i for i, other in enumerate(node.members) if other is member)
    start, end = member.start, member.node.end
    is_last = place == len(node.members) - 1
    if not is_last or node.comma_at_end:
        end = _behind_comma(text, end)
    line_start = text.rfind("\n", 0, start) + 1
    alone = not text[line_start:start].strip()
    line_end = re.compile(r"[ \t]*(?://[^\r\n]*)?(?:\r?\n|$)").match(text, end)
    if alone and line_end:
        start, end = line_start, line_end.end()
    elif not is_last:
        end += len(text[end:]) - len(text[end:].lstrip(" \t"))
    if is_last and not node.comma_at_end and place:
        before = node.members[place - 1].node.end
        comma = _behind_comma(text, before) - 1
        between = text[comma + 1 : start]
        return text[:comma] + (between if between.strip() or alone else "") + text[end:]
    return text[:start] + text[end:]


def _behind_comma(text: str, at: int) -> int:
    found = BLANK.match(text, at)
    assert found is not None
    return found.end() + len(",")


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


class _Style:
    """How the text is laid out: its line ends and its indentation."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        found = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
        self.unit = found.group(1) if found else "  "
        if "\t" in self.unit:
            self.unit = "\t"
        elif len(self.unit) > 8:
            self.unit = "  "

    def dumps(self, value: Any, indent: str) -> str:
        """The value as indented JSON; `indent` precedes each line after the first."""
        lines = json.dumps(value, indent=self.unit, ensure_ascii=False).split("\n")
        return (self.newline + indent).join(lines)

    def indent_of_line(self, at: int) -> str:
        """The indentation of the line that contains a position."""
        start = self._text.rfind("\n", 0, at) + 1
        found = re.compile(r"[ \t]*").match(self._text, start)
        assert found is not None
        return found.group()

    def member_indent(self, node: Node) -> str:
        """The indentation of the last member that begins a line; empty when none does."""
        for member in reversed(node.members):
            start = self._text.rfind("\n", 0, member.start) + 1
            before = self._text[start : member.start]
            if start > node.start and not before.strip():
                return before
        return ""

"""Edits of JSON with comments. All bytes outside the edited value stay as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kling_mcp.cli.client_configs.edits import Edit, Format, ListItem, NotEditable, Put
from kling_mcp.cli.client_configs.jsonc_nodes import BLANK, Member, Node, parse

__all__ = ["JSONC"]


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

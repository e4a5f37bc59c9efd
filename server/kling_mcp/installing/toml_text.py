"""Changes in TOML, by tomlkit, which keeps comments and order."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, MutableMapping
from typing import Any

from kling_mcp.installing.edits import Edit, Format, NotEditable

__all__ = ["TOML"]


def _read(text: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise NotEditable(f"it is no TOML: {error}") from error


def _put(text: str, edit: Edit) -> str:
    """A new table comes to the end, so that nothing else has to be written anew."""
    import tomlkit

    table = _entry(edit)
    parent = _read(text)
    for key in edit.path[:-1]:
        parent = parent.get(key, {})
        if not isinstance(parent, Mapping):
            raise NotEditable(f"{key} is not a table")
    if parent.get(edit.path[-1]) == edit.value:
        return text
    if edit.path[-1] in parent:
        document = _parsed(text)
        _parent(document, edit.path)[edit.path[-1]] = table
        return tomlkit.dumps(document)
    newline = "\r\n" if "\r\n" in text else "\n"
    lead = text if not text or text.endswith("\n") else text + newline
    lines = [f"[{'.'.join(edit.path)}]", *tomlkit.dumps(table).rstrip().splitlines()]
    return lead + newline * bool(text) + newline.join(lines) + newline


def _take(text: str, edit: Edit) -> str:
    import tomlkit

    _read(text)
    document = _parsed(text)
    parent = _parent(document, edit.path)
    if edit.path[-1] not in parent:
        return text
    del parent[edit.path[-1]]
    return tomlkit.dumps(document)


def _entry(edit: Edit) -> Any:
    import tomlkit

    table = tomlkit.table()
    for key, value in edit.value.items():
        if isinstance(value, Mapping):
            inner = tomlkit.inline_table()
            inner.update(value)
            table[key] = inner
        else:
            table[key] = value
    return table


def _parsed(text: str) -> Any:
    import tomlkit

    try:
        return tomlkit.parse(text)
    except ValueError as error:
        raise NotEditable(f"it is no TOML: {error}") from error


def _parent(document: Any, path: tuple[str, ...]) -> MutableMapping[str, Any]:
    """The table above the last key; an empty one when it is not there."""
    node: MutableMapping[str, Any] = document
    for key in path[:-1]:
        inner = node.get(key, {})
        if not isinstance(inner, MutableMapping):
            raise NotEditable(f"{key} is not a table")
        node = inner
    return node


TOML = Format(_put, _take, _read)

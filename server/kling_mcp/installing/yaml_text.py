"""Changes in YAML: ruamel.yaml says where things stand, the text around them stays as it is."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from kling_mcp.installing.edits import Edit, Format, NotEditable

__all__ = ["YAML_TEXT"]

UNIT = "  "


def _read(text: str) -> Mapping[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        found = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise _fault(error) from error
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise NotEditable("it is not a mapping", 1)
    return found


def _put(text: str, edit: Edit) -> str:
    _read(text)
    root = _composed(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    if root is None:
        lead = text if not text or text.endswith("\n") else text + newline
        return lead + _block(_nested(edit.path, edit.value), "", newline)
    container, rest = _descend(text, root, edit.path[:-1])
    if rest:
        if container is not root or root.flow_style:
            raise NotEditable("it is written in braces", root.start_mark.line + 1)
        lead = text if text.endswith("\n") else text + newline
        return lead + _block(_nested((*rest, edit.path[-1]), edit.value), "", newline)
    if _value_at(text, edit.path) == edit.value:
        return text
    text = _take(text, edit)
    root = _composed(text)
    assert root is not None
    key_node, container = _above(root, edit.path[:-1])
    entry = {edit.path[-1]: dict(edit.value)}
    indent = " " * key_node.start_mark.column + UNIT
    if _is_empty(container):
        start, end = container.start_mark.index, container.end_mark.index
        before = text[: key_node.end_mark.index] + ":"
        after = text[max(end, len(before)) :] if start != end else text[len(before) :]
        head, _, tail = after.partition("\n")
        tail = tail if "\n" in after else ""
        return before + head.rstrip("\r") + newline + _block(entry, indent, newline) + tail
    if container.flow_style:
        at = container.start_mark.index + 1
        shown = json.dumps(entry, ensure_ascii=False)[1:-1]
        return f"{text[:at]}{shown}, {text[at:]}"
    indent = " " * container.value[0][0].start_mark.column
    at = text.index("\n", key_node.end_mark.index) + 1
    return text[:at] + _block(entry, indent, newline) + text[at:]


def _take(text: str, edit: Edit) -> str:
    root = _composed(text)
    if root is None:
        return text
    container, rest = _descend(text, root, edit.path[:-1])
    if rest or _is_empty(container):
        return text
    pairs = container.value
    place = next((i for i, (key, _) in enumerate(pairs) if key.value == edit.path[-1]), None)
    if place is None:
        return text
    key, value = pairs[place]
    if container.flow_style:
        following = pairs[place + 1][0] if place + 1 < len(pairs) else None
        start = (
            key.start_mark.index if following or not place else pairs[place - 1][1].end_mark.index
        )
        end = following.start_mark.index if following else value.end_mark.index
        return text[:start] + text[end:]
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    newline = text.find("\n", max(_end(value), key.end_mark.index))
    end = len(text) if newline < 0 else newline + 1
    if len(pairs) > 1:
        return text[:start] + text[end:]
    above, _ = _above(root, edit.path[:-1])
    colon = text.index(":", above.end_mark.index) + 1
    return text[:colon] + " {}" + text[colon:start] + text[end:]


YAML_TEXT = Format(_put, _take, _read)


def _value_at(text: str, path: tuple[str, ...]) -> Any:
    found: Any = _read(text)
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _composed(text: str) -> Any:
    """The tree of nodes; None for a document without content."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        root = YAML(pure=True).compose(io.StringIO(text, newline=""))
    except (YAMLError, ValueError, RecursionError) as error:
        raise _fault(error) from error
    return root if root is not None and root.id == "mapping" else None


def _descend(text: str, node: Any, path: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    for place, wanted in enumerate(path):
        found = [value for key, value in node.value if key.value == wanted]
        if not found:
            return node, path[place:]
        node = found[0]
        if node.id != "mapping" and not _is_empty(node):
            raise NotEditable(f"{wanted} is not a mapping", node.start_mark.line + 1)
    return node, ()


def _above(root: Any, path: tuple[str, ...]) -> tuple[Any, Any]:
    """The key and the value at the end of a path that is there."""
    node, key_node = root, root
    for wanted in path:
        key_node, node = next(pair for pair in node.value if pair[0].value == wanted)
    return key_node, node


def _is_empty(node: Any) -> bool:
    if node.id == "mapping":
        return not node.value
    return bool(node.id == "scalar" and node.tag.endswith(":null"))


def _end(node: Any) -> int:
    """Where its last word ends: blocks themselves end before what follows them."""
    if node.id == "scalar" or node.flow_style:
        return int(node.end_mark.index)
    if not node.value:
        return int(node.start_mark.index)
    last = node.value[-1]
    return _end(last[1]) if node.id == "mapping" else _end(last)


def _nested(path: tuple[str, ...], value: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = dict(value)
    for key in reversed(path):
        nested = {key: nested}
    return nested


def _block(value: Mapping[str, Any], indent: str, newline: str) -> str:
    """Block mappings down to the entry's fields; what is in these is JSON, which is YAML too."""
    lines = []
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner and key not in ("envs",):
            lines.append(f"{indent}{key}:{newline}")
            lines.append(_block(inner, indent + UNIT, newline))
        else:
            lines.append(f"{indent}{key}: {json.dumps(inner, ensure_ascii=False)}{newline}")
    return "".join(lines)


def _fault(error: Exception) -> NotEditable:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return NotEditable(f"it is no YAML: {problem}", mark.line + 1 if mark else 0)

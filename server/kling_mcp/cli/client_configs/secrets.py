"""Finds the secrets in a configuration, and masks them in its text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kling_mcp.cli.client_configs.jsonc import Node, NotEditable, parse

__all__ = ["MASK", "PLAIN", "holds_secrets", "without_secrets"]

MASK = "********"

SECRET = re.compile(
    r"KEY|SECRET|TOKEN|PASS|PWD|AUTH|BEARER|CREDENTIAL|COOKIE|SESSION|DATABASE|DSN", re.IGNORECASE
)
"""A name whose value is a secret."""

PLAIN = re.compile(rf"KLING_MCP_(?!.*({SECRET.pattern}|URL))[A-Z_]+|[A-Z]+_BASE_URL")
"""Our settings, except those that may hold a password."""

HOLDERS = ("env", "envs", "environment", "headers", "http_headers")
"""All values inside these are secrets too, except our plain settings."""

_URL_SECRET = re.compile(r"://[^/\s\"]*@|[?&][^=&\s\"]+=")
_COMMENT = re.compile(r"(\"(?:[^\"\\]|\\.?)*(?:\"|\Z))|//[^\r\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)


def holds_secrets(entry: object) -> bool:
    """Whether an entry contains a key itself; a reference to a variable does not count."""
    env = entry.get("env") if isinstance(entry, dict) else None
    return isinstance(env, dict) and any(
        SECRET.search(name) and is_written_out(value) for name, value in env.items()
    )


def is_written_out(value: object) -> bool:
    """Whether it is a non-empty value, not a reference to a variable."""
    return isinstance(value, str) and bool(value.strip()) and "${" not in value


def without_secrets(text: str, older: str = "") -> str:
    """A configuration's text with `********` for each secret, and `(new)` after a secret that
    differs from the older text. Comments are left out, since they may contain secrets."""
    known = {path: value for path, _, value in _secrets(_parsed(older))}
    shown, at = "", 0
    for path, node, value in _secrets(_parsed(text)):
        new = " (new)" if older and known.get(path, value) != value else ""
        shown += f'{_bare(text[at : node.start])}"{MASK}{new}"'
        at = node.end
    return shown + _bare(text[at:])


def _bare(text: str) -> str:
    return _COMMENT.sub(lambda found: found.group(1) or "/* … */", text)


def _parsed(text: str) -> Node | None:
    try:
        return parse(text)
    except NotEditable:
        return None


def _secrets(root: Node | None) -> list[tuple[tuple[str, ...], Node, Any]]:
    return [*_walk(root, (), inside=False)] if root else []


def _walk(
    node: Node, path: tuple[str, ...], *, inside: bool
) -> Iterator[tuple[tuple[str, ...], Node, Any]]:
    """Paths, nodes and values of the secrets, in the order of the text."""
    said_before = ""
    for place, member in enumerate(node.members):
        name = member.key
        here = (*path, name or str(place))
        value = member.node.value
        if member.node.members:
            yield from _walk(member.node, here, inside=inside or name in HOLDERS)
        elif isinstance(value, str) and "${" not in value and value:
            named = name or said_before
            listed = not name and SECRET.search(value) and "=" in value
            secret = SECRET.search(named) and (name or named.startswith("-"))
            held = inside and name and not PLAIN.fullmatch(name)
            if listed or secret or held or _URL_SECRET.search(value):
                yield here, member.node, value
            said_before = value

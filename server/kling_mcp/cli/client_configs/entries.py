"""The entry of this server in a client's configuration: command, settings, keys; and the secrets of
a whole configuration, which are masked where it is shown."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from kling_mcp.cli.client_configs.clients import ClientRow
from kling_mcp.cli.client_configs.jsonc import Edit, ListItem, Node, NotEditable, Put, parse
from kling_mcp.settings.environment import cleaned
from kling_tools.errors import KlingError

__all__ = [
    "MASK",
    "NAME",
    "PLAIN",
    "Launch",
    "Wanted",
    "edits_for",
    "entry_to_paste",
    "holds_secrets",
    "keys_of",
    "own_edits",
    "place_of",
    "plain_settings",
    "this_launch",
    "without_secrets",
]


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


UV_CACHES = ("archive-v0", "environments-v2", "builds-v0")
"""Folders of uv's cache from which uvx runs programs; uv removes them at times."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A command and its arguments. Clients have another PATH than shells, so the command is an
    absolute path when it can be found."""

    command: str
    args: tuple[str, ...] = ()


def this_launch(
    program: str | None = None,
    python: str | None = None,
    prefix: str | None = None,
    origin: str | None = None,
) -> Launch:
    """The command that starts the running program; the arguments default to `sys.argv[0]`,
    `sys.executable`, `sys.prefix`, and the folder or URL that it was installed from."""
    program = sys.argv[0] if program is None else program
    python = sys.executable if python is None else python
    prefix = sys.prefix if prefix is None else prefix
    if set(UV_CACHES) & set(Path(prefix).parts):
        origin = _origin() if origin is None else origin
        source = ("--from", origin) if origin else ()
        return Launch(shutil.which("uvx") or "uvx", (*source, "kling-mcp"))
    named = Path(program)
    if named.stem == "kling-mcp" and named.is_file():
        return Launch(str(named.absolute()))
    for name in ("kling-mcp", "kling-mcp.exe"):
        beside = Path(python).parent / name
        if beside.is_file():
            return Launch(str(beside))
    found = shutil.which("kling-mcp")
    return Launch(str(Path(found).absolute())) if found else Launch(python, ("-m", "kling_mcp"))


def _origin() -> str:
    """The folder or URL that this program was installed from; empty for a package index [the
    specification of direct_url.json, packaging.python.org]."""
    try:
        text = distribution("kling-mcp").read_text("direct_url.json")
        url = str(json.loads(text)["url"]) if text else ""
    except (PackageNotFoundError, ValueError, KeyError, TypeError):
        return ""
    parts = urlsplit(url)
    return url2pathname(parts.path) if parts.scheme == "file" else url


NAME = "kling"
"""The server's name in a configuration."""

KEYS = (
    "KLING_API_KEY",
    "KLING_ACCESS_KEY",
    "KLING_SECRET_KEY",
    "COMETAPI_API_KEY",
    "ANYFAST_API_KEY",
    "POWERTOKENS_API_KEY",
    "NEWAPI_API_KEY",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The content of the entry: the command, the names of key variables, the plain settings, and,
    when the person asked for it, the keys themselves."""

    launch: Launch
    variables: tuple[str, ...]
    settings: Mapping[str, str]
    keys: Mapping[str, str]


def keys_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The keys in the environment, by variable."""
    found = {name: cleaned(name, environment.get(name, ""))[0] for name in KEYS}
    return {name: key for name, key in found.items() if key}


def plain_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings in the environment that are not secret. Clients pass few variables on to
    servers, so the entry has to contain them."""
    names = [name for name in sorted(environment) if PLAIN.fullmatch(name)]
    found = {name: cleaned(name, environment[name])[0] for name in names}
    return {name: value for name, value in found.items() if value and _may_be_written(name, value)}


def _may_be_written(name: str, value: str) -> bool:
    """False for base URLs of other programs, and for URLs that contain a user or a query."""
    if not name.endswith("_BASE_URL"):
        return True
    ours = f"{name.removesuffix('BASE_URL')}API_KEY" in KEYS
    return ours and not {"@", "?"} & set(value)


def place_of(client: ClientRow) -> tuple[str, ...]:
    """The path of keys to the entry in the client's file."""
    return (*client.servers, NAME)


def edits_for(client: ClientRow, wanted: Wanted, there: object = None) -> list[Edit]:
    """The edits that put the entry into the client's file. `there` is the present entry: its other
    fields stay, and so does a key in it unless a new one is written.

    Raises KlingError when the present entry is for a server at a URL.
    """
    old = there if isinstance(there, Mapping) else {}
    if "url" in old or "httpUrl" in old or "serverUrl" in old:
        raise KlingError(
            f"{client.title} already has an entry {NAME}, for a server at a URL.",
            advice="Rename or remove that entry first.",
        )
    old_env = _env_in(old)
    env, items = _env_for(client, wanted, old_env)
    entry = {
        **client.fields,
        "command": wanted.launch.command,
        "args": list(wanted.launch.args),
        **({"env": old_env | env} if env or old_env else {}),
    }
    place = place_of(client)
    if not old:
        return [*items, Put(place, entry)]
    if isinstance(old.get("env"), Mapping):
        entry.pop("env")
        changed = [Put((*place, "env", name), value) for name, value in env.items()]
        changed = [put for put in changed if old_env.get(put.path[-1]) != put.value]
    else:
        changed = []
    fields = [Put((*place, name), value) for name, value in entry.items()]
    return [*items, *(put for put in fields if old.get(put.path[-1]) != put.value), *changed]


def _env_in(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of an entry; older versions of Zed kept them inside `command`."""
    command = entry.get("command")
    found = entry.get("env") or (command.get("env") if isinstance(command, Mapping) else None)
    return dict(found) if isinstance(found, Mapping) else {}


def _env_for(
    client: ClientRow, wanted: Wanted, old: Mapping[str, Any]
) -> tuple[dict[str, str], list[Edit]]:
    """The variables to write, and the inputs that VS Code asks the person for."""
    if wanted.keys:
        return {**wanted.settings, **wanted.keys}, []
    if client.keys not in ("reference", "asked"):
        return dict(wanted.settings), []
    has_key = any(old.get(name) for name in KEYS)
    variables = wanted.variables or ((KEYS[0],) if client.keys == "asked" and not has_key else ())
    referred = [name for name in variables if not is_written_out(_counted(old, name))]
    asks = client.keys == "asked"
    spelt = {n: client.spelling.format(name=_input_id(n) if asks else n) for n in referred}
    kept = {n: old[n] for n in referred if "${" in str(old.get(n, ""))}
    items: list[Edit] = [
        ListItem(("inputs",), _input(n))
        for n in referred
        if asks and kept.get(n, spelt[n]) == spelt[n]
    ]
    return {**wanted.settings, **spelt, **kept}, items


def _counted(env: Mapping[str, Any], name: str) -> str:
    """The cleaned value of a variable in an entry; empty for a placeholder."""
    value = env.get(name)
    return cleaned(name, value)[0] if isinstance(value, str) else ""


def entry_to_paste(client: ClientRow, wanted: Wanted) -> str:
    """The entry as text in the client's own format, with asterisks for keys."""
    masked = replace(wanted, keys=dict.fromkeys(wanted.keys, MASK))
    if client.format == "toml":
        return _toml(client, masked)
    if client.format == "yaml":
        return _yaml(client, masked)
    value: Any = edits_for(client, masked)[-1].value
    for key in reversed(place_of(client)):
        value = {key: value}
    items = [edit.value for edit in edits_for(client, masked)[:-1]]
    return json.dumps(({"inputs": items} if items else {}) | value, indent=2, ensure_ascii=False)


def _toml(client: ClientRow, wanted: Wanted) -> str:
    env = {**wanted.settings, **wanted.keys}
    lines = [
        f"[{'.'.join(place_of(client))}]",
        f"command = {_quoted(wanted.launch.command)}",
        f"args = {_quoted(list(wanted.launch.args))}",
    ]
    if env:
        inner = ", ".join(f"{name} = {_quoted(value)}" for name, value in env.items())
        lines.append(f"env = {{ {inner} }}")
    if wanted.variables and not wanted.keys:
        lines.append(f"env_vars = {_quoted(list(wanted.variables))}")
    return "\n".join(lines)


def _yaml(client: ClientRow, wanted: Wanted) -> str:
    entry: dict[str, Any] = {
        "name": NAME,
        "description": "Kling AI videos",
        **client.fields,
        "cmd": wanted.launch.command,
        "args": list(wanted.launch.args),
        "envs": {**wanted.settings, **wanted.keys},
    }
    if not wanted.keys:
        entry["env_keys"] = list(wanted.variables or (KEYS[0],))
    above = [f"{'  ' * depth}{key}:" for depth, key in enumerate(place_of(client))]
    indent = "  " * len(above)
    return "\n".join([*above, *(f"{indent}{key}: {_quoted(v)}" for key, v in entry.items())])


def _quoted(value: object) -> str:
    """A value as JSON, which TOML and YAML accept for strings, numbers and lists of them."""
    return json.dumps(value, ensure_ascii=False)


def own_edits(client: ClientRow) -> list[Edit]:
    """The edits whose paths this server may own in the file, without values."""
    inputs = [ListItem(("inputs",), _input(name)) for name in KEYS if client.keys == "asked"]
    return [*inputs, Put(place_of(client), {})]


def _input_id(variable: str) -> str:
    return f"kling-mcp-{variable.lower().replace('_', '-')}"


def _input(variable: str) -> dict[str, Any]:
    return {
        "type": "promptString",
        "id": _input_id(variable),
        "description": f"{variable} of kling-mcp (empty: the free sandbox)",
        "password": True,
    }

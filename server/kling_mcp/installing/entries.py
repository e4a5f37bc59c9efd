"""The entry of one client: command, settings, and how the key comes to the server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kling_mcp.installing.clients import ClientRow
from kling_mcp.installing.edits import Edit, ListItem, Put
from kling_mcp.installing.launching import Launch

__all__ = [
    "NAME",
    "Wanted",
    "edits_for",
    "key_variables",
    "keys_in",
    "own_edits",
    "plain_settings",
]

NAME = "kling"
"""What the server is called in a configuration."""

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
    """What the entry is to hold: how to start, the variables of keys, the settings that are no
    secret, and, where the person asked for it, the keys themselves."""

    launch: Launch
    variables: tuple[str, ...]
    settings: Mapping[str, str]
    keys: Mapping[str, str]


def key_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that hold a key here."""
    return tuple(name for name in KEYS if environment.get(name, "").strip())


def plain_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings here that are no secrets: clients hand few variables on to servers."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if value and (PLAIN.fullmatch(name) or _is_base_url(name))
    }


PLAIN = re.compile(r"KLING_MCP_(?!.*(KEY|SECRET|TOKEN|PASSWORD|DATABASE|DSN|URL))[A-Z_]+")
"""Our settings, without those that may hold a password."""


def _is_base_url(name: str) -> bool:
    return name.endswith("_BASE_URL") and f"{name.removesuffix('BASE_URL')}API_KEY" in KEYS


def edits_for(client: ClientRow, wanted: Wanted) -> list[Edit]:
    """The changes that put the entry into the client's file."""
    variables = wanted.variables
    if client.keys == "asked":
        variables = variables or (KEYS[0],)
    env = dict(wanted.settings)
    extra: dict[str, Any] = {}
    items: list[Edit] = []
    if wanted.keys:
        env |= wanted.keys
    elif client.keys in ("reference", "asked"):
        spelt = _input_id if client.keys == "asked" else str
        env |= {name: client.spelling.format(name=spelt(name)) for name in variables}
        if client.keys == "asked":
            items = [ListItem(("inputs",), _input(name)) for name in variables]
    elif client.keys == "forwarded" and variables:
        extra["env_vars"] = list(variables)
    elif client.keys == "keyring":
        extra["env_keys"] = list(variables or (KEYS[0],))
    return [*items, Put((*client.servers, NAME), _entry(client, wanted.launch, env, extra))]


def own_edits(client: ClientRow) -> list[Edit]:
    """Where this server's part of the file can stand, without its values."""
    inputs = [ListItem(("inputs",), _input(name)) for name in KEYS if client.keys == "asked"]
    return [*inputs, Put((*client.servers, NAME), {})]


def keys_in(entry: Mapping[str, Any]) -> list[str]:
    """The keys that stand in an entry themselves; references to variables are none."""
    env = entry.get("envs" if "envs" in entry else "env")
    values = [env.get(name) for name in KEYS] if isinstance(env, Mapping) else []
    return [value for value in values if isinstance(value, str) and value[:1] not in ("", "$")]


def _entry(
    client: ClientRow, launch: Launch, env: Mapping[str, str], extra: Mapping[str, Any]
) -> dict[str, Any]:
    if client.format == "yaml":
        return {
            "name": NAME,
            "description": "Kling AI videos",
            **client.fields,
            "cmd": launch.command,
            "args": list(launch.args),
            "envs": dict(env),
            **extra,
        }
    entry: dict[str, Any] = {**client.fields, "command": launch.command, "args": list(launch.args)}
    return {**entry, **({"env": dict(env)} if env else {}), **extra}


def _input_id(variable: str) -> str:
    return f"kling-mcp-{variable.lower().replace('_', '-')}"


def _input(variable: str) -> dict[str, Any]:
    return {
        "type": "promptString",
        "id": _input_id(variable),
        "description": f"{variable} of kling-mcp (empty: the free sandbox)",
        "password": True,
    }

"""JSON Schemas in the shape that every client and model vendor reads without loss.

Root `type: object`; everything inline; no `$ref`, `title`, `const`, `oneOf`, `discriminator` or
boolean `additionalProperties` (measured: one vendor's client fails on it, so arguments are closed
when they are read, not in what is published). Null is read as a field that is left out, and not
published.

To ask the classes takes a fifth of a start. So `schemas.json` keeps what they told, which a test
compares, and they are built by the first call that requires them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel

__all__ = ["KEPT", "answer_schema", "arguments_schema", "told_schemas"]

KEPT = files(__package__) / "schemas.json"

Mode = Literal["validation", "serialization"]
Fields = Mapping[str, dict[str, Any]]
"""The schema of each field."""

NULL = {"type": "null"}

_DROPPED = frozenset(
    {"title", "additionalProperties", "$defs", "discriminator", "minLength", "minItems", "maxItems"}
)
"""The bounds of lists are told in words, and in the fault of a list that is out of them."""


def arguments_schema(
    arguments: type[BaseModel],
    *,
    first: Sequence[str] = (),
    without: Collection[str] = (),
    required: Collection[str] = (),
    properties: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """What a caller may send.

    `first` names the fields that come first (a model reads from the top), `without` leaves fields
    out, `required` names those that must be given, `properties` adds to a field's schema (an empty
    text takes a part away).
    Defaults that mean "nothing" are not published.
    """
    fields = _fields(arguments, "validation")
    order = [*first, *(name for name in fields if name not in first)]
    published = {
        name: _described(fields[name], properties or {}, name)
        for name in order
        if name not in without
    }
    names = [name for name in published if name in required]
    return {"type": "object", "properties": published} | ({"required": names} if names else {})


@cache
def _fields(model: type[BaseModel], mode: Mode) -> Fields:
    """Only to be read."""
    kept: Fields | None = _kept()[mode].get(_name(model))
    return _told(model, mode) if kept is None else kept


@cache
def _kept() -> Mapping[Mode, Mapping[str, Fields]]:
    kept: Mapping[Mode, Mapping[str, Fields]] = json.loads(KEPT.read_text("utf-8"))
    return kept


def _name(model: type[BaseModel]) -> str:
    return f"{model.__module__}.{model.__qualname__}"


def told_schemas(
    arguments: Iterable[type[BaseModel]], answers: Iterable[type[BaseModel]]
) -> dict[Mode, dict[str, Fields]]:
    """What `schemas.json` has to keep of these classes."""
    return {
        "validation": {_name(model): _told(model, "validation") for model in arguments},
        "serialization": {_name(model): _told(model, "serialization") for model in answers},
    }


def _told(model: type[BaseModel], mode: Mode) -> Fields:
    raw = model.model_json_schema(mode=mode)
    fields, definitions = raw.get("properties", {}), raw.get("$defs", {})
    if mode == "validation":
        return {name: _tidied(field, definitions) for name, field in fields.items()}
    return {name: kind for name, field in fields.items() if (kind := _without_null(field))}


def _described(
    field: dict[str, Any], properties: Mapping[str, Mapping[str, Any]], name: str
) -> dict[str, Any]:
    merged = {**field, **properties.get(name, {})}
    return {part: value for part, value in merged.items() if value != ""}


def answer_schema(answer: type[BaseModel], *, fields: Sequence[str]) -> dict[str, Any] | None:
    """What comes back, by the fields that a program would go on with; None without such fields.

    Answers hold further fields (the schema is open), and leave out those without a value, so
    null is never published. Objects in a list are named by their kind only. Nothing is required:
    some clients hold an answer with `isError` to this schema too, and show their objection in
    place of our words.
    """
    if not fields:
        return None
    kinds = _fields(answer, "serialization")
    return {"type": "object", "properties": {name: kinds[name] for name in fields}}


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """The kind of a field; empty for one that may be of several."""
    kinds = [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
    if len(kinds) != 1:
        return {}
    kind = kinds[0]
    if kind.get("type") == "array":
        return {"type": "array", "items": {"type": kind["items"].get("type", "object")}}
    return {"type": kind.get("type", "object")}


def _tidied(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_tidied(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = dict(definitions[node["$ref"].rpartition("/")[2]])
        target.pop("description", None)
        siblings = {name: value for name, value in node.items() if name != "$ref"}
        return _tidied({**target, **siblings}, definitions)
    if NULL in node.get("anyOf", ()):
        rest = [kind for kind in node["anyOf"] if kind != NULL]
        (whole,) = rest if len(rest) == 1 else ({"anyOf": rest},)
        siblings = {name: value for name, value in node.items() if name != "anyOf"}
        return _tidied({**whole, **siblings}, definitions)
    tidied: dict[str, Any] = {}
    for name, value in node.items():
        if name == "properties":
            tidied[name] = {field: _tidied(part, definitions) for field, part in value.items()}
        elif name == "const":
            tidied["enum"] = [value]
        elif name not in _DROPPED and not (name == "default" and _is_nothing(value)):
            tidied[name] = _tidied(value, definitions)
    return tidied


def _is_nothing(value: object) -> bool:
    return value in (None, "", [], False) or isinstance(value, dict)

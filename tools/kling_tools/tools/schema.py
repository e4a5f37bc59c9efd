"""JSON Schemas in the shape that every client and model vendor reads without loss.

Root `type: object`; everything inline; no `$ref`, `title`, `const`, `oneOf`, `discriminator` or
boolean `additionalProperties` (measured: one vendor's client fails on it, so arguments are closed
when they are read, not in what is published). Null is read as a field that is left out, and not
published.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

__all__ = ["answer_schema", "arguments_schema"]

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
    raw = _schema_of(arguments, "validation")
    order = [*first, *(name for name in raw["properties"] if name not in first)]
    definitions = raw.get("$defs", {})
    published = {
        name: _described(_tidied(raw["properties"][name], definitions), properties or {}, name)
        for name in order
        if name not in without
    }
    names = [name for name in published if name in required]
    return {"type": "object", "properties": published} | ({"required": names} if names else {})


@cache
def _schema_of(model: type[BaseModel], mode: Literal["validation", "serialization"]) -> Any:
    """Only to be read: written once, as it takes most of the time of building a server."""
    return model.model_json_schema(mode=mode)


def _described(
    field: dict[str, Any], properties: Mapping[str, Mapping[str, Any]], name: str
) -> dict[str, Any]:
    merged = {**field, **properties.get(name, {})}
    return {part: value for part, value in merged.items() if value != ""}


def answer_schema(answer: type[BaseModel], *, fields: Sequence[str]) -> dict[str, Any]:
    """What comes back, by the fields that a program would go on with.

    Answers hold further fields (the schema is open), and leave out those without a value, so
    null is never published. Objects in a list are named by their kind only. Nothing is required:
    some clients hold an answer with `isError` to this schema too, and show their objection in
    place of our words.
    """
    raw = _schema_of(answer, "serialization")["properties"]
    published = {name: _without_null(raw[name]) for name in fields}
    return {"type": "object"} | ({"properties": published} if published else {})


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    (kind,) = (kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null")
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

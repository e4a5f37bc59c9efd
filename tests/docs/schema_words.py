"""A JSON schema in words, for the tools' reference."""

from collections.abc import Iterator
from typing import Any

__all__ = ["argument_rows", "kind"]

NAMES = {"string": "text", "integer": "whole number", "boolean": "true or false"}


def argument_rows(schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Name, kind, default and meaning of every argument, those inside others after them."""
    required = schema.get("required", [])
    for name, found in schema["properties"].items():
        yield (f"`{name}`", *_facts(found, required=name in required))
        yield from _inner(name, found)


def _inner(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    schema = _not_null(schema)
    if "items" in schema:
        yield from _inner(f"{path}[]", schema["items"])
    for name, found in schema.get("properties", {}).items():
        inside = f"{path}.{name}"
        yield (f"`{inside}`", *_facts(found, required=name in schema.get("required", [])))
        yield from _inner(inside, found)


def _facts(schema: dict[str, Any], *, required: bool) -> tuple[str, ...]:
    default = "required" if required else _default(schema)
    return kind(schema), default, schema.get("description", "")


def _default(schema: dict[str, Any]) -> str:
    return f"`{schema['default']}`" if schema.get("default") not in (None, "", [], {}) else ""


def kind(schema: dict[str, Any]) -> str:
    """The type with its choices and limits."""
    if len(meant := _meant(schema)) > 1:
        return " or ".join(map(kind, meant))
    schema = _not_null(schema)
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if schema["type"] == "array":
        inner = schema["items"]
        of = "object" if inner["type"] == "object" else kind(inner)
        return f"list of {of}{_between(schema, 'minItems', 'maxItems')}"
    name = NAMES.get(schema["type"], schema["type"])
    limits = _between(schema, "minimum", "maximum")
    if "maxLength" in schema:
        limits += f", at most {schema['maxLength']} characters"
    return name + limits


def _between(schema: dict[str, Any], low: str, high: str) -> str:
    if low in schema and high in schema:
        return f", {schema[low]:g} to {schema[high]:g}"
    return f", at most {schema[high]:g}" if high in schema else ""


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that is meant where null stands for leaving it out; the first of several."""
    return dict(_meant(schema)[0])


def _meant(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]

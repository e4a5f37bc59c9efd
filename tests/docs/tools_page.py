"""docs/tools.md: what every tool takes and answers, and what can go wrong."""

import inspect
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from tests.docs.arguments_in_full import MORE, in_full
from tests.docs.pages import table
from tests.docs.schema_words import argument_rows

from kling_mcp.providers.rows import PROVIDERS, serving
from kling_tools import errors
from kling_tools.errors import KlingError
from kling_tools.products import ASSETS, PRODUCTS_BY_TOOL, Product
from kling_tools.results import (
    Account,
    AssetList,
    AssetReceipt,
    CancelResult,
    DeletedAsset,
    FilmReceipt,
    Receipt,
    SavedVideo,
    TaskPage,
    TaskView,
    UploadAddress,
    VideoLook,
    WaitResult,
)
from kling_tools.rules.capabilities import built_in_capabilities
from kling_tools.tools.tool import KlingTool
from kling_tools.tools.toolset import build_toolset

__all__ = ["answers", "every_error", "every_tool", "reference"]

MATRIX = Path(__file__).parents[1] / "server" / "submission" / "fault_matrix.json"
ANSWERS: dict[str, type[BaseModel]] = {
    **dict.fromkeys(PRODUCTS_BY_TOOL, Receipt),
    "kling_film": FilmReceipt,
    "kling_get_task": TaskView,
    "kling_list_tasks": TaskPage,
    "kling_wait_for_tasks": WaitResult,
    "kling_account": Account,
    "kling_cancel_task": CancelResult,
    "kling_save_video": SavedVideo,
    "kling_look": VideoLook,
    "kling_list_assets": AssetList,
    "kling_create_element": AssetReceipt,
    "kling_create_voice": AssetReceipt,
    "kling_delete_asset": DeletedAsset,
    "kling_upload_picture": UploadAddress,
}
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
KIND = re.compile(r"\b([a-z]+_[a-z_]+), (?:no|yes|unknown)\b")


def reference() -> str:
    """A section for each tool, made from its schema, its answer and the fault matrix."""
    struck = json.loads(MATRIX.read_text(encoding="utf-8"))
    hosted = {tool.name: tool for tool in _tools(hosted=True)}
    tools = {**hosted, **{tool.name: tool for tool in _tools(hosted=False)}}
    parts = [
        _section(tool, hosted.get(name, tool), struck.get(name, {}))
        for name, tool in _in_order(tools)
    ]
    return "\n" + "\n".join(parts) + "\n"


def every_tool() -> dict[str, KlingTool]:
    """The tools of a server for one person, with every provider."""
    return {tool.name: tool for tool in _tools(hosted=False)}


def _in_order(tools: dict[str, KlingTool]) -> Iterator[tuple[str, KlingTool]]:
    """The tools in the order of their answers. Raises KeyError where either lacks one."""
    assert not tools.keys() - ANSWERS.keys()
    return ((name, tools[name]) for name in ANSWERS)


def _tools(*, hosted: bool) -> list[KlingTool]:
    models = {tool: _living_models(products) for tool, products in PRODUCTS_BY_TOOL.items()}
    return build_toolset(list(PROVIDERS), models=models, serving=serving(PROVIDERS), hosted=hosted)


def _living_models(products: Sequence[Product]) -> list[str]:
    table = built_in_capabilities()
    wires = {wire for row in PROVIDERS.values() for wire in row.wires}
    defaults = PROVIDERS["kling"].default_models
    first = [defaults[product] for product in products if product in defaults]
    return list(dict.fromkeys([*first, *table.living(products, wires)]))


FOR_A_TEAM = "Only on a server for a team."


def _section(tool: KlingTool, hosted: KlingTool, struck: dict[str, Any]) -> str:
    arguments = in_full(tool.name, list(argument_rows(tool.parameters)))
    named = {cells[0] for cells in arguments}
    for *cells, said in argument_rows(hosted.parameters):
        if cells[0] not in named:
            arguments.append((*cells, f"{said} {FOR_A_TEAM}"))
    taken = table(("argument", "kind", "default", "what it is"), arguments)
    answer = ANSWERS[tool.name]
    kinds = sorted(set(KIND.findall(json.dumps(struck))))
    troubles = ", ".join(f"[`{kind}`](#{kind})" for kind in kinds)
    return "\n".join(
        [
            f"## {tool.name}\n",
            f"{tool.description}\n",
            f"{_hints(tool)}\n",
            taken if arguments else "It takes no arguments.\n",
            f"Answer: [{answer.__name__}](#{answer.__name__.lower()}).\n",
            *([f"Seen when a provider misbehaves: {troubles}.\n"] if troubles else []),
            *([f"{MORE[tool.name]}\n"] if tool.name in MORE else []),
        ]
    )


def _hints(tool: KlingTool) -> str:
    hints = tool.annotations
    assert hints is not None
    free = {row.tool for row in ASSETS.values() if not row.units}
    if hints.destructive_hint and not hints.read_only_hint:
        return "Deletes; costs nothing."
    if tool.name in free:
        return "Writes into the account's library; costs nothing."
    if "dry_run" in tool.parameters["properties"]:
        return "Costs money, unless `dry_run` is set."
    if hints.read_only_hint:
        return "Only reads; while finished videos are saved by themselves, looking writes the file."
    return CHANGES[tool.name]


CHANGES = {
    "kling_cancel_task": "Changes the ledger here alone; costs nothing.",
    "kling_save_video": "Writes a file; costs nothing.",
    "kling_upload_picture": "Gives out an address; costs nothing.",
}
"""What the other tools do that is more than reading."""


def answers() -> str:
    """A section for each kind of answer, and for each kind of part that one has."""
    kinds = list(dict.fromkeys(ANSWERS.values()))
    for kind in kinds:  # grows while it is read
        for field in kind.model_fields.values():
            kinds += [part for part in _parts(field.annotation) if part not in kinds]
    return "\n" + "\n".join(_answer(kind) for kind in kinds) + "\n"


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    """The kinds of answers within a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _parts(inner)


def _answer(kind: type[BaseModel]) -> str:
    rows = [
        (f"`{name}`", _type(field.annotation), "always" if field.is_required() else "")
        for name, field in kind.model_fields.items()
    ]
    told = inspect.cleandoc(kind.__doc__ or "")
    return f"### {kind.__name__}\n\n{told}\n\n{table(('field', 'kind', ''), rows)}"


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return "object"
    if origin is tuple:
        return " and ".join(_type(part) for part in inner)
    meant = [one for one in inner if one is not type(None)]
    if type(None) in inner or origin is Union:
        return _type(meant[0])
    if inner:
        return ", ".join(f"`{choice}`" for choice in inner)
    return WORDS.get(annotation) or f"[{annotation.__name__}](#{annotation.__name__.lower()})"


def every_error() -> str:
    """A section for each kind of error, made from the tree of errors."""
    return "\n" + "\n".join(_error(kind) for kind in _kinds(KlingError)) + "\n"


def _kinds(error: type[KlingError]) -> Iterator[type[KlingError]]:
    if not error.__name__.startswith("_"):
        yield error
    for below in error.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _kinds(below)


def _error(error: type[KlingError]) -> str:
    return f"### {error.kind}\n\n{inspect.cleandoc(error.__doc__ or '')}\n"

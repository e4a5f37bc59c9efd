"""The table of models as a resource, and a sheet for each model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError

from kling_mcp.providers.configured import Configured
from kling_tools.products import IMAGE_UNIT, PRODUCTS, STEPS, Product, ProductEntry
from kling_tools.quoting import counted
from kling_tools.rules.capabilities import Capabilities, MediaRow, PriceRow, ProductRow

__all__ = ["add_resources", "model_names", "model_sheet", "models_table"]


MODELS_URI = "kling://models"
MODEL_URI = "kling://models/{model_name}"


def add_resources(
    server: MCPServer[Any], providers: Mapping[str, Configured], capabilities: Capabilities
) -> None:
    """Give the server the resources of its models."""

    @server.resource(
        MODELS_URI,
        name="models",
        title="Kling models",
        description="What each model can do and costs, and where it is to be had.",
        mime_type="text/markdown",
    )
    def models() -> str:

        return models_table(providers, capabilities)

    @server.resource(
        MODEL_URI,
        name="model",
        title="One Kling model",
        description="One model with its prices and sources.",
        mime_type="text/markdown",
    )
    def model(model_name: str) -> str:

        sheet = model_sheet(model_name, providers, capabilities)
        if sheet is None:
            raise ResourceNotFoundError(f"There is no model {model_name} in the table.")
        return sheet


FEATURES = {
    "image_tail": "end frame",
    "sound": "sound",
    "voice_list": "voices",
    "element_list": "elements",
    "multi_shot": "multi-shot",
    "motion_brush": "brush",
    "camera_control": "camera",
    "cfg_scale": "cfg_scale",
}
TOGETHER = {
    "image_tail_alone": "end frame without a first frame",
    "multi_shot_tail": "end frame with multi-shot",
}
"""Features of the sheet that the table has no room for."""


def model_names(providers: Mapping[str, Configured], capabilities: Capabilities) -> list[str]:
    """Models that a configured provider has a route for, the current before the retired ones."""
    products = {p for provider in providers.values() for p in provider.row.products}
    return [
        name
        for name in capabilities.models_of(products)
        if any(_served(providers, *use) for use in capabilities.models[name].products.items())
    ]


def _served(providers: Mapping[str, Configured], product: Product, row: ProductRow) -> list[str]:
    """The providers that have the product, and speak a standard that has the model."""
    return [
        p.name
        for p in providers.values()
        if product in p.row.products and not set(row.wires).isdisjoint(p.row.wires)
    ]


def models_table(providers: Mapping[str, Configured], capabilities: Capabilities) -> str:
    """A table in Markdown for each product: one line for each model, retired models last."""
    names = model_names(providers, capabilities)
    parts = []
    for entry in PRODUCTS.values():
        rows = {name: capabilities.product_row(name, entry.name) for name in names}
        served = {n: (row, _served(providers, entry.name, row)) for n, row in rows.items() if row}
        if any(places for _, places in served.values()):
            parts += _section(entry, served, providers, capabilities)
    image_usd = capabilities.usd_per_unit * IMAGE_UNIT
    return "\n".join(
        [
            *parts,
            f"Units are Kling's; 1 unit lists at {capabilities.usd_per_unit:g} USD outside China, "
            f"1 image unit at {image_usd:g}. Resellers have prices of their own. `?`: sources "
            "disagree. † retired or about to be.",
        ]
    )


def _section(
    entry: ProductEntry,
    served: Mapping[str, tuple[ProductRow, list[str]]],
    providers: Mapping[str, Configured],
    capabilities: Capabilities,
) -> list[str]:
    """The lines about one product, whose models are `served` by some providers."""
    defaults = {p.name: p.row.default_models.get(entry.name) for p in providers.values()}
    told = ", ".join(f"{model} ({name})" for name, model in defaults.items() if model)
    columns = (
        ("model", "resolutions", "can", "image units for each picture", "providers")
        if entry.result == "picture"
        else ("model", "modes", "seconds", "can", "units", "providers")
    )
    lines = [
        f"## {entry.name}: {entry.makes}",
        f"{entry.tool} makes it. Default: {told or 'none'}.",
        "",
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
    ]
    for name, (row, places) in served.items():
        if places:
            retired = capabilities.retirement(name, entry.name) is not None
            lines.append(_line(f"{name} †" if retired else name, entry, row, places))
    return [*lines, ""]


def model_sheet(
    name: str, providers: Mapping[str, Configured], capabilities: Capabilities
) -> str | None:
    """One model with its sources; None when it is not in the table."""
    name = capabilities.canonical(name) or name
    model = capabilities.models.get(name)
    if model is None:
        return None
    lines = [f"# {name}"]
    if model.preview:
        lines.append("Off: only resellers offer it. KLING_MCP_MODELS_PREVIEW=true turns it on.")
    for product, row in model.products.items():
        served, entry = _served(providers, product, row), PRODUCTS[product]
        lines += [
            f"## {product}: {entry.makes} ({', '.join(served) or 'no configured provider'})",
            f"{entry.tool} makes it.",
            *_standards(name, product, row, capabilities),
            _limits(entry, row),
            *(
                f"- {(FEATURES | TOGETHER)[feature]}: {', '.join(map(_where, patterns))}"
                for feature, patterns in row.allows.items()
            ),
            f"{entry.unit.capitalize()}s: {_prices(entry, row)}.",
            f"Source: {row.source} ({row.date}).",
        ]
    return "\n".join(lines)


def _standards(
    name: str, product: Product, row: ProductRow, capabilities: Capabilities
) -> Iterator[str]:
    """The model's retirement, and its name on each of Kling's standards."""
    if end := capabilities.retirement(name, product):
        state = "Retired" if end.certain else "Perhaps retired"
        yield f"{state}: {end.note}. Use {end.successor}. Source: {end.source} ({end.date})."
    names = (f"{wire} as {capabilities.on_wire(name, product, wire).name}" for wire in row.wires)
    yield f"Standards: {', '.join(names)}."


def _line(shown: str, entry: ProductEntry, row: ProductRow, places: list[str]) -> str:
    cells = [
        shown,
        " ".join(row.modes) or "none",
        *([] if entry.result == "picture" else [_durations(row)]),
        _features(row),
        _prices(entry, row),
        " ".join(places),
    ]
    return f"| {' | '.join(cells)} |"


def _limits(entry: ProductEntry, row: ProductRow) -> str:
    """The modes, lengths, pictures, sounds and videos of a model in a sentence."""
    modes = ", ".join(row.modes) or "none"
    if entry.result == "picture":
        return f"Resolutions {modes}; pictures to refer to: up to {row.images}."
    parts = [f"Modes {modes}", f"seconds {_durations(row)}"]
    if {"image", "image_list"} & {*entry.inputs}:
        parts.append(f"pictures up to {row.images}")
    return "; ".join([*parts, *map(_medium, row.media)]) + "."


def _medium(row: MediaRow) -> str:
    """The length, the size and the formats of a sound or video that the model takes."""
    least, most = row.seconds
    when = "".join(f" with {name} {value}" for name, value in row.when.items())
    return f"{row.field} of {least:g} to {most:g} s, at most {row.mb} MB, {row.formats_text}{when}"


def _durations(row: ProductRow) -> str:
    return (
        f"{row.durations[0]}-{row.durations[-1]}"
        if len(row.durations) > 2
        else " or ".join(row.durations)
    )


def _features(row: ProductRow) -> str:
    found = []
    for feature, word in FEATURES.items():
        patterns = row.allows.get(feature, ())  # type: ignore[call-overload]
        if patterns:
            modes = sorted({re.split(r"[/ ]", pattern)[0] for pattern in patterns} - {"*"})
            doubt = "?" if all(pattern.endswith("?") for pattern in patterns) else ""
            where = f" ({'/'.join(modes)})" if modes and len(modes) < len(row.modes) else ""
            found.append(f"{word}{where}{doubt}")
    if row.images > 1:
        found.append(f"up to {counted(row.images, 'picture')}")
    return ", ".join(found) or "-"


def _where(pattern: str) -> str:
    """`pro/5 type=simple` as `pro 5 s with type simple`, `*` as `always`."""
    place, _, condition = pattern.removesuffix("?").strip().partition(" ")
    mode, _, seconds = place.partition("/")
    words = ["always" if mode == "*" else mode]
    words += [f"{seconds} s"] if seconds not in ("", "*") else []
    words += [f"with {condition.replace('=', ' ')}"] if condition else []
    words += ["(sources disagree)"] if pattern.endswith("?") else []
    return " ".join(words)


def _prices(entry: ProductEntry, row: ProductRow) -> str:
    """The prices of a model, and of the steps that are paid before it."""
    prices = ", ".join(_price(price) for price in row.units) or "not published"
    steps = [f"{STEPS[name].units:g} for the {STEPS[name].words}" for name in entry.steps]
    steps = [f"{step} of a text" if step.endswith("speech") else step for step in steps]
    return " + ".join([prices, *steps])


def _price(price: PriceRow) -> str:
    words = [price.mode or "", f"{price.duration} s" if price.duration else ""]
    words += ["sound" if price.sound == "on" else "", "voice" if price.voice else ""]
    words += ["of words" if price.from_pictures is False else ""]
    words += ["of pictures" if price.from_pictures else ""]
    if price.per_picture is not None:
        cost = f"{price.per_picture:g}"
    else:
        cost = f"{price.units:g}" if price.units is not None else _each(price)
    return " ".join([*(word for word in words if word), cost])


def _each(price: PriceRow) -> str:
    """`0.9/s`, or `0.5 for each 5 s begun` where several seconds are paid at once."""
    at_once, each = price.seconds_at_once, price.per_second or 0
    return f"{each:g}/s" if at_once == 1 else f"{each * at_once:g} for each {at_once} s begun"

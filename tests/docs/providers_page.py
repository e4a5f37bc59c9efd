"""docs/providers.md: the table of providers, made from providers.json."""

import inspect
import json
from collections.abc import Mapping

from pydantic.fields import FieldInfo
from tests.docs.pages import table

from kling_mcp.providers.rows import PROVIDERS, ProviderRow
from kling_tools.products import PRODUCTS, Product
from kling_tools.rules.capabilities import Capabilities, ProviderTerms, built_in_capabilities

__all__ = ["losses", "models", "overview", "products", "row_fields"]

LOOKED_UP = {
    "unique": "looked up by our id, sent again if there is none",
    "unknown": "looked up by our id, never sent again",
    "none": "reported, never sent again",
}
OWN = ("name", "family", "source", "date")
"""Fields that say where a row comes from, not what it does."""


def overview() -> str:
    """One row a provider: where it is, and what happens to a lost answer."""
    rows = [_row(row) for row in PROVIDERS.values()]
    head = ("provider", "key", "address", "list", "after a lost answer", "from")
    return "\n" + table(head, rows) + "\n"


def _row(row: ProviderRow) -> tuple[str, ...]:
    keyless = row.name == "sandbox"
    return (
        f"`{row.name}`",
        "none" if keyless else f"`{row.key_setting}`",
        "this machine" if keyless else _address(row),
        "yes" if row.lists else "no",
        LOOKED_UP[row.external_ids],
        f"{row.source} ({row.date})",
    )


def products() -> str:
    """The standards by which each provider makes each product, and its default model for it."""
    rows = [
        (f"`{entry.tool}`", product, *(_made(product, row) for row in PROVIDERS.values()))
        for product, entry in PRODUCTS.items()
    ]
    return "\n" + table(("tool", "product", *(f"`{name}`" for name in PROVIDERS)), rows) + "\n"


def _made(product: Product, row: ProviderRow) -> str:
    if product not in row.products:
        return "no"
    models = built_in_capabilities().models.values()
    spoken = {wire for m in models if product in m.products for wire in m.products[product].wires}
    wires = ", ".join(wire for wire in row.wires if wire in spoken)
    default = row.default_models.get(product)
    return f"{wires}: `{default}`" if default else wires


def _address(row: ProviderRow) -> str:
    where = f"`{row.base_url}{row.prefix}`" if row.base_url else f"yours, then `{row.prefix}`"
    regions: Mapping[str, str] = row.regions
    others = [f"`{url}` ({name})" for name, url in regions.items() if url != row.base_url]
    return ", ".join([where, *others])


def losses() -> str:
    """What providers would lose in silence, and is refused for that reason."""
    rows = [
        (f"`{row.name}`", product, f"`{field}`", why)
        for row in PROVIDERS.values()
        for product, fields in row.loses.items()
        for field, why in fields.items()
    ]
    return "\n" + table(("provider", "product", "field", "why"), rows) + "\n"


def models() -> str:
    """Each model's name on both standards, and whether it lives, by product."""
    table_of_models = built_in_capabilities()
    rows = []
    for name, model in table_of_models.models.items():
        for product, row in model.products.items():
            names = [
                f"`{table_of_models.on_wire(name, product, wire).name}`"
                if wire in row.wires
                else ""
                for wire in table_of_models.wires
            ]
            rows.append((f"`{name}`", product, *names, _state(table_of_models, name, product)))
    return "\n" + table(("model", "product", *table_of_models.wires, "state"), rows) + "\n"


def _state(capabilities: Capabilities, name: str, product: Product) -> str:
    if capabilities.models[name].preview:
        return "off until it is turned on: Kling has published neither its page nor its price"
    end = capabilities.retirement(name, product)
    if end is None:
        return "lives"
    state = "retired" if end.certain else "perhaps retired"
    return f"{state}: {end.note} ({end.source}, {end.date}); then `{end.successor}`"


def row_fields() -> str:
    """What a row can hold, and the default of each field."""
    fields = ProviderRow.model_fields.items()
    rows = [(f"`{name}`", _default(field)) for name, field in fields if name not in OWN]
    told = inspect.cleandoc(ProviderRow.__doc__ or "").split("\n\n", 1)[1]
    terms = inspect.cleandoc(ProviderTerms.__doc__ or "").split("\n\n", 1)[1]
    return f"\n{table(('field', 'default'), rows)}\n{told}\n\n{terms}\n\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "none: a provider of its own needs it"
    return f"`{json.dumps(field.default)}`"

"""The two ways in which Kling takes a request: its fields in, one path and one JSON body out.

The legacy wire takes the fields as they are, `new_standard` renders the other one. Imported by
everything above `inputs`. Tests: tests/server/providers/wires.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kling_mcp.providers.wires import new_standard
from kling_tools.products import PRODUCTS, Product
from kling_tools.rules.capabilities import Wire, WireRow

__all__ = ["create_path", "order_body"]


def create_path(wire: Wire, prefix: str, product: Product, name: str) -> str:
    """The path of a create below the base URL. `prefix` is the provider's on the legacy wire,
    `name` the model's on the new one."""
    if wire == "new":
        return new_standard.path(product, name)
    return PRODUCTS[product].below(prefix)


def order_body(
    wire: Wire, product: Product, fields: Mapping[str, Any], model: WireRow
) -> Mapping[str, Any]:
    """The JSON body of a create. `fields` have their legacy names, under which the legacy wire
    sends them as they are; pictures may stand for their own values."""
    return new_standard.body(product, fields, model) if wire == "new" else fields

"""What a provider does with a body before Kling sees it."""

from __future__ import annotations

from typing import Any

from kling_mcp.sandbox.capability import MODELS, Product
from kling_mcp.sandbox.dialects import Dialect
from kling_mcp.sandbox.refusals import refused

__all__ = ["handed_on"]


def handed_on(dialect: Dialect, product: Product, body: Any) -> Any:
    """The body that Kling is handed; raises `Refusal` for what the provider refuses itself.

    A body that is no object goes on as it is, for Kling to refuse.
    """
    if not isinstance(body, dict):
        return body
    filled = {
        name: value
        for name, value in dialect.fills.get(product, {}).items()
        if body.get(name) in (None, "")
    }
    kept = {name: value for name, value in body.items() if name not in dialect.drops}
    if dialect.needs_model:
        model = kept.get("model_name")
        if not isinstance(model, str) or not model:
            raise refused("model_missing")
        if model not in MODELS:
            raise refused("model_unserved", model=model)
    return kept | filled

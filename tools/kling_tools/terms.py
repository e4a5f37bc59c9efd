"""What one provider adds to the rules: which products it serves and what it would lose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kling_tools.capabilities import Product

__all__ = ["ProviderTerms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderTerms:
    """The part of a provider's row that the rules need.

    `products` are the routes it serves; `default_models` the model taken when none is named, by
    product in the order of preference; `loses` maps fields that it would drop in silence to the
    reason; `documented_lengths` maps text fields to the characters that its own pages name (above
    is a warning: Kling itself takes 2,500); `least_images` the fewest pictures of a list;
    `prompt_optional` when its pages show a picture alone; `list_price` whether Kling's prices in
    dollars apply.
    """

    name: str
    products: tuple[Product, ...]
    default_models: Mapping[Product, str]
    loses: Mapping[Product, Mapping[str, str]] = field(default_factory=dict)
    documented_lengths: Mapping[str, int] = field(default_factory=dict)
    least_images: int = 1
    prompt_optional: bool = False
    list_price: bool = True

"""The table of products: each thing that Kling makes is a row, and who asks "which?" reads it.

Rows are data, below requests, rules and tools: what lies higher, or in another package, is named
by its plain name. `tests/tools/test_products.py` proves that each name leads somewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

__all__ = ["MAKERS", "PRODUCTS", "Product", "ProductEntry"]

Product = Literal["image2video", "multi-image2video", "omni-video"]
"""The names of the products, as Kling's paths have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductEntry:
    """One row. Raises ValueError where a field that every product needs is empty.

    `tool` makes it; of two products of one tool, the upper row is preferred. `request` is the
    class in `requests.requests`, `inputs` its fields that a caller thinks of first. `rules` are
    those of `rules.rules` and `rules.checks` that this kind of request has alone. `result` is what
    comes out, `makes` says it in words. `path` follows a provider's prefix. `priced_by` are the
    ways in which its models are priced in `rules/capabilities.json`. `desk` is the function in
    `kling_sandbox.rules` that plays it. `picture_key` is what the body calls a picture of a list;
    `names_pictures` says that the prompt has to name each one.
    """

    name: Product
    tool: str
    request: str
    inputs: tuple[str, ...]
    rules: tuple[str, ...]
    result: Literal["video"]
    makes: str
    path: str
    priced_by: tuple[Literal["clip", "second"], ...]
    desk: str
    picture_key: str = ""
    names_pictures: bool = False

    def __post_init__(self) -> None:
        needed = {field.name for field in fields(self)} - {"picture_key", "names_pictures"}
        empty = sorted(name for name in needed if not getattr(self, name))
        if empty:
            raise ValueError(f"The product {self.name!r} has no {' and no '.join(empty)}.")


_ROWS = (
    ProductEntry(
        name="image2video",
        tool="kling_image_to_video",
        request="ImageToVideoRequest",
        inputs=("image", "prompt", "image_tail"),
        rules=(
            "image_or_image_tail",
            "shots_add_up",
            "shots_in_order",
            "voices_are_spoken",
            "camera_moves_once",
        ),
        result="video",
        makes="video of one picture",
        path="image2video",
        priced_by=("clip", "second"),
        desk="image2video",
    ),
    ProductEntry(
        name="omni-video",
        tool="kling_multi_image_to_video",
        request="MultiImageToVideoRequest",
        inputs=("image_list", "prompt"),
        rules=("image_list_required", "images_are_there"),
        result="video",
        makes="video of several pictures",
        path="omni-video",
        priced_by=("second",),
        desk="omni",
        picture_key="image_url",
        names_pictures=True,
    ),
    ProductEntry(
        name="multi-image2video",
        tool="kling_multi_image_to_video",
        request="MultiImageToVideoRequest",
        inputs=("image_list", "prompt"),
        rules=("image_list_required", "images_are_there"),
        result="video",
        makes="video of several pictures",
        path="multi-image2video",
        priced_by=("clip",),
        desk="multi_image",
        picture_key="image",
    ),
)

PRODUCTS: Mapping[Product, ProductEntry] = {row.name: row for row in _ROWS}
"""The products by name, in the order of the table."""

MAKERS: Mapping[str, tuple[Product, ...]] = {
    tool: tuple(row.name for row in _ROWS if row.tool == tool)
    for tool in dict.fromkeys(row.tool for row in _ROWS)
}
"""The tools that make something and cost money, each with its products, the preferred first."""

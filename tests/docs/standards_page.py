"""docs/standards.md: where each field goes on both standards of Kling, from the mapping itself."""

from tests.docs.pages import table

from kling_mcp.providers.wires import KINDS, PLACES
from kling_tools.products import PRODUCTS
from kling_tools.requests.requests import (
    ImageToVideoRequest,
    MultiImageToVideoRequest,
    TextToVideoRequest,
)
from kling_tools.rules.capabilities import ProductRow, built_in_capabilities

__all__ = ["fields", "models"]

NEVER_BY_MODEL = frozenset(("model_name", "image", "image_list", "prompt", "duration", "mode"))
FIELDS = {
    "image2video": ImageToVideoRequest.model_fields,
    "omni-video": MultiImageToVideoRequest.model_fields,
    "text2video": TextToVideoRequest.model_fields,
}
NAMED_BY = {"shot_type": "multi_shot", "multi_prompt": "multi_shot"}
"""Fields whose ability in the table of models has another field's name."""


def fields() -> str:
    """One row a field of the requests: its place on each standard, and where it is refused."""
    head = ("field", "legacy standard", "new standard", "refused for")
    names = dict.fromkeys(name for known in FIELDS.values() for name in known)
    return "\n" + table(head, [_row(name) for name in names]) + "\n"


def _row(name: str) -> tuple[str, ...]:
    lacks = built_in_capabilities().wires["new"].lacks
    place = PLACES.get(name) or f"refused; instead: {lacks[name]}"
    return f"`{name}`", _legacy(name), place, _without(name)


def _legacy(name: str) -> str:
    if name == "aspect_ratio":
        return "`aspect_ratio`, of several pictures or of words alone"
    if name == "image_list":
        return "`image_list`: `image_url` (omni-video) or `image` (multi-image2video)"
    return f"`{name}`"


def _without(name: str) -> str:
    """The models that have no place for the field, by the table of models."""
    feature = NAMED_BY.get(name, name)
    known = built_in_capabilities().models
    rows = {
        model: row
        for model, entry in known.items()
        for product, row in entry.products.items()
        if not entry.preview and not entry.retired and name in FIELDS.get(product, ())
    }
    if name in NEVER_BY_MODEL or not any(_has(row, feature) for row in rows.values()):
        return ""
    return ", ".join(f"`{model}`" for model, row in rows.items() if not _has(row, feature))


def _has(row: ProductRow, feature: str) -> bool:
    if feature == "aspect_ratio":
        return bool(row.aspect_ratios)
    return bool(row.allows.get(feature))  # type: ignore[call-overload]


def models() -> str:
    """One row a model that lives: its name and its limits on each standard."""
    table_of_models = built_in_capabilities()
    rows = []
    for model, entry in table_of_models.models.items():
        paths = {PRODUCTS[product].path: product for product in reversed(entry.products)}
        for product in reversed(paths.values()):
            row = entry.products[product]
            if (
                entry.preview
                or table_of_models.retirement(model, product)
                or "new" not in row.wires
            ):
                continue
            new = table_of_models.on_wire(model, product, "new")
            rows.append(
                (
                    f"`{model}`",
                    f"`{PRODUCTS[product].path}`" if "legacy" in row.wires else "not there",
                    f"`/{KINDS[product]}/{new.name}`",
                    f"{new.prompt}",
                    "turned off unless asked for" if new.multi_shot else "no switch",
                )
            )
    head = ("model", "legacy product", "new path", "characters of a prompt", "shots on the new")
    return "\n" + table(head, rows) + "\n"

"""Rules of `images/generations` and `images/omni-image` (after Kling's pages)."""

from __future__ import annotations

import re

from kling_sandbox.answers.refusals import invalid_value, refused
from kling_sandbox.config import SandboxConfig
from kling_sandbox.image_models import IMAGE_MODELS, IMAGE_RATIOS, ImageModel
from kling_sandbox.model_table import Product
from kling_sandbox.orders import Order, Picture
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.shared import delivery, prompts

__all__ = ["image_generation", "omni_image"]

MOST_PICTURES = 10
MOST_AT_ONCE = 9
_REFERENCE = re.compile(r"<<<(image)_(\d+)>>>")


def omni_image(fields: Fields, files: PictureFiles, _: SandboxConfig) -> Order:
    """The order in the body. Raises `Refusal` at its first fault."""
    model, row = _model(fields, "omni-image", "kling-image-o1")
    prompt = prompts(fields, required=True)
    items = fields.objects("image_list", 1, MOST_PICTURES)
    for reference in _REFERENCE.finditer(prompt):
        if not 1 <= int(reference[2]) <= len(items):
            raise refused("reference_unknown", reference=reference[0])
    if any("image" not in item for item in items):
        raise refused("image_missing")
    pictures = tuple(files.accept("image", item.value("image")) for item in items)
    return _order(fields, "omni-image", model, row, prompt, pictures)


def image_generation(fields: Fields, files: PictureFiles, _: SandboxConfig) -> Order:
    """The order in the body. Raises `Refusal` at its first fault."""
    model, row = _model(fields, "image-generation", "kling-v3")
    prompt = prompts(fields, required=True)
    pictures: tuple[Picture, ...] = ()
    if "image" in fields:
        if fields.value("negative_prompt"):
            raise refused("unsupported", field="negative_prompt")
        pictures = (files.accept("image", fields.value("image")),)
    for name in ("image_fidelity", "human_fidelity"):
        if name in fields and not row.fidelity:
            raise refused("unsupported", field=name)
        fields.number(name, 0.0, 1.0)
    if fields.choice("image_reference", ("subject", "face"), "") and not row.fidelity:
        raise refused("unsupported", field="image_reference")
    return _order(fields, "image-generation", model, row, prompt, pictures)


def _model(fields: Fields, product: Product, default: str) -> tuple[str, ImageModel]:
    model = fields.value("model_name") or default
    row = IMAGE_MODELS.get(model) if isinstance(model, str) else None
    if row is None or product not in row.products:
        raise fields.refuse("model_name")
    return str(model), row


def _order(
    fields: Fields,
    product: Product,
    model: str,
    row: ImageModel,
    prompt: str,
    pictures: tuple[Picture, ...],
) -> Order:
    resolution = fields.choice("resolution", row.resolutions, "1k")
    count = fields.whole("n") if "n" in fields else 1
    if not 1 <= count <= MOST_AT_ONCE:
        raise invalid_value("n", count)
    auto = ["auto"] if product == "omni-image" else []
    ratio = fields.choice("aspect_ratio", [*IMAGE_RATIOS, *auto], "16:9")
    first = next((picture for picture in pictures if picture.height), None)
    own = first.width / first.height if first else 1.0
    return Order(
        product=product,
        model=model,
        mode=resolution,
        duration=0,
        prompt=prompt,
        pictures=pictures,
        aspect_ratio=IMAGE_RATIOS.get(ratio, own),
        images=count,
        **delivery(fields),
    )

"""What each model of pictures can do and costs: the sandbox's own table, after Kling's pages of
images/generations and images/omni-image and its price page (2026-09-20)."""

from __future__ import annotations

from dataclasses import dataclass

from kling_sandbox.model_table import Product

__all__ = ["IMAGE_MODELS", "IMAGE_PATHS", "IMAGE_RATIOS", "ImageModel", "path_of"]

IMAGE_PATHS: dict[str, str] = {
    "omni-image": "/images/omni-image",
    "image-generation": "/images/generations",
}
"""The endpoints, beside those of videos."""

IMAGE_RATIOS = {
    "16:9": 16 / 9,
    "9:16": 9 / 16,
    "1:1": 1.0,
    "4:3": 4 / 3,
    "3:4": 3 / 4,
    "3:2": 3 / 2,
    "2:3": 2 / 3,
    "21:9": 21 / 9,
}


DEEPER: dict[str, str] = {"avatar": "avatar/image2video", "lip-sync": "advanced-lip-sync"}
"""The paths of products that have other names."""


def path_of(prefix: str, product: str) -> str:
    """The path of a product below a base URL."""
    if beside := IMAGE_PATHS.get(product):
        return prefix.removesuffix("/videos") + beside
    return f"{prefix}/{DEEPER.get(product, product)}"


@dataclass(frozen=True, slots=True)
class ImageModel:
    """One model: its resolutions, and the image units of a picture, of one from a picture (0: the
    same), and of one in 4k. `fidelity`: it takes how near to the picture it shall stay."""

    products: tuple[Product, ...]
    resolutions: tuple[str, ...]
    units: float
    from_picture: float = 0.0
    in_4k: float = 0.0
    fidelity: bool = False

    def price(self, resolution: str, count: int, *, from_pictures: bool) -> float:
        """Image units of so many pictures."""
        one = (self.from_picture if from_pictures else 0.0) or self.units
        return round((self.in_4k if resolution == "4k" else one) * count, 4)


IMAGE_MODELS: dict[str, ImageModel] = {
    "kling-v2-1": ImageModel(
        ("image-generation",), ("1k", "2k"), 4.0, from_picture=8.0, fidelity=True
    ),
    "kling-v3": ImageModel(("image-generation",), ("1k", "2k"), 8.0),
    "kling-image-o1": ImageModel(("omni-image",), ("1k", "2k"), 8.0),
    "kling-v3-omni": ImageModel(("omni-image",), ("1k", "2k", "4k"), 8.0, in_4k=16.0),
}

"""What a gateway judges otherwise than Kling."""

from __future__ import annotations

from dataclasses import dataclass

from kling_mcp.sandbox.capability import Product

__all__ = ["AS_KLING", "HouseRules"]


@dataclass(frozen=True, slots=True)
class HouseRules:
    """Where a provider departs from Kling's rules; as it stands, Kling's own.

    `prompt_optional` names the products that need no prompt, `least_pictures` is how many
    pictures `multi-image2video` needs, `brush_on_several` whether it judges `cfg_scale`,
    `static_mask` and `dynamic_masks`, which Kling ignores there.
    """

    prompt_optional: tuple[Product, ...] = ()
    least_pictures: int = 1
    brush_on_several: bool = False


AS_KLING = HouseRules()
"""No departure."""

"""What a request will cost, in Kling's units, before it is sent."""

from __future__ import annotations

from dataclasses import dataclass

from kling_tools.products import Product
from kling_tools.rules.capabilities import Capabilities, PriceRow

__all__ = ["Estimate", "estimate", "price_text"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost in units and in US dollars at Kling's list price.

    Units are None when the price is not known, dollars also where a reseller sets its own.
    """

    units: float | None
    usd: float | None

    def __str__(self) -> str:
        return price_text(self.units, self.usd)


def price_text(units: float | None, usd: float | None) -> str:
    """A price in words: `about 1.5 units (0.21 USD list price)`."""
    if units is None:
        return "an unknown price"
    amount = f"about {units:g} unit{'' if units == 1 else 's'}"
    if usd is None:
        return f"{amount} by Kling's own rates (this reseller bills differently)"
    return f"{amount} ({usd:.2f} USD list price)"


def estimate(
    capabilities: Capabilities,
    product: Product,
    *,
    model_name: str,
    mode: str,
    duration: str,
    sound: str,
    voice: bool,
) -> Estimate:
    """The price of one video of `duration` seconds, from the unit table of the model's row.

    The first price row that fits decides. Resellers' prices differ from Kling's list prices.
    """
    row = capabilities.product_row(model_name, product)
    asked = {"mode": mode, "duration": duration, "sound": sound, "voice": voice}
    for price in row.units if row else ():
        if _fits(price, asked):
            units = price.units
            if units is None and price.per_second is not None:
                units = price.per_second * int(duration)
            if units is not None:
                units = round(units, 4)
                return Estimate(units, round(units * capabilities.usd_per_unit, 4))
    return Estimate(None, None)


def _fits(price: PriceRow, asked: dict[str, object]) -> bool:
    wanted = price.model_dump(include=set(asked), exclude_none=True)
    return all(asked[name] == value for name, value in wanted.items())

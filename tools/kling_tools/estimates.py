"""What a request will cost, in Kling's units, before it is sent."""

from __future__ import annotations

from dataclasses import dataclass

from kling_tools.capabilities import Capabilities, PriceRow, Product

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost in units and in US dollars at list price; both None when the price is not known."""

    units: float | None
    usd: float | None

    def __str__(self) -> str:
        if self.units is None:
            return "price unknown"
        return f"about {self.units:g} units ({self.usd:.2f} USD list price)"


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

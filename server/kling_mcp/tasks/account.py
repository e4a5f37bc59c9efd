"""What videos cost: the price of one, and what was spent."""

from __future__ import annotations

from kling_mcp.providers.pool import Clients
from kling_tools.rules.capabilities import Capabilities, Estimate

__all__ = ["price_of"]


def price_of(
    provider: str, units: float | None, clients: Clients, capabilities: Capabilities
) -> Estimate:
    """The price of so many units at a provider: at a reseller, Kling's list price says how much
    is made, and the reseller sets its own."""
    known = provider in clients.names
    at_list = known and clients.configured(provider).row.terms.list_price
    if not at_list:
        return Estimate(units, None, provider)
    return Estimate(units, None if units is None else units * capabilities.usd_per_unit)

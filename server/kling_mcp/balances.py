"""What is left at every configured provider, as one document."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import anyio

from kling_mcp.account import units_left
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from kling_mcp.clients import Clients

__all__ = ["balances"]

NOT_IN_TIME = "It has not answered in time. Ask again in a moment."
SILENT = "This provider does not tell what is left: see its web page."


async def balances(clients: Clients, now: float, within_s: float) -> dict[str, Any]:
    """`providers`: by name `units_left` and `packs`, or a `note` why they are not known.

    `now` is in seconds since the epoch, as are the ends of packs. A provider that fails, or does
    not answer within those seconds, is told in its note. Raises nothing.
    """
    found = {name: {"units_left": None, "note": NOT_IN_TIME} for name in clients.names}

    async def ask(name: str) -> None:
        found[name] = await _balance(clients, name, now)

    with anyio.move_on_after(within_s):
        async with anyio.create_task_group() as group:
            for name in clients.names:
                group.start_soon(ask, name)
    return {"providers": found}


async def _balance(clients: Clients, name: str, now: float) -> dict[str, Any]:
    if not clients.configured(name).row.tells_units:
        return {"units_left": None, "note": SILENT}
    try:
        packs = await (await clients.get(name)).account(now)
    except KlingError as error:
        return {"units_left": None, "note": str(error)}
    found: dict[str, Any] = {
        "units_left": units_left(packs),
        "packs": [asdict(pack) for pack in packs],
    }
    if clients.embedded(name):
        found["note"] = "Play money of the sandbox."
    return found

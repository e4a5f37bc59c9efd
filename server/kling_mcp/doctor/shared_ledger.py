"""The database that several servers share: whether it lets this one in, and what lies there."""

from __future__ import annotations

from anyio import to_thread

from kling_mcp.doctor.findings import Finding
from kling_mcp.ledger.postgres_migrations import POSTGRES_MIGRATIONS
from kling_tools.errors import NotConfigured

__all__ = ["shared_ledger_finding"]


async def shared_ledger_finding(address: str) -> Finding:
    """Whether the ledger can be read; nothing in it is changed, and no table is made."""
    from kling_mcp.ledger.postgres import PostgresEngine

    try:
        engine = PostgresEngine(address)
        steps, rows, open_rows = await to_thread.run_sync(engine.looked_at)
    except NotConfigured as error:
        return Finding("ledger", "wrong", error.message, error.advice)
    known = [name for name, _ in POSTGRES_MIGRATIONS]
    facts = {
        "place": engine.place,
        "schema": steps[-1] if steps else None,
        "rows": rows,
        "open_rows": open_rows,
    }
    if not steps:
        text = f"The database {engine.place} is empty; the first video begins the ledger."
        return Finding("ledger", "good", text, "", facts)
    if strange := [name for name in steps if name not in known]:
        text = f"A newer kling-mcp has written the ledger {engine.place} ({strange[-1]})."
        return Finding("ledger", "warning", text, "Update kling-mcp.", facts)
    waiting = f", {open_rows} of them waiting to be sent or looked for" if open_rows else ""
    older = "" if steps == known else " It is of an older version and is brought up to date."
    text = f"The ledger opens: {rows} tasks{waiting} ({engine.place}).{older}"
    return Finding("ledger", "good", text, "", facts)

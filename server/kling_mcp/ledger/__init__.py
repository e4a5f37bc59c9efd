"""The ledger: one row for every requested video, written before money is spent.

It is one SQLite file in the user's data folder, in WAL mode so that several processes can share it,
or a PostgreSQL database. A row exists before its POST, with the `external_task_id` of that POST,
and is never deleted.
Imported by everything above it.
Tests: tests/server/ledger.
"""

from kling_mcp.ledger.connecting import open_ledger
from kling_mcp.ledger.records import DayCaps, NewRow, Record
from kling_mcp.ledger.store import Ledger

__all__ = ["DayCaps", "Ledger", "NewRow", "Record", "open_ledger"]

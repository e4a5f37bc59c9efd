"""The capability table with the rows of the user's file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from kling_mcp.settings.environment import RowFileFault, read_row_file
from kling_tools.errors import NotConfigured
from kling_tools.rules.capabilities import Capabilities, built_in_capabilities

__all__ = ["read_capabilities"]


def read_capabilities(path: Path | None, *, previews: bool = False) -> Capabilities:
    """The built-in table with the rows of the user's JSON or TOML file; raises NotConfigured. It
    turns on all `previews`, or those that the file names."""
    table = built_in_capabilities().with_previews(None if previews else ())
    if path is None:
        return table
    try:
        rows = read_row_file(path)
        named = rows.get("models")
        table = table.with_previews(named if isinstance(named, Mapping) else ())
        return table.overridden(rows)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()
        ]
        reason = "; ".join(faults)
    except RowFileFault as fault:
        reason = str(fault)
    raise NotConfigured(
        f"KLING_MCP_CAPABILITIES names {path}, which cannot be used: {reason}.",
        advice="It has the shape of kling_tools/rules/capabilities.json; name only what differs.",
    )

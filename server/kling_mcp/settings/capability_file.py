"""The capability table with the rows of the user's file."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from kling_mcp.settings.environment import RowFileFault, read_row_file
from kling_tools.errors import NotConfigured
from kling_tools.rules.capabilities import Capabilities, built_in_capabilities

__all__ = ["read_capabilities"]


def read_capabilities(path: Path | None) -> Capabilities:
    """The built-in table with the rows of the user's JSON or TOML file; raises NotConfigured."""
    if path is None:
        return built_in_capabilities()
    try:
        return built_in_capabilities().overridden(read_row_file(path))
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

"""Where a setting comes from: the environment, or the `.env` of the working folder."""

from __future__ import annotations

import os
from pathlib import Path

from kling_mcp.dotenv_file import dotenv

__all__ = ["raw_value", "setting_origin"]


def setting_origin(variable: str) -> str:
    """ "the environment", the path of the `.env`, or "" when neither sets it."""
    if _found(variable, dict(os.environ)):
        return "the environment"
    return str(Path(".env").absolute()) if _found(variable, _local()) else ""


def raw_value(variable: str) -> str:
    """The value as it was written, spaces and all; empty when it is not set."""
    return _found(variable, dict(os.environ)) or _found(variable, _local())


def _local() -> dict[str, str | None]:
    try:
        return dict(dotenv())
    except (OSError, UnicodeDecodeError):
        return {}


def _found(variable: str, values: dict[str, str] | dict[str, str | None]) -> str:
    """Settings are read in any case of letters."""
    for name, value in values.items():
        if name.upper() == variable and value:
            return value
    return ""

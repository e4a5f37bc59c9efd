"""A user's own rows, from a JSON or TOML file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["RowFileFault", "read_row_file"]


class RowFileFault(Exception):
    """The file cannot be used; the text says why."""


def read_row_file(path: Path) -> Mapping[str, Any]:
    """The file's table, from TOML where its name ends so, else from JSON.

    Raises RowFileFault when it cannot be read or holds something else.
    """
    import tomllib

    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise RowFileFault(str(error)) from error
    if not isinstance(rows, Mapping):
        raise RowFileFault("it does not hold a table")
    return rows

"""How a client is to start this server: the program by its whole path, or through uvx."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Launch", "this_launch"]

UV_CACHES = ("archive-v0", "environments-v2", "builds-v0")
"""Folders of uv's cache that uvx runs programs from; they come and go."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A command and its arguments. Clients start with another PATH than shells do, so the command
    is a whole path wherever it can be found."""

    command: str
    args: tuple[str, ...] = ()


def this_launch(
    program: str | None = None, python: str | None = None, prefix: str | None = None
) -> Launch:
    """The way to start what runs now; by default from `sys.argv[0]`, `sys.executable` and
    `sys.prefix`."""
    program = sys.argv[0] if program is None else program
    python = sys.executable if python is None else python
    prefix = sys.prefix if prefix is None else prefix
    if set(UV_CACHES) & set(Path(prefix).parts):
        return Launch(shutil.which("uvx") or "uvx", ("kling-mcp",))
    named = Path(program)
    if named.stem == "kling-mcp" and named.is_file():
        return Launch(str(named.absolute()))
    for name in ("kling-mcp", "kling-mcp.exe"):
        beside = Path(python).parent / name
        if beside.is_file():
            return Launch(str(beside))
    found = shutil.which("kling-mcp")
    return Launch(str(Path(found).absolute())) if found else Launch(python, ("-m", "kling_mcp"))

"""The computer that clients are configured on: its system, its home folder, its environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "this_machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """`platform` as in `sys.platform`; tests make up others."""

    platform: str
    home: Path
    environment: Mapping[str, str]

    @property
    def system(self) -> str:
        """`mac`, `windows` or `linux` (which stands for all others)."""
        return {"darwin": "mac", "win32": "windows"}.get(self.platform, "linux")

    def place(self, template: str) -> Path:
        """The path that a template stands for: `{home}`, `{appdata}` (Windows' roaming folder),
        `{config}` (XDG_CONFIG_HOME, else ~/.config)."""
        home = self.home
        appdata = self.environment.get("APPDATA")
        config = self.environment.get("XDG_CONFIG_HOME") if self.system == "linux" else None
        return Path(
            template.format(
                home=home,
                appdata=appdata or home / "AppData" / "Roaming",
                config=config or home / ".config",
            )
        )


def this_machine() -> Machine:
    """The one that this process runs on; raises RuntimeError when there is no home folder."""
    return Machine(sys.platform, Path.home(), os.environ)

"""Where pictures may come from and what may be done to them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kling_mcp.decoding import DECODING, Decoding
from kling_mcp.images.task_picture import TaskPictures

__all__ = ["PicturePolicy", "at_home"]


@dataclass(frozen=True, slots=True)
class PicturePolicy:
    """The operator's choices about pictures.

    `roots` are the only folders that local pictures may come from (none means no folder),
    `allow_local` whether local files may be named at all, `fix` whether a picture that Kling
    would refuse is converted instead (the setting KLING_MCP_FIX_IMAGES). `of_tasks` makes the
    pictures that are frames of finished tasks; None where there are no tasks. `decoding` lends
    the memory and the threads that looking at pictures takes.
    """

    roots: tuple[Path, ...]
    allow_local: bool = True
    fix: bool = False
    of_tasks: TaskPictures | None = None
    decoding: Decoding = DECODING

    def real_roots(self) -> tuple[Path, ...]:
        """The roots as absolute folders with symlinks and `~` resolved."""
        return tuple(Path(os.path.realpath(at_home(root))) for root in self.roots)

    def root_of(self, real: Path) -> Path | None:
        """The root that `real`, an absolute path without symlinks, lies in, or None."""
        return next((root for root in self.real_roots() if real.is_relative_to(root)), None)

    def roots_text(self) -> str:
        """The roots for a person to read, with the home folder written as `~`."""
        return " or ".join(_with_tilde(root) for root in self.roots) or "no folder"


def at_home(path: Path) -> Path:
    """The path with a leading `~` replaced by the home folder, unchanged when there is none."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _with_tilde(root: Path) -> str:
    home = at_home(Path("~"))
    if home.is_absolute() and root.is_relative_to(home):
        return str(Path("~") / root.relative_to(home))
    return str(root)

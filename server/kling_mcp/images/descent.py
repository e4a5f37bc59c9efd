"""Opening a file below a folder without ever leaving that folder."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["open_below"]


def _flags(*names: str) -> int:
    return sum(getattr(os, name, 0) for name in names)


_FILE = _flags("O_RDONLY", "O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK")
_FOLDER = _flags("O_RDONLY", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_PATH")


def open_below(root: Path, real: Path) -> int:
    """A descriptor of `real`, an absolute path below `root`, both without symlinks.

    The folders between are opened one by one from `root` down, so that one that is swapped for a
    symlink at any moment leads nowhere. A pipe does not block. Raises `OSError`.
    """
    if os.open not in os.supports_dir_fd:
        return _open_and_look_again(real)
    *folders, name = real.relative_to(root).parts
    folder = os.open(root, _FOLDER)
    try:
        for part in folders:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(name, _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _open_and_look_again(real: Path) -> int:
    """For Windows, which opens by whole paths only: what was opened must still stand there."""
    descriptor = os.open(real, _FILE)
    opened, now = os.fstat(descriptor), real.lstat()
    same = (opened.st_dev, opened.st_ino) == (now.st_dev, now.st_ino)
    if not same or os.path.realpath(real) != str(real):
        os.close(descriptor)
        raise OSError("the path changed while it was being opened")
    return descriptor

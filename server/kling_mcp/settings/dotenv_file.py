"""Files of settings: one that somebody named, and the `.env` that lies in the working folder.

Only a regular file is read, and only one of 100 kB at most: a named pipe would wait for its writer.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from pathlib import Path

__all__ = ["LOCAL", "EnvFileFault", "read_env_file"]

LOCAL = Path(".env")
"""In whatever folder a host starts the server, perhaps another program's or a stranger's."""

LIMIT_BYTES = 100_000

ENCODING = "utf-8-sig"
"""UTF-8, with or without the mark that Notepad writes first."""


class EnvFileFault(Exception):
    """Why a file cannot be read, as the rest of "the file …"."""


def read_env_file(path: Path, *, fill_in: bool = False) -> Mapping[str, str]:
    """What the file sets, with `${NAME}` filled in from the environment only where that is wanted;
    raises EnvFileFault, and FileNotFoundError when there is none."""
    from dotenv import dotenv_values

    try:
        text = _bytes_of(path).decode(ENCODING)
    except UnicodeDecodeError:
        raise EnvFileFault("is not UTF-8 text") from None
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise EnvFileFault(f"cannot be read ({getattr(error, 'strerror', error)})") from None
    found = dotenv_values(stream=io.StringIO(text), interpolate=fill_in)
    return {name: value or "" for name, value in found.items()}


def _bytes_of(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise EnvFileFault("is not a regular file")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise EnvFileFault("is not a regular file")
        data = file.read(LIMIT_BYTES + 1)
    if len(data) > LIMIT_BYTES:
        raise EnvFileFault("has more than 100 kB")
    return data

"""uv as it is after its first time: with a full cache (UV_CACHE_DIR) and without a network."""

import os
import subprocess
import sys
from pathlib import Path

from tests.outside_suites import outside_python

__all__ = ["offline", "run", "uv"]


def uv() -> list[str]:
    """The words that start uv."""
    return [outside_python(), "-m", "uv"]


def offline(folder: Path) -> dict[str, str]:
    """The environment of a person without a key, whose uv may not connect."""
    return {
        **{name: os.environ[name] for name in ("PATH", "UV_CACHE_DIR") if name in os.environ},
        "HOME": str(folder),
        "UV_OFFLINE": "1",
        "UV_PYTHON": sys.executable,
        "UV_PYTHON_DOWNLOADS": "never",
        "KLING_MCP_HOME": str(folder / "home"),
        "KLING_MCP_SANDBOX_QUEUE_S": "0",
        "KLING_MCP_SANDBOX_RENDER_S": "0",
    }


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """uv with these words, finished."""
    return subprocess.run(
        [*uv(), *words],
        cwd=folder,
        env=offline(folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

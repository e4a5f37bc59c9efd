"""What lies in the bundle: the manifest, the wheel, and a project for uv that needs only the wheel.

The server type is `uv` (manifest 0.4): packages with compiled parts, such as PyAV and pydantic,
cannot be carried for every system in one file, so the host installs them when it installs the
bundle. Source: README of the npm package @anthropic-ai/mcpb 2.1, "UV Runtime".
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["ENTRY", "HERE", "built_wheel", "make_folder", "manifest"]

HERE = Path(__file__).resolve().parent
ENTRY = "start.py"
COPIED = ("manifest.json", "icon.png", ENTRY)

PROJECT = """\
[project]
name = "kling-mcp-bundle"
version = "{version}"
requires-python = "{python}"
dependencies = ["kling-mcp"]

[tool.uv]
package = false

[tool.uv.sources]
kling-mcp = {{ path = "{wheel}" }}
"""


def manifest() -> dict[str, Any]:
    """The manifest, whose format is https://github.com/anthropics/mcpb, MANIFEST.md."""
    read: dict[str, Any] = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    return read


def built_wheel(folder: Path) -> Path:
    """The wheel of this tree, built into the folder. Raises CalledProcessError."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=HERE.parent, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def make_folder(folder: Path, wheel: Path) -> None:
    """Lay everything out in the folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in COPIED:
        shutil.copy(HERE / name, folder)
    shutil.copy(wheel, folder)
    about = manifest()
    python = about["compatibility"]["runtimes"]["python"]
    project = PROJECT.format(version=about["version"], python=python, wheel=wheel.name)
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")

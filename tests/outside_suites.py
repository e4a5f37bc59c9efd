"""Where the programs of others are that CI installs; tests that need them are skipped without.

`KLING_MCP_NODE_MODULES` names a node_modules folder made from `tests/outside/package.json`,
`KLING_MCP_NODE` a Node of at least version 22 if the one on the path is older,
`KLING_MCP_OUTSIDE_PYTHON` the Python of an environment made from `tests/outside/requirements.txt`.
"""

import os
import shutil
from pathlib import Path

import pytest

__all__ = ["chromium", "client_python", "node", "node_modules", "outside_python"]


def node_modules() -> Path:
    """The folder of npm packages."""
    folder = os.environ.get("KLING_MCP_NODE_MODULES")
    if not folder:
        pytest.skip("KLING_MCP_NODE_MODULES is not set")
    return Path(folder)


def node() -> str:
    """The Node to run them with."""
    found = os.environ.get("KLING_MCP_NODE") or shutil.which("node")
    if not found:
        pytest.skip("there is no Node")
    return found


def outside_python() -> str:
    """The Python of the environment that has what `tests/outside/requirements.txt` names."""
    found = os.environ.get("KLING_MCP_OUTSIDE_PYTHON")
    if not found:
        pytest.skip("KLING_MCP_OUTSIDE_PYTHON is not set")
    return found


def client_python(kind: str) -> str:
    """The Python of an environment made from tests/clients: `agents` or `langchain`."""
    name = f"KLING_MCP_{kind.upper()}_PYTHON"
    found = os.environ.get(name)
    if not found:
        pytest.skip(f"{name} is not set")
    return found


def chromium() -> str:
    """Debian's Chromium, with Playwright to drive it."""
    pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium")
    if not found:
        pytest.skip("there is no chromium")
    return found

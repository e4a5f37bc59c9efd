"""Starts kling-mcp for the client that has this plugin: the installed program, else by uvx. Where
neither is to be had, a server without tools for videos answers and says how to install it.

Needs nothing but Python 3.8, as it runs where the program does not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

SOURCE = "git+https://github.com/kling-mcp/kling-mcp"
PLACES = ("~/.local/bin", "~/.cargo/bin", "/opt/homebrew/bin", "/usr/local/bin")
"""Where installers put programs. Clients often start with a shorter PATH than shells."""

INSTALL = (
    "kling-mcp is not installed on this computer{why}, so there are no tools for videos. "
    f"Install it with uv (https://docs.astral.sh/uv/), `uv tool install {SOURCE}`, or with pipx, "
    f"`pipx install {SOURCE}`. Both need git and Python 3.11 or newer. Then start this client "
    "again."
)
TOOL = {
    "name": "kling_setup",
    "title": "How to install kling-mcp",
    "description": "Says how to install kling-mcp, which is missing here. Costs nothing.",
    "inputSchema": {"type": "object", "properties": {}},
    "annotations": {"readOnlyHint": True},
}


def main() -> None:
    """Become the program, or answer in its place."""
    if program := found("kling-mcp"):
        become([program])
    uvx, why = found("uvx"), ""
    if uvx:
        command = [uvx, "--from", SOURCE, "kling-mcp"]
        tried = subprocess.run(
            [*command, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if tried.returncode == 0:
            become(command)
        why = f" and uvx could not fetch it ({(tried.stderr.strip().splitlines() or ['?'])[-1]})"
    answer_instead(INSTALL.format(why=why))


def found(name: str) -> str:
    """The path of a program; empty when it is nowhere."""
    places = [os.environ.get("PATH", ""), *map(os.path.expanduser, PLACES)]
    return shutil.which(name, path=os.pathsep.join(places)) or ""


def become(command: list[str]) -> None:
    """Run the command in the place of this program, with the same input and output."""
    if os.name == "nt":  # exec would leave the client with an ended process
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)


def answer_instead(text: str) -> None:
    """Speak the protocol just far enough that the client shows the text."""
    print(text, file=sys.stderr, flush=True)
    for line in sys.stdin.buffer:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(message, dict) and "id" in message and "method" in message:
            reply = {"jsonrpc": "2.0", "id": message["id"], **answer(message, text)}
            print(json.dumps(reply), flush=True)


def answer(message: dict[str, Any], text: str) -> dict[str, Any]:
    """The result of a request, or its error."""
    method, params = message["method"], message.get("params")
    asked = params.get("protocolVersion") if isinstance(params, dict) else None
    version = asked if isinstance(asked, str) else "2025-11-25"
    about = {
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "kling-mcp", "version": "not installed"},
        "instructions": text,
    }
    if method == "initialize":
        return {"result": {"protocolVersion": version, **about}}
    if method == "ping":
        return {"result": {}}
    if method == "tools/list":
        return {"result": {"tools": [TOOL]}}
    if method == "tools/call":
        return {"result": {"content": [{"type": "text", "text": text}], "isError": True}}
    return {"error": {"code": -32601, "message": text}}


if __name__ == "__main__":
    main()

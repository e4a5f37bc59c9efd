"""The links of the README that add this server to a client: the entries of `kling-mcp install`."""

import base64
import json
from typing import Any
from urllib.parse import quote

from plugin.start import SOURCE

from kling_mcp.cli.client_configs.clients import CLIENTS
from kling_mcp.cli.client_configs.entries import NAME, Launch, Wanted, edits_for

__all__ = ["badges", "entry"]

SHIELD = "https://img.shields.io/badge"


def entry(client: str) -> tuple[dict[str, Any], list[Any]]:
    """The entry that the client's file would get, started by uvx, and what the client asks for."""
    launch = Launch("uvx", ("--from", SOURCE, "kling-mcp"))
    *asked, put = edits_for(CLIENTS[client], Wanted(launch, ("KLING_API_KEY",), {}, {}))
    return put.value, [edit.value for edit in asked]


def badges() -> str:
    """A badge for each client that takes such a link.

    Sources: https://cursor.com/docs/mcp/install-links and
    https://code.visualstudio.com/docs/agents/reference/mcp-configuration, with the https form of
    its `vscode:mcp/install`.
    """
    cursor, _ = entry("cursor")
    config = quote(base64.b64encode(_json(cursor).encode()).decode(), safe="")
    in_cursor = f"https://cursor.com/en/install-mcp?name={NAME}&config={config}"
    vscode, inputs = entry("vscode")
    in_vscode = (
        f"https://insiders.vscode.dev/redirect/mcp/install?name={NAME}"
        f"&inputs={quote(_json(inputs), safe='')}&config={quote(_json(vscode), safe='')}"
    )
    claude = "docs/clients.md#plugin-and-skill"
    return (
        f"[![Add to Cursor]({SHIELD}/Cursor-add-000000)]({in_cursor})\n"
        f"[![Add to VS Code]({SHIELD}/VS_Code-add-0098FF)]({in_vscode})\n"
        f"[![Claude Code plugin]({SHIELD}/Claude_Code-plugin-D97757)]({claude})\n"
    )


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))

"""The player in the chat (MCP Apps): a page that shows a take from its price to the video.

The page is assembled from `page.html`, `style.css` and four scripts, in this order: `host.js` talks
to the host, `takes.js` to the server's tools, `view.js` to the person, and `main.js` starts them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.mcpserver.resources import FunctionResource

from kling_mcp.providers.rows import ProviderRow
from kling_tools.tools.toolset import PLAYER_URI

__all__ = ["PLAYER_URI", "player_extension", "player_page"]

SCRIPTS = ("host.js", "takes.js", "view.js", "main.js")


@cache
def player_page() -> str:
    """The HTML document with its style and scripts inside. It loads nothing but the video."""
    page = _part("page.html").replace("/*style*/", _part("style.css"))
    return page.replace("/*script*/", "\n".join(map(_part, SCRIPTS)))


def player_extension(rows: Iterable[ProviderRow]) -> Apps:
    """The MCP Apps extension with the player. The page may load videos from these providers' hosts
    only. Its files are read when a host first asks for it."""
    hosts = sorted({host for row in rows for host in row.video_hosts})
    csp = {"csp": {"resourceDomains": hosts}} if hosts else {}
    apps = Apps()
    apps.add_resource(
        FunctionResource(
            uri=PLAYER_URI,
            name="player",
            title="Kling video player",
            description="Shows a video while it is made and plays it.",
            mime_type=APP_MIME_TYPE,
            fn=player_page,
            meta={"ui": {**csp, "permissions": {"clipboardWrite": {}}, "prefersBorder": True}},
        )
    )
    return apps


def _part(name: str) -> str:
    return files("kling_mcp.protocol.player").joinpath(name).read_text(encoding="utf-8").strip()

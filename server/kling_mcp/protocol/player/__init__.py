"""The player in the chat (MCP Apps): a page that shows a take from its price to the video.

The page is assembled from `page.html`, `style.css` and four scripts, in this order: `host.js` talks
to the host, `takes.js` to the server's tools, `view.js` to the person, and `main.js` starts them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache, partial
from importlib.resources import files

from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.mcpserver.resources import FunctionResource

from kling_mcp.providers.rows import ProviderRow
from kling_tools.tools.toolset import PLAYER_URI

__all__ = ["PLAYER_URI", "player_extension", "player_page"]

SCRIPTS = ("host.js", "takes.js", "view.js", "main.js")


@cache
def player_page(uploads_from: tuple[str, ...] = ()) -> str:
    """The HTML document with its style and scripts inside. It loads nothing but the video, and
    sends pictures to an upload address where its own origin is one of these."""
    page = _part("page.html").replace("/*style*/", _part("style.css"))
    names = json.dumps(uploads_from)[1:-1].replace("<", "\\u003c")
    script = "\n".join(map(_part, SCRIPTS)).replace("/*origins*/", names)
    return page.replace("/*script*/", script)


def player_extension(
    rows: Iterable[ProviderRow], uploads_at: str = "", uploads_from: Sequence[str] = ()
) -> Apps:
    """The MCP Apps extension with the player. The page may load videos from these providers' hosts
    only, and send pictures to the origin `uploads_at` from these origins. Its files are read when a
    host first asks for it."""
    hosts = sorted({host for row in rows for host in row.video_hosts})
    domains = {"resourceDomains": hosts, "connectDomains": [uploads_at] if uploads_at else []}
    named = {name: value for name, value in domains.items() if value}
    csp = {"csp": named} if named else {}
    origins = (uploads_at, *uploads_from) if uploads_at else ()
    apps = Apps()
    apps.add_resource(
        FunctionResource(
            uri=PLAYER_URI,
            name="player",
            title="Kling video player",
            description="Shows a video while it is made and plays it.",
            mime_type=APP_MIME_TYPE,
            fn=partial(player_page, origins),
            meta={"ui": {**csp, "permissions": {"clipboardWrite": {}}, "prefersBorder": True}},
        )
    )
    return apps


def _part(name: str) -> str:
    return files("kling_mcp.protocol.player").joinpath(name).read_text(encoding="utf-8").strip()

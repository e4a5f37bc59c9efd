"""The player in the chat (MCP Apps): a page that shows a take from its price to the video.

The page is put together from `page.html`, `style.css` and four scripts that are read in order:
`host.js` speaks with the host, `takes.js` with the server's tools, `view.js` with the person.
"""

from kling_mcp.protocol.player.page import PLAYER_URI, player_extension, player_page

__all__ = ["PLAYER_URI", "player_extension", "player_page"]

"""Giving out videos: signed addresses, ranges, and one that breaks off on purpose."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from kling_mcp.sandbox.connection import ConnectionDropped

__all__ = ["CutShort", "video_response"]


def video_response(path: Path, *, cut_short: bool) -> Response:
    """The file as a CDN gives it out: ETag, Content-Length, `Range` for resuming."""
    whole = FileResponse(path, media_type="video/mp4")
    return CutShort(whole, path.stat().st_size // 2) if cut_short else whole


class CutShort(Response):
    """A response of which at most `limit` bytes are sent, though its headers promise all.

    Then it raises `ConnectionDropped`.
    """

    def __init__(self, whole: Response, limit: int) -> None:
        self._whole = whole
        self._limit = limit
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = self._limit

        async def send_until_cut(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.body":
                body: bytes = message.get("body", b"")
                if len(body) >= left:
                    await send({**message, "body": body[:left], "more_body": True})
                    raise ConnectionDropped("the sandbox cut the video short", answered=True)
                left -= len(body)
            await send(message)

        await self._whole(scope, receive, send_until_cut)

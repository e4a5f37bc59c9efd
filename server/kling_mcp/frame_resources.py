"""`kling://tasks/ID/frames/…` and `kling://tasks/ID/contact-sheet`: what a video shows, to look at
without playing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

from kling_mcp.task_resources import told
from kling_mcp.task_uris import FRAME_URI, SHEET_URI

if TYPE_CHECKING:
    from kling_mcp.service import Service

__all__ = ["add_frame_resources"]


def add_frame_resources(server: MCPServer[Any]) -> None:
    """Give the server the frames and contact sheets of finished tasks."""

    @server.resource(
        FRAME_URI,
        name="frame",
        title="A frame of a Kling video",
        description="which: first, last or seconds (2.5). Full size; also taken as image, to "
        "continue the clip.",
        mime_type="image/png",
    )
    async def frame(task_id: str, which: str, ctx: Context[Any, Any]) -> bytes:
        service: Service = ctx.request_context.lifespan_context
        with told():
            return (await service.frames.frame(task_id, which)).data

    @server.resource(
        SHEET_URI,
        name="contact-sheet",
        title="Contact sheet of a Kling video",
        description="Eight evenly spaced frames with their times in one picture.",
        mime_type="image/jpeg",
    )
    async def sheet(task_id: str, ctx: Context[Any, Any]) -> bytes:
        service: Service = ctx.request_context.lifespan_context
        with told():
            return (await service.frames.contact_sheet(task_id)).data

"""What a host without the player can show of a finished video: a small picture, and a link."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from mcp_types import ContentBlock, ImageContent, ResourceLink

__all__ = ["Poster"]


@dataclass(frozen=True, slots=True)
class Poster:
    """A small JPEG of the video of a task, and where the video itself can be read."""

    task_id: str
    jpeg: bytes
    video_uri: str
    video_bytes: int

    def content(self) -> list[ContentBlock]:
        """The picture and the link as parts of an answer; the video itself is never one."""
        return [
            ImageContent(
                type="image", data=base64.b64encode(self.jpeg).decode(), mime_type="image/jpeg"
            ),
            ResourceLink(
                type="resource_link",
                uri=self.video_uri,
                name=f"{self.task_id}.mp4",
                mime_type="video/mp4",
                size=self.video_bytes,
            ),
        ]

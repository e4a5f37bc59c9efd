"""Finished videos: fetched, checked, named, saved, and shown as frames.

Imported by `cli`, `hosting`, `service`, `runtime`, `films`, `polling` and `submission`.
Tests: tests/server/outputs.
"""

from kling_mcp.inputs.mp4 import Mp4Facts, NotWholeMp4
from kling_mcp.outputs.saving import VideoFile, save_video
from kling_mcp.outputs.storage import VideoFolder
from kling_mcp.providers.responses import Download, VideoStream

__all__ = [
    "Download",
    "Mp4Facts",
    "NotWholeMp4",
    "VideoFile",
    "VideoFolder",
    "VideoStream",
    "save_video",
]

"""The protocol's extension for long work, io.modelcontextprotocol/tasks (SEP-2663).

A client that declares it gets a handle from the two create tools, asks with it until the video is
there, and is told of changes where it listens. The handle is the id of the ledger's row, so any
process that shares the ledger can serve it, also after a restart.
"""

from kling_mcp.protocol.tasks_extension.extension import TASKS, TasksExtension
from kling_mcp.protocol.tasks_extension.video_tasks import (
    FINAL,
    InputRequests,
    TaskDesk,
    TaskState,
    VideoTasks,
)

__all__ = [
    "FINAL",
    "TASKS",
    "InputRequests",
    "TaskDesk",
    "TaskState",
    "TasksExtension",
    "VideoTasks",
]

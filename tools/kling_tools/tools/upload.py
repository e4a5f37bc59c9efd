"""The tool of hosted servers that takes a picture from the caller's own disk."""

from __future__ import annotations

from collections.abc import Callable

from mcp_types import ToolAnnotations

from kling_tools.errors import InvalidRequest
from kling_tools.requests.arguments import UploadPictureArguments
from kling_tools.requests.drafts import Draft
from kling_tools.results import UploadAddress
from kling_tools.service import VideoService
from kling_tools.tools.tool import Call, KlingTool

__all__ = ["upload_tool"]


def upload_tool(service: Callable[[], VideoService]) -> KlingTool:
    """`kling_upload_picture`: an address that takes one picture, and what then stands for it."""
    return KlingTool.of(
        _upload_picture,
        service,
        name="kling_upload_picture",
        title="Upload picture",
        description="Local picture: PUT its bytes to upload_url, then use image.",
        arguments=UploadPictureArguments,
        answer=UploadAddress,
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False),
        input_schema={"type": "object", "properties": {}},
        answer_fields=("image",),
    )


async def _upload_picture(draft: Draft[UploadPictureArguments], call: Call) -> UploadAddress:
    if draft.verdict.faults:
        raise InvalidRequest(draft.verdict.faults)
    return await call.service.upload()

"""Where chats keep what a person uploads: places that no program of the person's can read."""

from __future__ import annotations

import re
from pathlib import Path

from kling_mcp.images.policy import PicturePolicy
from kling_mcp.images.refusal import Refusal, short

__all__ = ["chat_storage_refusal"]

_FOLDER = re.compile(
    r"(?:file:(?://(?:localhost)?)?)?"
    r"(/mnt/(?:user-data|data|uploads?|files?|outputs)|/home/(?:claude|oai|sandbox)|/workspace/uploads)/",
    re.IGNORECASE,
)
"""Claude's and ChatGPT's containers, and those of their like."""

_ADDRESS = re.compile(
    r"(?:sandbox|blob|attachment|file-service|cid|content|ph|upload|uploads|mcp-file|filesystem):"
    r"|file[-_][A-Za-z0-9]{12,}$",
    re.IGNORECASE,
)
"""Names that mean something only within a chat, a web page or an app."""


def chat_storage_refusal(text: str, policy: PicturePolicy) -> Refusal | None:
    """What to say of a picture in a chat's storage; None for one that is not there, also where this
    machine has the folder itself."""
    folder = _FOLDER.match(text)
    if folder is None and not _ADDRESS.match(text):
        return None
    if folder is not None and Path(folder.group(1)).exists():
        return None
    ways = (
        "the path of the picture on this computer (ask the person), or an https URL"
        if policy.allow_local
        else "kling_upload_picture, or an https URL"
    )
    return Refusal(
        "path_of_a_chat",
        f"{short(text)} lies in the chat's own storage, which this server cannot read.",
        f"{ways}; a small picture can be given as a data: URI",
    )

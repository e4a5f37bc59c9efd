"""What goes in and out of a hosted server besides the protocol: pictures, videos and callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kling_mcp.hosting.bucket import Bucket
from kling_mcp.hosting.links import Signer, VideoLinks
from kling_mcp.hosting.team_storage import (
    BucketStorage,
    BucketUploads,
    FolderUploads,
    TeamFolder,
    UploadStorage,
)
from kling_mcp.hosting.uploads import Uploads
from kling_tools.errors import NotConfigured

if TYPE_CHECKING:
    from kling_mcp.hosting.team_settings import HostSettings
    from kling_mcp.settings.settings import Settings

__all__ = ["Exchange", "make_exchange"]


@dataclass(slots=True)
class Exchange:
    """Callers get `links` to the videos in the `storage` and hand over pictures by `uploads`.

    `callback_base` is what a row's callback key is put behind, empty where nobody is asked to call
    back; `callback_secret` what callbacks have to be signed with, empty for nothing.
    """

    links: VideoLinks
    uploads: Uploads
    storage: TeamFolder | BucketStorage
    callback_base: str = ""
    callback_secret: str = field(default="", repr=False)


def make_exchange(
    settings: Settings,
    host: HostSettings,
    secret: str,
    clock: Callable[[], float] = time.time,
) -> Exchange:
    """What these settings say; nothing is opened or written yet. `secret` signs addresses.

    Raises NotConfigured for a callback secret that is none.
    """
    signer = Signer(secret, clock)
    links = VideoLinks(host.public_url, signer, host.link_s)
    storage: TeamFolder | BucketStorage
    uploads: UploadStorage
    if host.storage:
        bucket = Bucket(host.storage)
        storage = BucketStorage(bucket, settings.home / "cache", links)
        uploads = BucketUploads(bucket)
    else:
        storage = TeamFolder(settings.output_dir, links)
        uploads = FolderUploads(settings.home / "uploads")
    callback_secret = host.callback_secret.get_secret_value() if host.callback_secret else ""
    if callback_secret:
        _check(callback_secret)
    return Exchange(
        links=links,
        uploads=Uploads(host.public_url, signer, uploads, clock, fix=settings.fix_images),
        storage=storage,
        callback_base=f"{host.public_url}/callbacks" if host.public_url else "",
        callback_secret=callback_secret,
    )


def _check(callback_secret: str) -> None:
    """A secret that cannot be used is told of at the start, not by refused callbacks."""
    try:
        from standardwebhooks import Webhook
    except ImportError as error:
        raise NotConfigured(
            "KLING_MCP_CALLBACK_SECRET needs standardwebhooks, which is not installed.",
            advice="Install kling-mcp[serve].",
        ) from error
    try:
        Webhook(callback_secret)
    except Exception as error:  # the library has a class of its own for an empty one
        raise NotConfigured(
            "KLING_MCP_CALLBACK_SECRET is no secret of the form whsec_ and base64.",
            advice="Copy it whole from where it was set up at Kling.",
        ) from error

"""What a server with a public URL offers beside MCP: video links, upload addresses, callbacks."""

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

__all__ = ["PublicAddresses", "make_public_addresses"]


@dataclass(slots=True)
class PublicAddresses:
    """Callers get `links` to the videos in `storage`, and send pictures through `uploads`.

    A row's callback address is `callback_base`, a slash and its key; an empty base requests no
    callbacks. `callback_secret` must sign each callback; empty accepts unsigned ones.
    """

    links: VideoLinks
    uploads: Uploads
    storage: TeamFolder | BucketStorage
    callback_base: str = ""
    callback_secret: str = field(default="", repr=False)


def make_public_addresses(
    settings: Settings,
    host: HostSettings,
    secret: str,
    clock: Callable[[], float] = time.time,
) -> PublicAddresses:
    """Make them from the settings. Opens and writes nothing. `secret` signs addresses.

    Raises NotConfigured for a malformed callback secret.
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
    return PublicAddresses(
        links=links,
        uploads=Uploads(host.public_url, signer, uploads, clock, fix=settings.fix_images),
        storage=storage,
        callback_base=f"{host.public_url}/callbacks" if host.public_url else "",
        callback_secret=callback_secret,
    )


def _check(callback_secret: str) -> None:
    """Report an unusable secret at the start; otherwise it would show as refused callbacks."""
    try:
        from standardwebhooks import Webhook
    except ImportError as error:
        raise NotConfigured(
            "KLING_MCP_CALLBACK_SECRET requires standardwebhooks, which is not installed.",
            advice="Install kling-mcp[serve].",
        ) from error
    try:
        Webhook(callback_secret)
    except Exception as error:  # the library has a class of its own for an empty one
        raise NotConfigured(
            "KLING_MCP_CALLBACK_SECRET must be whsec_ followed by base64.",
            advice="Copy the whole secret from where you set it up at Kling.",
        ) from error

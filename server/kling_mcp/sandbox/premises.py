"""What all providers of a sandbox share: its state, its pictures, its films, their addresses."""

from __future__ import annotations

from kling_mcp.sandbox.callbacks import Caller
from kling_mcp.sandbox.clips import ClipMaker
from kling_mcp.sandbox.config import SandboxConfig
from kling_mcp.sandbox.documents import KlingDocuments
from kling_mcp.sandbox.links import VideoLinks
from kling_mcp.sandbox.pictures import PictureShelf
from kling_mcp.sandbox.store import SandboxStore

__all__ = ["Premises"]


class Premises:
    """One sandbox; nothing is kept in memory but whom to call back, and no folder is made before
    it is needed."""

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.store = SandboxStore(config.home)
        self.shelf = PictureShelf(config.home / "pictures")
        self.clips = ClipMaker(config.home / "clips", self.shelf, config.side_px)
        self.links = VideoLinks(config.public_url, self.store.signing_key)
        self.documents = KlingDocuments(self.links, config.url_ttl_s)
        self.caller = Caller(
            config.may_call,
            config.callback_secret,
            lambda task, now: self.documents.task(task, task.task_id, now),
            config.clock,
        )

"""Pictures that people hand to a hosted server, which cannot read their disks.

`kling_upload_picture` gives out an address to which one picture may be sent once; it is then known
as kling://uploads/ID to the one principal who asked for it, for a day.
"""

from __future__ import annotations

import logging
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import IO, TYPE_CHECKING
from urllib.parse import urlencode

from anyio import to_thread

from kling_mcp.hosting.links import moment
from kling_mcp.hosting.signing import owner_of
from kling_mcp.images.file_type import HEAD_BYTES, detect
from kling_mcp.images.header import read_header
from kling_mcp.images.held import HeldFile
from kling_mcp.images.refusal import Refusal
from kling_mcp.images.rules import BYTES_MAX, Facts, judge
from kling_mcp.images.task_picture import TaskPicture
from kling_tools.errors import KlingError
from kling_tools.results import UploadAddress

if TYPE_CHECKING:
    from kling_mcp.hosting.signing import Signer
    from kling_mcp.hosting.trays import Tray

__all__ = ["ADDRESS_S", "KEPT_S", "MOST", "NotTaken", "Uploads"]

logger = logging.getLogger(__name__)

ADDRESS_S = 15 * 60
"""Seconds for which a picture may be sent to an address."""

KEPT_S = 24 * 3600
"""Seconds for which a picture may be used."""

MOST = 100
"""Pictures that one principal may have here at a time: 1 GB."""

SWEEP_S = 600
PURPOSE = "upload"
_NAME = re.compile(r"kling://uploads/(?P<name>[A-Za-z0-9_-]{22})", re.IGNORECASE)
_OWNER = re.compile(r"[0-9a-f]{24}|local")


class NotTaken(Exception):
    """A picture is not taken; the text says why and what to do, `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Uploads:
    """Gives out addresses below `public_url`, receives pictures there, and finds them again.

    `fix` says that pictures may come in forms that are converted before they are sent to Kling.
    """

    def __init__(
        self,
        public_url: str,
        signer: Signer,
        tray: Tray,
        clock: Callable[[], float],
        *,
        fix: bool,
    ) -> None:
        self._base = f"{public_url.rstrip('/')}/uploads"
        self._signer = signer
        self._tray = tray
        self._clock = clock
        self._fix = fix
        self._swept_at = 0.0

    def holds(self, address: str) -> bool:
        """Whether it is the address of an upload, there or not."""
        return address.lower().startswith("kling://uploads/")

    async def address(self, principal: str) -> UploadAddress:
        """A new address for this principal."""
        await self._sweep()
        name, owner = secrets.token_urlsafe(16), owner_of(principal)
        expires = self._signer.expiry(ADDRESS_S)
        signature = self._signer.sign(PURPOSE, f"{owner}/{name}", expires)
        asked = urlencode({"owner": owner, "expires": expires, "signature": signature})
        return UploadAddress(
            upload_url=f"{self._base}/{name}?{asked}",
            image=f"kling://uploads/{name}",
            expires_at=moment(expires),
        )

    def check(self, name: str, owner: str, expires: str, signature: str) -> None:
        """Raises NotTaken for an address that was not given out here, or has expired."""
        if not self._signer.left_s(PURPOSE, f"{owner}/{name}", expires, signature):
            raise NotTaken(403, "This address is not valid or has expired: ask for a new one.")

    async def receive(self, name: str, owner: str, chunks: AsyncIterator[bytes]) -> dict[str, str]:
        """Keep the picture that comes to a checked address; how it is given to the tools.

        Raises NotTaken for what is no picture that Kling takes, and when the address was used.
        """
        with tempfile.TemporaryFile(buffering=0) as file:
            await self._store(chunks, file)
            await to_thread.run_sync(self._keep, name, owner, file)
        return {"image": f"kling://uploads/{name}"}

    async def picture(self, address: str, principal: str) -> TaskPicture:
        """The picture at kling://uploads/ID, if this principal sent it; raises KlingError."""
        match = _NAME.fullmatch(address)
        name = match["name"] if match else ""
        since = self._clock() - KEPT_S
        file = None
        if name:
            try:
                file = await to_thread.run_sync(self._tray.take, owner_of(principal), name, since)
            except OSError as error:
                raise KlingError(f"It cannot be read: {error.strerror}.", charged="no") from error
        if file is None:
            raise KlingError(
                "There is no such upload: none was sent there, or it is more than a day old.",
                charged="no",
                advice="Ask for a new address with kling_upload_picture.",
            )
        label = f"upload {name[:6]}"
        return TaskPicture(label, file=HeldFile(file, label))

    async def _store(self, chunks: AsyncIterator[bytes], file: IO[bytes]) -> None:
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if size > BYTES_MAX:
                raise NotTaken(413, f"A picture may have {BYTES_MAX:,} bytes (10 MB) at most.")
            await to_thread.run_sync(file.write, chunk)

    def _keep(self, name: str, owner: str, file: IO[bytes]) -> None:
        if not _OWNER.fullmatch(owner):
            raise NotTaken(403, "This address is not valid.")
        held = HeldFile(file, "the picture")
        file_type = detect(held.head(HEAD_BYTES))
        try:
            header = read_header(held, file_type)
        except Refusal as refusal:
            raise NotTaken(422, _sentence(refusal.fault(""))) from refusal
        facts = Facts("the picture", file_type, held.size, header)
        faults = judge("image_tail", facts, fix=self._fix)
        if faults and not (self._fix and facts.convertible):
            raise NotTaken(422, " ".join(map(_sentence, faults)))
        if self._tray.count(owner, MOST) >= MOST:
            raise NotTaken(429, f"There are {MOST} pictures of yours already; old ones go daily.")
        file.seek(0)
        if not self._tray.put(owner, name, file):
            raise NotTaken(409, "A picture was sent to this address already: ask for a new one.")

    async def _sweep(self) -> None:
        """Remove old pictures, now and then."""
        now = self._clock()
        if now - self._swept_at < SWEEP_S:
            return
        self._swept_at = now
        try:
            await to_thread.run_sync(self._tray.sweep, now - KEPT_S)
        except (OSError, KlingError) as error:
            logger.warning("Old uploads could not be removed: %s", error)


def _sentence(fault: object) -> str:
    return str(fault).partition(": ")[2] or str(fault)

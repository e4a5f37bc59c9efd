"""Uploads: signed addresses for pictures, and the page on which a person sends one."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlencode

from anyio import to_thread

from kling_mcp.hosting.links import iso_time, owner_of
from kling_mcp.inputs.file_type import HEAD_BYTES, detect, read_header
from kling_mcp.inputs.held import HeldFile
from kling_mcp.inputs.media import format_of
from kling_mcp.inputs.picture_rules import BYTES_MAX, Facts, judge, role_of
from kling_mcp.inputs.policy import TaskPicture
from kling_mcp.inputs.refusal import Refusal
from kling_tools.addresses import UPLOADS_URI
from kling_tools.errors import KlingError
from kling_tools.results import UploadAddress

if TYPE_CHECKING:
    from kling_mcp.hosting.links import Signer
    from kling_mcp.hosting.team_storage import UploadStorage

__all__ = [
    "ADDRESS_S",
    "KEPT_S",
    "MOST",
    "MOST_BYTES",
    "PAGE",
    "PAGE_HEADERS",
    "NotTaken",
    "Uploads",
]


_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem}"
    "input,button{font:inherit}output{display:block;margin-top:1rem;overflow-wrap:anywhere}"
)

_SCRIPT = """
const form = document.querySelector("form");
const status = document.querySelector("output");
form.onsubmit = async (event) => {
  event.preventDefault();
  const [file] = form.picture.files;
  form.send.disabled = true;
  status.textContent = "Sending…";
  try {
    const answer = await fetch(location.href, { method: "PUT", body: file });
    const body = await answer.json();
    status.textContent = answer.ok
      ? `Sent. Tell the assistant to use ${body.image} as the picture.` : body.error;
    form.send.disabled = answer.ok;
  } catch {
    status.textContent = "The picture did not arrive. Try again.";
    form.send.disabled = false;
  }
};
"""

PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>A picture for a Kling video</title>
<style>{_STYLE}</style>
<main>
<h1>A picture for a Kling video</h1>
<form>
<p><label>JPEG, PNG, HEIC or WebP, at most 10 MB, each side at least 300 px;
or a video (MP4, MOV) or sound (MP3, WAV, M4A, AAC) of at most 100 MB:
<input type="file" name="picture" accept="image/*,video/*,audio/*" required></label>
<p><button name="send">Send</button>
<output role="status"></output>
</form>
</main>
<script>{_SCRIPT}</script>
</html>
"""


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


PAGE_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_source(_SCRIPT)}; style-src {_source(_STYLE)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


logger = logging.getLogger(__name__)

ADDRESS_S = 15 * 60
"""Seconds that an upload address is valid."""

KEPT_S = 24 * 3600
"""Seconds that an uploaded picture may be used."""

MOST, MOST_BYTES = 100, 2**30
"""Most files of one principal at a time, and most bytes of all of them."""

SWEEP_S = 600
PURPOSE = "upload"
INPUT_PURPOSE = "input"

MEDIA_BYTES_MAX = 100 * 2**20
"""Most bytes of a sound or a video."""

TOO_LARGE = f"A picture may have {BYTES_MAX:,} bytes (10 MB) at most, a sound or video 100 MB."
_NAME = re.compile(rf"{UPLOADS_URI}/(?P<name>[A-Za-z0-9_-]{{22}})", re.IGNORECASE)
_OWNER = re.compile(r"[0-9a-f]{24}|local")


class NotTaken(Exception):
    """A picture is refused. The text says why and what to do; `status` is the HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Uploads:
    """Makes upload addresses below `public_url`, receives pictures there, and finds them again.

    With `fix`, it accepts forms that are later converted for Kling. `origin` is that URL.
    """

    def __init__(
        self,
        public_url: str,
        signer: Signer,
        uploads: UploadStorage,
        clock: Callable[[], float],
        *,
        fix: bool,
    ) -> None:
        self.origin = public_url.rstrip("/")
        self._base = f"{self.origin}/uploads"
        self._inputs = f"{self.origin}/inputs"
        self._signer = signer
        self._uploads = uploads
        self._clock = clock
        self._fix = fix
        self._swept_at = 0.0

    async def address(self, principal: str) -> UploadAddress:
        """A new address for this principal."""
        await self._sweep()
        name, owner = secrets.token_urlsafe(16), owner_of(principal)
        expires = self._signer.expiry(ADDRESS_S)
        signature = self._signer.sign(PURPOSE, f"{owner}/{name}", expires)
        asked = urlencode({"owner": owner, "expires": expires, "signature": signature})
        return UploadAddress(
            upload_url=f"{self._base}/{name}?{asked}",
            image=f"{UPLOADS_URI}/{name}",
            expires_at=iso_time(expires),
        )

    def check(self, name: str, owner: str, expires: str, signature: str) -> None:
        """Raises NotTaken for an address that this server did not sign, or that has expired."""
        if not self._signer.left_s(PURPOSE, f"{owner}/{name}", expires, signature):
            raise NotTaken(403, "This address is not valid or has expired. Ask for a new one.")

    async def receive(self, name: str, owner: str, chunks: AsyncIterator[bytes]) -> dict[str, str]:
        """Store the picture sent to a checked address. Returns the `image` value for the tools.

        Raises NotTaken when Kling would refuse the picture, and when the address was used before.
        """
        with tempfile.TemporaryFile(buffering=0) as file:
            await self._store(chunks, file)
            await to_thread.run_sync(self._keep, name, owner, file)
        return {"image": f"{UPLOADS_URI}/{name}"}

    async def picture(self, address: str, principal: str) -> TaskPicture:
        """The picture at kling://uploads/ID, if this principal sent it; raises KlingError."""
        match = _NAME.fullmatch(address)
        name = match["name"] if match else ""
        since = self._clock() - KEPT_S
        file = None
        if name:
            try:
                file = await to_thread.run_sync(
                    self._uploads.take, owner_of(principal), name, since
                )
            except OSError as error:
                raise KlingError(
                    f"The upload cannot be read: {error.strerror}.", charged="no"
                ) from error
        if file is None:
            raise KlingError(
                "The upload does not exist: no picture was sent there, or it is over a day old.",
                charged="no",
                advice="Ask for a new address with kling_upload_picture.",
            )
        label = f"upload {name[:6]}"
        return TaskPicture(label, file=HeldFile(file, label))

    async def give_address(self, owner: str, file: HeldFile) -> str:
        """An address at which a provider fetches a sound or video of this principal's, for as long
        as an uploaded file is kept. Raises KlingError."""
        await self._sweep()
        found = format_of(file.head(HEAD_BYTES)) or "bin"
        name, folder = f"{secrets.token_urlsafe(16)}.{found.lower()}", owner_of(owner)
        try:
            if full := await to_thread.run_sync(self._full, folder, file.size):
                raise KlingError(full, charged="no", advice="Nothing was sent.")
            await to_thread.run_sync(self._uploads.put, folder, name, file.view())
        except OSError as error:
            message = f"The file cannot be kept for Kling to fetch: {error.strerror}."
            raise KlingError(message, charged="no", advice="Nothing was sent.") from error
        expires = self._signer.expiry(KEPT_S)
        signature = self._signer.sign(INPUT_PURPOSE, f"{folder}/{name}", expires)
        asked = urlencode({"owner": folder, "expires": expires, "signature": signature})
        return f"{self._inputs}/{name}?{asked}"

    async def handed_out(
        self, name: str, owner: str, expires: str, signature: str, *, head: bool
    ) -> Path | str | None:
        """The file of an address that `give_address` made, or the bucket's own address of it; None
        when it is gone. Raises NotTaken for an address that this server did not sign, and
        KlingError."""
        left_s = self._signer.left_s(INPUT_PURPOSE, f"{owner}/{name}", expires, signature)
        if not left_s:
            raise NotTaken(403, "This address is not valid or has expired.")
        return await to_thread.run_sync(
            partial(self._uploads.handed_out, owner, name, max(1, int(left_s)), head=head)
        )

    async def _store(self, chunks: AsyncIterator[bytes], file: IO[bytes]) -> None:
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if size > MEDIA_BYTES_MAX:
                raise NotTaken(413, TOO_LARGE)
            await to_thread.run_sync(file.write, chunk)

    def _keep(self, name: str, owner: str, file: IO[bytes]) -> None:
        if not _OWNER.fullmatch(owner):
            raise NotTaken(403, "This address is not valid.")
        held = HeldFile(file, "the picture")
        if format_of(held.head(HEAD_BYTES)) is None:
            self._check_picture(held)
        if full := self._full(owner, held.size):
            raise NotTaken(429, full)
        file.seek(0)
        if not self._uploads.put(owner, name, file):
            raise NotTaken(409, "This address was used already. Ask for a new one.")

    def _full(self, owner: str, size: int) -> str:
        """Why a file of so many bytes finds no room beside the principal's others; else empty."""
        files, held = self._uploads.held(owner, MOST)
        if files >= MOST:
            return f"You have {MOST} files here already. Each is removed after a day."
        if held + size > MOST_BYTES:
            return (
                f"Your files here have {held / 2**20:.0f} MB already, and {MOST_BYTES / 2**20:.0f} "
                "MB at most. Each is removed after a day."
            )
        return ""

    def _check_picture(self, held: HeldFile) -> None:
        """Raises NotTaken for a picture that Kling would refuse."""
        if held.size > BYTES_MAX:
            raise NotTaken(413, TOO_LARGE)
        file_type = detect(held.head(HEAD_BYTES))
        try:
            header = read_header(held, file_type)
        except Refusal as refusal:
            raise NotTaken(422, _sentence(refusal.fault(""))) from refusal
        facts = Facts("the picture", file_type, held.size, header)
        faults = judge("image_tail", facts, fix=self._fix)
        mended = all(role_of("image_tail").can_mend(fault, facts) for fault in faults)
        if faults and not (self._fix and facts.convertible and mended):
            raise NotTaken(422, " ".join(map(_sentence, faults)))

    async def _sweep(self) -> None:
        """Remove old pictures, at most once every SWEEP_S seconds."""
        now = self._clock()
        if now - self._swept_at < SWEEP_S:
            return
        self._swept_at = now
        try:
            await to_thread.run_sync(self._uploads.sweep, now - KEPT_S)
        except (OSError, KlingError) as error:
            logger.warning("Old uploads could not be removed: %s", error)


def _sentence(fault: object) -> str:
    return str(fault).partition(": ")[2] or str(fault)

"""The HTTP routes of a hosted server beside MCP: callbacks, uploads, videos.

They require no login: one provider alone knows a callback's key, which belongs to one row and
cannot be guessed, and the other addresses are signed. A callback is a hint that a task changed: its
body is neither believed nor stored, and the provider is queried. A sender learns nothing, and
causes at most one query every few seconds for each running task.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

from kling_mcp.hosting.team_storage import BucketStorage
from kling_mcp.hosting.uploads import PAGE, PAGE_HEADERS, NotTaken
from kling_mcp.outputs.storage import media_type, name_of
from kling_tools.errors import KlingError
from kling_tools.results import ENDED

if TYPE_CHECKING:
    from kling_mcp.hosting.team import Hosting, PublicAddresses, ServerState
    from kling_mcp.hosting.uploads import Uploads
    from kling_mcp.ledger import Record
    from kling_mcp.runtime import Runtime

__all__ = ["BODY_BYTES", "public_routes"]


logger = logging.getLogger(__name__)

BODY_BYTES = 64 * 1024
"""The largest callback body that is read; Kling's hold one task."""

AGAIN_S = 3.0
"""Seconds between two queries for the same task."""

LOOK_S = 30.0
"""Seconds until a query is given up; polling for the task goes on."""

EARLY = 5
"""Queries for a row whose create has not been answered yet: a callback may overtake the answer."""

AT_ONCE = 16
"""Queries that run side by side."""

_KEY = re.compile(r"[A-Za-z0-9_-]{32}")


class Callbacks:
    """Receives hints, for the life of the process."""

    def __init__(self) -> None:
        self._asking: dict[str, bool] = {}
        self._limiter: anyio.CapacityLimiter | None = None

    async def hint(self, runtime: Runtime, key: str) -> bool:
        """Handle a callback to this key's address. Returns False when no row has the key.

        Returns at once. A background query then reads the task's state, once for all hints that
        arrive meanwhile. An ended task is not queried.
        """
        ledger = runtime.ledger
        if not _KEY.fullmatch(key) or not ledger.exists:
            return False
        record = await ledger.by_callback_key(key)
        if record is None:
            return False
        if record.id in self._asking:
            self._asking[record.id] = True
        elif record.status not in ENDED:
            self._asking[record.id] = False
            runtime.background.start_soon(self._ask, runtime, record)
        return True

    async def _ask(self, runtime: Runtime, record: Record) -> None:
        """Query until an answer is newer than the last hint."""
        early = EARLY
        try:
            while True:
                self._asking[record.id] = False
                unanswered = record.task_id is None  # its look may have found the answer alone
                record = await self._seen(runtime, record)
                if record.status in ENDED:
                    return
                early = early - 1 if unanswered else 0
                await runtime.sleep(AGAIN_S)
                if not self._asking[record.id] and early <= 0:
                    return
        except KlingError as error:
            logger.info("A task that had a callback cannot be queried: %s", error)
        except Exception:
            logger.exception("A callback could not be followed up.")
        finally:
            self._asking.pop(record.id, None)

    async def _seen(self, runtime: Runtime, record: Record) -> Record:
        """The row after a query to its provider; its video is saved when the settings say so. A
        provider that asked for a pause is not queried; polling asks it later."""
        provider = record.provider
        quiet = runtime.pace.quiet(provider)
        if quiet is not None and quiet[0] > runtime.ledger.now():
            return record
        with anyio.move_on_after(LOOK_S):
            async with self._slot():
                found = await runtime.lookup.find_or_take_up(record.id)
            record = found.record or record
        if record.status in ENDED:
            runtime.pace.called_back(provider, runtime.ledger.now())
        if runtime.downloads.is_due(record):
            await runtime.downloads.save_row(record, runtime.limits.file_s)
        return record

    def _slot(self) -> anyio.CapacityLimiter:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(AT_ONCE)
        return self._limiter


def is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the secret signed this callback within the last minutes (Standard Webhooks headers:
    `webhook-id`, `webhook-timestamp`, `webhook-signature`)."""
    from standardwebhooks import Webhook, WebhookVerificationError

    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: neither text nor base64
        return False
    return True


LINK_HEADERS = {
    "Cache-Control": "private, no-transform",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

STARTING = PlainTextResponse("The server is starting or stopping. Try again.\n", 503)


def public_routes(hosting: Hosting) -> list[Route]:
    """The routes: without a public URL those of uploads alone, if there are any."""
    found = []
    if hosting.uploads is not None:
        ours = _UploadRoutes(hosting.uploads)
        found += [
            Route("/uploads/{name}", ours.page, methods=["GET"]),
            Route("/uploads/{name}", ours.upload, methods=["PUT", "POST"]),
        ]
    if hosting.public is not None:
        routes = _PublicRoutes(hosting.public, hosting.state)
        found += [
            Route("/callbacks/{key}", routes.callback, methods=["POST"]),
            Route("/inputs/{name}", routes.input, methods=["GET", "HEAD"]),
            Route("/videos/{row}/{name}", routes.video, methods=["GET", "HEAD"]),
        ]
    return found


class _UploadRoutes:
    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def page(self, request: Request) -> Response:
        """The page on which a person sends a picture."""
        try:
            self._uploads.check(*_signed(request))
        except NotTaken as error:
            return PlainTextResponse(f"{error}\n", error.status)
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)

    async def upload(self, request: Request) -> Response:
        """201 with the `image` value for the tools, or the reason of a refusal."""
        name, owner, expires, signature = _signed(request)
        try:
            self._uploads.check(name, owner, expires, signature)
            kept = await self._uploads.receive(name, owner, request.stream())
        except NotTaken as error:
            return JSONResponse({"error": str(error)}, error.status)
        except (OSError, KlingError):
            return JSONResponse(
                {"error": "The picture cannot be stored now. Try again later."}, 503
            )
        except ClientDisconnect:
            return Response(status_code=400)
        return JSONResponse(kept, 201)


class _PublicRoutes:
    def __init__(self, public: PublicAddresses, state: ServerState) -> None:
        self._public = public
        self._state = state
        self._callbacks = Callbacks()

    async def callback(self, request: Request) -> Response:
        """204 for the key of a row, whatever the body holds; 404 for any other key."""
        try:
            body = await _body(request, BODY_BYTES)
        except NotTaken as error:
            return PlainTextResponse(f"{error}\n", error.status)
        secret = self._public.callback_secret
        if secret and not is_signed(secret, request.headers, body):
            return PlainTextResponse("The signature is missing or wrong.\n", 401)
        if (runtime := self._state.runtime) is None:
            return STARTING
        try:
            known = await self._callbacks.hint(runtime, request.path_params["key"])
        except KlingError:
            return PlainTextResponse("Not possible now. Call again.\n", 503)
        return Response(status_code=204 if known else 404)

    async def input(self, request: Request) -> Response:
        """A sound or video that a provider fetches for a request, or a redirect to the bucket."""
        uploads, head = self._public.uploads, request.method == "HEAD"
        try:
            found = await uploads.handed_out(*_signed(request), head=head)
        except NotTaken as error:
            return PlainTextResponse(f"{error}\n", error.status)
        except (OSError, KlingError):
            return PlainTextResponse("The file cannot be sent now. Try again later.\n", 503)
        if found is None:
            return PlainTextResponse("There is no such file any more.\n", 404)
        if isinstance(found, str):
            return RedirectResponse(found, 307, {**LINK_HEADERS, "Cache-Control": "no-store"})
        return FileResponse(found, media_type=media_type(found.name), headers=LINK_HEADERS)

    async def video(self, request: Request) -> Response:
        """The video of a signed link, or a redirect to the bucket that holds it."""
        row_id = request.path_params["row"]
        asked = request.query_params
        named = asked.get("number", "1")
        number = int(named) if named.isdecimal() and len(named) <= 3 else 1
        left_s = self._public.links.left_s(
            row_id, asked.get("expires", ""), asked.get("signature", ""), number
        )
        if not left_s:
            text = "This link is not valid or has expired. Ask for a new one.\n"
            return PlainTextResponse(text, 403)
        if (runtime := self._state.runtime) is None:
            return STARTING
        try:
            record = await runtime.ledger.find(row_id)
            record = record and record.file(number)
            if record is None or record.id != row_id or record.path is None:
                return PlainTextResponse("There is no such video any more.\n", 404)
            return await self._handed_out(record, max(1, int(left_s)), request.method == "HEAD")
        except KlingError:
            return PlainTextResponse("The video cannot be sent now. Try again later.\n", 503)

    async def _handed_out(self, record: Record, left_s: int, head: bool) -> Response:
        storage = self._public.storage
        if isinstance(storage, BucketStorage):
            url = await to_thread.run_sync(storage.bucket_link, record, left_s, head)
            if url is not None:
                headers = {**LINK_HEADERS, "Cache-Control": "no-store"}
                return RedirectResponse(url, 307, headers)
        elif path := await storage.file(record):
            return FileResponse(
                path,
                media_type=media_type(path.name),
                filename=name_of(record),
                content_disposition_type="inline",
                headers=LINK_HEADERS,
            )
        return PlainTextResponse("There is no such video any more.\n", 404)


def _signed(request: Request) -> tuple[str, str, str, str]:
    """Name, owner, expiry and signature of an upload address."""
    asked = request.query_params
    parts = (asked.get(part, "") for part in ("owner", "expires", "signature"))
    owner, expires, signature = parts
    return request.path_params["name"], owner, expires, signature


async def _body(request: Request, most: int) -> bytes:
    """The body, at most `most` bytes. Raises NotTaken for a longer or a broken one."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise NotTaken(413, f"The body may have at most {most} bytes.")
    except ClientDisconnect:
        raise NotTaken(400, "The body broke off.") from None
    return bytes(body)

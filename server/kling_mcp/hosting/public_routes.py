"""The HTTP routes of a hosted server beside MCP: callbacks, uploads, videos.

They require no login: one provider alone knows a callback's key, and the other addresses are
signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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

from kling_mcp.hosting.callbacks import BODY_BYTES, Callbacks, is_signed
from kling_mcp.hosting.team_storage import BucketStorage
from kling_mcp.hosting.uploads import PAGE, PAGE_HEADERS, NotTaken
from kling_mcp.outputs.storage import media_type, name_of
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from kling_mcp.hosting.public_addresses import PublicAddresses
    from kling_mcp.hosting.team import Hosting, ServerState
    from kling_mcp.ledger import Record

__all__ = ["public_routes"]

LINK_HEADERS = {
    "Cache-Control": "private, no-transform",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

STARTING = PlainTextResponse("The server is starting or stopping. Try again.\n", 503)


def public_routes(hosting: Hosting) -> list[Route]:
    """The routes; an empty list for a server without a public URL."""
    if hosting.public is None:
        return []
    routes = _PublicRoutes(hosting.public, hosting.state)
    return [
        Route("/callbacks/{key}", routes.callback, methods=["POST"]),
        Route("/uploads/{name}", routes.upload_page, methods=["GET"]),
        Route("/uploads/{name}", routes.upload, methods=["PUT", "POST"]),
        Route("/inputs/{name}", routes.input, methods=["GET", "HEAD"]),
        Route("/videos/{row}/{name}", routes.video, methods=["GET", "HEAD"]),
    ]


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

    async def upload_page(self, request: Request) -> Response:
        """The page on which a person sends a picture."""
        try:
            self._public.uploads.check(*_signed(request))
        except NotTaken as error:
            return PlainTextResponse(f"{error}\n", error.status)
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)

    async def upload(self, request: Request) -> Response:
        """201 with the `image` value for the tools, or the reason of a refusal."""
        name, owner, expires, signature = _signed(request)
        uploads = self._public.uploads
        try:
            uploads.check(name, owner, expires, signature)
            kept = await uploads.receive(name, owner, request.stream())
        except NotTaken as error:
            return JSONResponse({"error": str(error)}, error.status)
        except (OSError, KlingError):
            return JSONResponse(
                {"error": "The picture cannot be stored now. Try again later."}, 503
            )
        except ClientDisconnect:
            return Response(status_code=400)
        return JSONResponse(kept, 201)

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

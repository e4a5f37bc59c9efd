"""The endpoints that only Kling has, and the downloads of videos."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from kling_sandbox.answers.refusals import refused
from kling_sandbox.answers.styles import EnvelopeStyle, KlingAnswers
from kling_sandbox.desk import Backend, Desk, Endpoint, page_asked
from kling_sandbox.fault_injection import xml_error
from kling_sandbox.faults import ConnectionDropped
from kling_sandbox.gateways import OFFICIAL

__all__ = ["CutShort", "KlingDesk", "video_response"]


def video_response(path: Path, *, cut_short: bool) -> Response:
    """The file as a CDN serves it: ETag, Content-Length, `Range` for resuming."""
    whole = FileResponse(path, media_type="video/mp4")
    return CutShort(whole, path.stat().st_size // 2) if cut_short else whole


class CutShort(Response):
    """A response that sends at most `limit` bytes, though its headers promise all.

    Then it raises `ConnectionDropped`.
    """

    def __init__(self, whole: Response, limit: int) -> None:
        self._whole = whole
        self._limit = limit
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = self._limit

        async def send_until_cut(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.body":
                body: bytes = message.get("body", b"")
                if len(body) >= left:
                    await send({**message, "body": body[:left], "more_body": True})
                    raise ConnectionDropped("the sandbox cut the video short", answered=True)
                left -= len(body)
            await send(message)

        await self._whole(scope, receive, send_until_cut)


class KlingDesk(Desk):
    """The official API, and `/videos/...` and `/sandbox/stats` for every provider."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend, OFFICIAL)
        self._lists = KlingAnswers(backend.documents, EnvelopeStyle())

    def routes(self) -> list[Route]:
        """Kling's paths below each base URL, videos and statistics below the first."""
        routes = [Route("/videos/{name:path}", self.download), Route("/sandbox/stats", self.stats)]
        for base in self.dialect.bases:
            costs = self.guarded("queries", "costs", self.costs)
            routes.append(Route(f"{base}/account/costs", costs))
            for product in self.dialect.creates:
                page = self.guarded("queries", "lists", self.page(product))
                routes.append(Route(f"{base}{self.dialect.prefix}/{product}", page))
        return routes + super().routes()

    def page(self, product: str) -> Endpoint:
        """GET of a product's tasks, newest first (Kling states no order)."""

        async def endpoint(request: Request) -> Response:
            number, size = page_asked(request)
            tasks = self._store.page(product, number, size)
            return self._lists.many(tasks, self._config.clock())

        return endpoint

    async def costs(self, request: Request) -> Response:
        """GET of the account's resource pack, up to the second (at Kling 12 hours late)."""
        for name in ("start_time", "end_time"):
            if not request.query_params.get(name, "").isdigit():
                raise refused("time_missing")
        now = self._config.clock()
        spent = self._store.spent(now, self.dialect.name)
        return self._lists.costs(self._config.pack_units, spent, now)

    async def download(self, request: Request) -> Response:
        """GET of a video. It requires no Authorization, and counts requests that send one."""
        signed = "authorization" in request.headers
        self._count("downloads", *["downloads_with_authorization"] * signed)
        replacement = await self._faults.inject("downloads", "arrival")
        if replacement is not None:
            return replacement
        now = self._config.clock()
        path, asked = request.url.path, request.query_params
        links = self._backend.links
        if not links.holds(path, asked.get("expires", ""), asked.get("sig", ""), now):
            return xml_error(403, "AccessDenied", "The address is not valid or has expired.")
        task = self._store.filmed(links.task_id(path) or "")
        if task is None or task.status(now) != "succeed" or task.order.made:
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        cut = any(self._faults.due("downloads", "body"))
        return video_response(await self._backend.clips.clip(task), cut_short=cut)

    async def stats(self, request: Request) -> Response:
        """GET of the sandbox's statistics, without a login. Kling has no such endpoint."""
        counts, now = self._store.counts(), self._config.clock()
        return JSONResponse(
            {
                "requests": counts.requests,
                "accepted": counts.accepted,
                "accepted_per_request": counts.accepted_per_request,
                "providers": counts.per_provider,
                "tasks": self._store.statuses(now),
                "units_spent": self._store.spent(now),
                "faults": [str(fault) for fault in self._config.faults],
                "strikes": counts.strikes,
            }
        )

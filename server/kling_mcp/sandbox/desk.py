"""The endpoints of a sandbox: what happens to each kind of request, in which order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kling_mcp.sandbox.answers import KlingAnswers
from kling_mcp.sandbox.authentication import check_authorization
from kling_mcp.sandbox.capability import Product
from kling_mcp.sandbox.clips import ClipMaker
from kling_mcp.sandbox.config import SandboxConfig
from kling_mcp.sandbox.downloads import video_response
from kling_mcp.sandbox.faults import Target
from kling_mcp.sandbox.intake import Intake
from kling_mcp.sandbox.links import VideoLinks
from kling_mcp.sandbox.mishaps import RISK_CONTROL, Mishaps, xml_error
from kling_mcp.sandbox.pictures import PictureShelf
from kling_mcp.sandbox.refusals import Refusal, invalid_value, refused
from kling_mcp.sandbox.request_body import drain, fingerprint, read_body, without_bytes
from kling_mcp.sandbox.rules import judge
from kling_mcp.sandbox.store import SandboxStore

__all__ = ["Desk", "Endpoint"]

Endpoint = Callable[[Request], Awaitable[Response]]

_PAGES, _PAGE_SIZES = range(1, 1001), range(1, 501)
_DEFAULT_PAGE_SIZE = 30


class Desk:
    """Everything that the requests of one sandbox need; it holds no state of its own."""

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._store = SandboxStore(config.home)
        self._shelf = PictureShelf(config.home / "pictures")
        self._clips = ClipMaker(config.home / "clips", self._shelf)
        self._links = VideoLinks(config.public_url, self._store.signing_key)
        self._answers = KlingAnswers(self._links, config.url_ttl_s)
        self._mishaps = Mishaps(config.faults, self._store, self._answers)

    def guarded(self, target: Target, name: str, endpoint: Endpoint) -> Endpoint:
        """The endpoint behind faults and authentication, its refusals worded as Kling's.

        Requests are counted under `name`, refused ones under `name` with `_refused` too.
        """

        async def answered(request: Request) -> Response:
            self._store.count(name)
            try:
                mishap = await self._mishaps.happen(target, "arrival")
                if mishap is None:
                    check_authorization(request.headers.get("authorization"), self._config)
            except Refusal as refusal:
                mishap = self._refuse(name, refusal)
            if mishap is not None:
                await drain(request)
                return mishap
            try:
                return await endpoint(request)
            except Refusal as refusal:
                return self._refuse(name, refusal)

        return answered

    def create(self, product: Product) -> Endpoint:
        """POST of a task of that product."""

        async def endpoint(request: Request) -> Response:
            with Intake(self._config.home / "incoming") as intake:
                body = await read_body(request, intake)
                order = judge(product, body, self._shelf, self._config)
                fails = self._mishaps.struck("creates", "fate")
                task = self._store.add(
                    order,
                    body=without_bytes(body),
                    fingerprint=fingerprint(product, body),
                    now=self._config.clock(),
                    queue_s=self._config.queue_s,
                    render_s=self._config.render_s,
                    slots=self._config.slots,
                    pack_units=self._config.pack_units,
                    failure=RISK_CONTROL if fails else order.flaw,
                )
            if isinstance(task, str):
                raise refused(task, external_id=order.external_task_id)
            mishap = await self._mishaps.happen("creates", "accepted")
            return mishap or self._answers.created(task)

        return endpoint

    async def query(self, request: Request) -> Response:
        """GET of one task, by its id or its external id."""
        any_id = request.path_params["any_id"]
        task = self._store.find(any_id)
        if task is None:
            raise refused("task_unknown", task_id=any_id)
        return self._answers.one(task, self._config.clock())

    def page(self, product: str) -> Endpoint:
        """GET of a product's tasks, newest first (Kling states no order)."""

        async def endpoint(request: Request) -> Response:
            number = _whole(request, "pageNum", 1, _PAGES)
            size = _whole(request, "pageSize", _DEFAULT_PAGE_SIZE, _PAGE_SIZES)
            tasks = self._store.page(product, number, size)
            return self._answers.many(tasks, self._config.clock())

        return endpoint

    async def costs(self, request: Request) -> Response:
        """GET of the account's resource pack, up to the second (at Kling 12 hours late)."""
        for name in ("start_time", "end_time"):
            if not request.query_params.get(name, "").isdigit():
                raise refused("time_missing")
        now = self._config.clock()
        return self._answers.costs(self._config.pack_units, self._store.spent(now), now)

    async def download(self, request: Request) -> Response:
        """GET of a video; it asks for no Authorization and counts one that is sent."""
        signed = "authorization" in request.headers
        self._store.count("downloads", *["downloads_with_authorization"] * signed)
        mishap = await self._mishaps.happen("downloads", "arrival")
        if mishap is not None:
            return mishap
        now = self._config.clock()
        path, asked = request.url.path, request.query_params
        if not self._links.holds(path, asked.get("expires", ""), asked.get("sig", ""), now):
            return xml_error(403, "AccessDenied", "The address is not valid or has expired.")
        task = self._store.find(self._links.task_id(path) or "")
        if task is None or task.status(now) != "succeed":
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        cut = bool(self._mishaps.struck("downloads", "body"))
        return video_response(await self._clips.clip(task), cut_short=cut)

    async def stats(self, request: Request) -> Response:
        """GET of what happened so far; no part of Kling, and open to anybody."""
        counts, now = self._store.counts(), self._config.clock()
        return JSONResponse(
            {
                "requests": counts.requests,
                "accepted": counts.accepted,
                "accepted_per_request": counts.accepted_per_request,
                "tasks": self._store.statuses(now),
                "units_spent": self._store.spent(now),
                "faults": [str(fault) for fault in self._config.faults],
                "strikes": counts.strikes,
            }
        )

    def not_served(self, request: Request, error: Exception) -> Response:
        """Kling's answer to a path or a method that it does not have."""
        return self._answers.refused(refused("no_such_route"))

    def _refuse(self, name: str, refusal: Refusal) -> Response:
        self._store.count(f"{name}_refused")
        return self._answers.refused(refusal)


def _whole(request: Request, name: str, default: int, allowed: range) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and int(text) in allowed):
        raise invalid_value(name, text)
    return int(text)

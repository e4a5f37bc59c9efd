"""The endpoints that only Kling has, with the pages of its lists, and the downloads of videos."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from kling_sandbox.answers.documents import dollars, envelope
from kling_sandbox.answers.records import PACK_NAME, charge
from kling_sandbox.answers.refusals import Refusal, refused
from kling_sandbox.answers.styles import EnvelopeStyle, KlingAnswers
from kling_sandbox.desk import Backend, Desk, Endpoint, drain, page_asked
from kling_sandbox.fault_injection import xml_error
from kling_sandbox.faults import ConnectionDropped
from kling_sandbox.gateways import OFFICIAL
from kling_sandbox.image_models import IMAGE_PATHS, path_of
from kling_sandbox.media import HANDED_IN
from kling_sandbox.rules.body_fields import Fields

__all__ = ["CutShort", "KlingDesk", "Page", "video_response"]


_MOST = 500
_DEFAULT = 100


@dataclass(frozen=True, slots=True)
class Page:
    """The items from `since` to `until` (Unix seconds), beginning with number `at`."""

    since: float
    until: float
    at: int = 0

    @classmethod
    def asked(cls, fields: Fields, now: float, window_s: float | None) -> Page:
        """The page that a body asks for. A cursor overrides its times, which are required when
        there is no `window_s` (seconds until now) in place of them. Raises `Refusal`."""
        if "cursor" in fields:
            try:
                page = cls(**json.loads(base64.urlsafe_b64decode(str(fields.value("cursor")))))
                return cls(float(page.since), float(page.until), max(0, int(page.at)))
            except (ValueError, TypeError):
                raise fields.refuse("cursor") from None
        if window_s is None and not ("start_time" in fields and "end_time" in fields):
            raise refused("time_missing")
        since = _seconds(fields, "start_time", now - (window_s or 0))
        return cls(since, _seconds(fields, "end_time", now))

    def of(self, items: Sequence[Any], fields: Fields) -> tuple[Sequence[Any], str]:
        """The page's items, up to the body's `limit`, and the cursor of the next page; empty after
        the last one. Raises `Refusal`."""
        limit = _DEFAULT if fields.value("limit") is None else fields.whole("limit")
        if not 1 <= limit <= _MOST:
            raise fields.refuse("limit")
        end = self.at + limit
        if end >= len(items):
            return items[self.at :], ""
        text = json.dumps(asdict(replace(self, at=end)))
        return items[self.at : end], base64.urlsafe_b64encode(text.encode()).decode()


def _seconds(fields: Fields, name: str, default: float) -> float:
    """A time in ms, a number or digits, as Unix seconds."""
    value = fields.value(name)
    if value in (None, ""):
        return default
    digits = str(value)
    if isinstance(value, bool) or not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise fields.refuse(name)
    return int(digits) / 1000


def video_response(path: Path, *, cut_short: bool) -> Response:
    """The file as a CDN serves it: ETag, Content-Length, `Range` for resuming."""
    kind = "image/png" if path.suffix == ".png" else "video/mp4"
    whole = FileResponse(path, media_type=kind)
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


_FILTERS: dict[Literal["package", "balance"], tuple[str, ...]] = {
    "package": ("api_key_name", "product_type", "package_name", "package_id"),
    "balance": ("api_key_name",),
}
"""What the charges of an account can be filtered by, to a pack of units or to its balance."""


def _wanted(shown: dict[str, Any], fields: Fields, keys: tuple[str, ...]) -> bool:
    """Whether a charge passes the `filters`. Raises `Refusal`."""
    kind = "image" if shown["product_function"] in IMAGE_PATHS else "video"
    known = shown | {"product_type": kind, "package_name": PACK_NAME}
    for wanted in fields.objects("filters", 1, len(keys)):
        key, values = wanted.choice("key", keys, ""), wanted.value("values")
        if not key or not isinstance(values, list):
            raise wanted.refuse("key")
        if known[key] not in values:
            return False
    return True


class KlingDesk(Desk):
    """The official API, and `/videos/...` and `/sandbox/stats` for every provider."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend, OFFICIAL)
        self._lists = KlingAnswers(backend.documents, EnvelopeStyle())

    def routes(self, base: str) -> list[Route]:
        """Kling's paths below a base URL; below the sandbox's own also videos and statistics."""
        routes = (
            []
            if base
            else [
                Route("/videos/{name:path}", self.download),
                Route("/sandbox/stats", self.stats),
                Route(f"{HANDED_IN}/{{name}}", self.hand_in, methods=["PUT"]),
            ]
        )
        costs = self.guarded("queries", "costs", self.costs)
        routes.append(Route(f"{base}/account/costs", costs))
        for kind in _FILTERS:
            bill = self.guarded("queries", "costs", self.billing(kind))
            routes.append(Route(f"{base}/account/billing/{kind}", bill, methods=["POST"]))
        for product in self.dialect.creates:
            page = self.guarded("queries", "lists", self.page(product))
            routes.append(Route(path_of(base + self.dialect.prefix, product), page))
        return routes + super().routes(base)

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
        return self._lists.costs(0.0 if self._config.cash else self._config.pack_units, spent, now)

    def billing(self, kind: Literal["package", "balance"]) -> Endpoint:
        """POST for a page of what finished tasks were charged, oldest first."""

        async def endpoint(request: Request) -> Response:
            fields = Fields(await self.document(request))
            now = self._config.clock()
            page = Page.asked(fields, now, None)
            charges = self._charges(kind, now)
            kept = [
                shown
                for at, shown in charges
                if page.since <= at <= page.until and _wanted(shown, fields, _FILTERS[kind])
            ]
            detail, cursor = page.of(kept, fields)
            data = {
                "result": {"detail": detail},
                "next_cursor": cursor,
                "has_more": bool(cursor),
            }
            return JSONResponse(envelope(data))

        return endpoint

    def _charges(
        self, kind: Literal["package", "balance"], now: float
    ) -> Iterator[tuple[float, dict[str, Any]]]:
        """When each charge was made, and how Kling shows it. A balance pays for all, and pictures
        have a pack of their own."""
        left: defaultdict[str, float] = defaultdict(lambda: self._config.pack_units)
        left["balance"] = dollars(self._config.pack_units)
        tasks = self._store.tasks(self.dialect.name, 0, now)
        for task in sorted(tasks, key=lambda task: task.ended_at):
            charged = task.charged(now)
            if charged and task.order.cash == (kind == "balance"):
                image = task.order.images > 0
                paid = dollars(charged, image=image) if task.order.cash else charged
                source = kind if task.order.cash else "images" if image else "videos"
                yield task.ended_at, charge(task, paid, left[source])
                left[source] -= paid

    async def download(self, request: Request) -> Response:
        """GET of a video or a picture, without Authorization; requests that send one are
        counted."""
        signed = "authorization" in request.headers
        self._count("downloads", *["downloads_with_authorization"] * signed)
        replacement = await self._faults.inject("downloads", "arrival")
        if replacement is not None:
            return replacement
        now = self._config.clock()
        path, asked = request.url.path, request.query_params
        links = self._backend.links
        if not links.holds(path, asked.get("Expires", ""), asked.get("sig", ""), now):
            return xml_error(403, "AccessDenied", "The address is not valid or has expired.")
        task = self._store.filmed(links.task_id(path) or "")
        number = links.number(path)
        if (
            task is None
            or task.status(now) != "succeed"
            or task.order.made
            or number >= (task.order.images or 1)
        ):
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        cut = any(self._faults.due("downloads", "body"))
        return video_response(await self._backend.clips.clip(task, number), cut_short=cut)

    async def hand_in(self, request: Request) -> Response:
        """PUT of a file under the hash of its bytes, with the key. Kling has no such endpoint."""
        try:
            self._authenticate(request.headers.get("authorization"))
            url = await self._backend.videos.take(request.path_params["name"], request.stream())
        except Refusal as refusal:
            await drain(request)
            return self._answers.refused(refusal)
        return JSONResponse(envelope({"url": url}))

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

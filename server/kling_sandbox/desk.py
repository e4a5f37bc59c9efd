"""The HTTP endpoints of one played provider, and the backend that all of them share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kling_sandbox.answers.documents import KlingDocuments, VideoLinks
from kling_sandbox.answers.records import KlingRecords
from kling_sandbox.answers.refusals import Refusal, invalid_value, refused
from kling_sandbox.answers.styles import answers_in
from kling_sandbox.asset_presets import PRESETS
from kling_sandbox.authorization import check_authorization, check_key
from kling_sandbox.clips import ClipMaker
from kling_sandbox.config import SandboxConfig
from kling_sandbox.fault_injection import RISK_CONTROL, FaultInjector
from kling_sandbox.faults import Target
from kling_sandbox.gateways import Dialect, forwarded_body
from kling_sandbox.image_models import path_of
from kling_sandbox.intake import BodyTooLong, Intake, Lifted
from kling_sandbox.media import GivenVideos
from kling_sandbox.model_table import Product
from kling_sandbox.orders import Asset, Order
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules import judge
from kling_sandbox.state import SandboxStore
from kling_sandbox.webhooks import WebhookSender

__all__ = [
    "Backend",
    "Desk",
    "Endpoint",
    "drain",
    "fingerprint",
    "page_asked",
    "read_body",
    "without_bytes",
]


class Backend:
    """The state, pictures, clips and addresses of one sandbox. Only due callbacks are in memory.
    Folders are made when first needed."""

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.store = SandboxStore(config.home)
        self.pictures = PictureFiles(config.home / "pictures")
        self.clips = ClipMaker(config.home / "clips", self.pictures, config.side_px)
        self.links = VideoLinks(config.public_url, self.store.signing_key)
        self.videos = GivenVideos(
            config.home / "inputs", self.links, self.store.filmed, self.clips.clip
        )
        self.pictures.find_video = self.videos.find
        self.pictures.keep_sound = self.videos.keep_sound
        self.pictures.find_task = self.store.filmed
        self.clips.path_of = self.videos.path
        self.documents = KlingDocuments(self.links, config.url_ttl_s)
        self.records = KlingRecords(self.documents)
        self.caller = WebhookSender(
            config.may_call,
            config.callback_secret,
            self.records.callback,
            config.clock,
        )


BY_TASK_ID: tuple[Product, ...] = ("lip-sync",)
"""The products whose queries take no id of the caller's [Kling's page of lip-sync]."""

MANY_SLOTS = 10**9

_DELIVERY = ("external_task_id", "callback_url", "options")


async def read_body(request: Request, intake: Intake) -> Any:
    """The JSON document of a request, read to its end even when refused. Raises `Refusal`.

    Megabytes of text that are not base64 are refused like a picture that is not base64.
    """
    too_long = False
    async for chunk in request.stream():
        if not too_long:
            try:
                intake.feed(chunk)
            except BodyTooLong:
                too_long = True
    if too_long:
        raise refused("not_base64")
    try:
        return intake.document()
    except ValueError:
        raise refused("not_json") from None


async def drain(request: Request) -> None:
    """Read and drop the body: a client that is still sending would miss the answer."""
    async for _ in request.stream():
        pass


def without_bytes(value: Any) -> Any:
    """The document with each long picture replaced by its hash and its size in bytes."""
    if isinstance(value, Lifted):
        return {"sha256": value.sha256, "bytes": value.size}
    if isinstance(value, list):
        return [without_bytes(item) for item in value]
    if isinstance(value, dict):
        return {key: without_bytes(item) for key, item in value.items()}
    return value


def fingerprint(route: str, body: dict[str, Any]) -> str:
    """A hash that is equal for equal requests to a `route` (provider and product).

    The external id and the callback are ignored, with the whole `options` of the new standard."""
    asked = {key: value for key, value in body.items() if key not in _DELIVERY}
    text = json.dumps([route, without_bytes(asked)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_DEFAULT_PAGE_SIZE = 30


def page_asked(request: Request, most: int = 500) -> tuple[int, int]:
    """`pageNum` and `pageSize` of a list of the old standard. Raises `Refusal`."""
    number = _whole(request, "pageNum", 1, range(1, 1001))
    return number, _whole(request, "pageSize", _DEFAULT_PAGE_SIZE, range(1, most + 1))


def _whole(request: Request, name: str, default: int, allowed: range) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and int(text) in allowed):
        raise invalid_value(name, text)
    return int(text)


Endpoint = Callable[[Request], Awaitable[Response]]
Check = Callable[[str | None], None]
AssetKind = Literal["element", "voice"]


class Desk:
    """One provider of a sandbox, after its dialect. It has no state of its own."""

    def __init__(self, backend: Backend, dialect: Dialect) -> None:
        self.dialect = dialect
        self._backend = backend
        self._config = replace(backend.config, rules=dialect.rules)
        self._store = backend.store
        self._answers = answers_in(dialect.style, backend.documents)
        self._faults = FaultInjector(self._config.faults, self._store, self._answers)

    def routes(self, base: str) -> list[Route]:
        """The provider's routes below one of its base URLs."""
        root = base + self.dialect.prefix
        routes = []
        for found in self.dialect.queries:
            query = self._query_by_id if found in BY_TASK_ID else self.query
            guarded = self.guarded("queries", "queries", query)
            routes.append(Route(f"{path_of(root, found)}/{{any_id}}", guarded))
        for made in self.dialect.creates:
            create = self.guarded("creates", "creates", self.create(made))
            routes.append(Route(path_of(root, made), create, methods=["POST"]))
        return routes

    def guarded(
        self, target: Target, name: str, endpoint: Endpoint, check: Check | None = None
    ) -> Endpoint:
        """The endpoint behind faults and authentication, with refusals in the provider's words.

        Requests are counted under `name`, refused ones also under `name` with `_refused`. `check`
        replaces the check of the Authorization header.
        """
        authenticate = check or self._authenticate

        async def answered(request: Request) -> Response:
            self._count(name)
            try:
                replacement = await self._faults.inject(target, "arrival")
                if replacement is None:
                    authenticate(request.headers.get("authorization"))
            except Refusal as refusal:
                replacement = self._refuse(name, refusal)
            if replacement is not None:
                await drain(request)
                return replacement
            try:
                return await endpoint(request)
            except Refusal as refusal:
                return self._refuse(name, refusal)

        return answered

    def create(self, product: Product) -> Endpoint:
        """The endpoint that creates a task of that product (POST)."""

        def judged(body: Any) -> tuple[Any, Order]:
            sent = forwarded_body(self.dialect, product, body)
            return sent, self.resolved(judge(product, sent, self._backend.pictures, self._config))

        return self.taking(product, judged, self._answers.created)

    def taking(
        self,
        route: str,
        judged: Callable[[Any], tuple[Any, Order]],
        receipt: Callable[..., Response],
        *,
        pace: float = 1.0,
        at_once: bool = False,
    ) -> Endpoint:
        """The endpoint that stores a task: `judged` gives the body that Kling got and the order,
        `receipt` the answer. The task takes `pace` times as long as a video, or has ended `at_once`
        and takes no slot."""
        queue_s = 0.0 if at_once else self._config.queue_s
        whole_s = 0.0 if at_once else pace * (self._config.queue_s + self._config.render_s)

        async def endpoint(request: Request) -> Response:
            with Intake(self._config.home / "incoming") as intake:
                body, order = judged(await read_body(request, intake))
                fails = not at_once and any(self._faults.due("creates", "fate"))
                task = self._store.add(
                    replace(order, cash=self._config.cash),
                    provider=self.dialect.name,
                    rewrite_id=self.dialect.rewrites_ids,
                    body=without_bytes(body),
                    fingerprint=fingerprint(f"{self.dialect.name}/{route}", body),
                    now=self._config.clock(),
                    queue_s=queue_s,
                    render_s=whole_s - queue_s,
                    slots=MANY_SLOTS if at_once else self._config.slots,
                    pack_units=self._config.pack_units,
                    failure=RISK_CONTROL if fails else order.flaw,
                )
            if isinstance(task, str):
                raise refused(task, external_id=order.external_task_id)
            self._backend.caller.follow(task)
            replacement = await self._faults.inject("creates", "accepted")
            if replacement is not None:
                return replacement
            nameless = any(self._faults.due("creates", "receipt"))
            return receipt(task, nameless=nameless)

        return endpoint

    async def document(self, request: Request) -> dict[str, Any]:
        """The JSON object of a request. Raises `Refusal`."""
        with Intake(self._config.home / "incoming") as intake:
            body = await read_body(request, intake)
        if not isinstance(body, dict):
            raise refused("not_json")
        return body

    def asset(self, kind: AssetKind, asset_id: str) -> Asset:
        """The element or voice with that id. Raises `Refusal` without one, or when deleted."""
        preset = PRESETS[kind].get(asset_id)
        if preset is not None:
            return preset
        if not self.dialect.library:
            return Asset(kind, asset_id, asset_id)
        task = self._store.maker(asset_id, self.dialect.name)
        made = task.order.made if task else None
        done = task is not None and task.status(self._config.clock()) == "succeed"
        if task is None or made is None or made.kind != kind or not done:
            raise refused("asset_unknown", kind=kind, asset_id=asset_id)
        if task.deleted:
            raise refused("asset_deleted", kind=kind, asset_id=asset_id)
        return made

    def resolved(self, order: Order) -> Order:
        """The order with the elements and voices that it names. Raises `Refusal`."""
        found = tuple(self.asset(asset.kind, asset.asset_id) for asset in order.assets)
        return replace(order, assets=found)

    async def _query_by_id(self, request: Request) -> Response:
        """GET of one task by its id alone."""
        any_id = request.path_params["any_id"]
        task = self._store.find(any_id, self.dialect.name, external=False)
        if task is None:
            raise refused("task_unknown", task_id=any_id)
        return self._answers.one(task, self._config.clock())

    async def query(self, request: Request) -> Response:
        """GET of one task, by its id or, if the provider supports it, its external id."""
        any_id = request.path_params["any_id"]
        task = self._store.find(any_id, self.dialect.name, external=self.dialect.external_ids)
        if task is None:
            raise refused("task_unknown", task_id=any_id)
        return self._answers.one(task, self._config.clock())

    def not_served(self, method: str, path: str) -> Response:
        """The answer to an unknown method or path below a base URL."""
        return self._answers.no_route(method, path)

    def _authenticate(self, header: str | None) -> None:
        check = check_authorization if self.dialect.tokens else check_key
        check(header, self._config)

    def _count(self, *names: str) -> None:
        self._store.count(*names, provider=self.dialect.name)

    def _refuse(self, name: str, refusal: Refusal) -> Response:
        self._count(f"{name}_refused")
        return self._answers.refused(refusal)

"""The endpoints of Kling's new standard: a create per product and model, and tasks by id or page.

They find the tasks of both standards and of every product. They accept an API key, but no JWT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kling_sandbox.answers.documents import envelope
from kling_sandbox.answers.refusals import invalid_value, refused
from kling_sandbox.authorization import check_key
from kling_sandbox.config import DAY_S
from kling_sandbox.desk import Desk, Endpoint
from kling_sandbox.image_models import IMAGE_PATHS
from kling_sandbox.kling_desk import Page
from kling_sandbox.new_models import KINDS, NewProduct
from kling_sandbox.orders import Order, Task
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.motion import new_motion
from kling_sandbox.rules.new_standard import new_standard

__all__ = ["NewStandardDesk"]

_MOST_IDS = 20
_WINDOW_S = 30 * DAY_S
_STATUSES = {
    "submitted": "submitted",
    "processing": "processing",
    "succeeded": "succeed",
    "failed": "failed",
}
_VIDEOS: tuple[str, ...] = (*KINDS.values(), "multi-image2video")
_PRODUCT_TYPES: dict[str, tuple[str, ...]] = {
    "video": _VIDEOS,
    "image": tuple(IMAGE_PATHS),
    "try_on": (),
}


class NewStandardDesk(Desk):
    """The official API's new standard. It shares Kling's account with the old one."""

    def routes(self, base: str) -> list[Route]:
        """The endpoints below a base URL."""
        routes = []
        for product in get_args(NewProduct):
            create = self._guarded("creates", "creates", self._create(product))
            routes.append(Route(f"{base}/{product}/{{model}}", create, methods=["POST"]))
        by_id = self._guarded("queries", "queries", self._by_id)
        page = self._guarded("queries", "lists", self._page)
        routes.append(Route(f"{base}/tasks", by_id, methods=["GET"]))
        routes.append(Route(f"{base}/tasks", page, methods=["POST"]))
        return routes

    def _guarded(self, target: Any, name: str, endpoint: Endpoint) -> Endpoint:
        return self.guarded(target, name, endpoint, self._check_api_key)

    def _check_api_key(self, header: str | None) -> None:
        """Anything but a key gets the words about AK/SK, also a key that is wrong [live]."""
        check_key(header, self._config, otherwise="api_key_only")

    def _create(self, product: NewProduct) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            model = request.path_params["model"]

            def judged(body: Any) -> tuple[Any, Order]:
                given = model, body, self._backend.pictures, self._config, self.asset
                if product == "motion-control":
                    return body, new_motion(*given)
                return body, new_standard(product, *given)

            return await self.taking(f"{product}/{model}", judged, self._receipt)(request)

        return endpoint

    def _receipt(self, task: Task, *, nameless: bool) -> Response:
        data = self._backend.records.receipt(task)
        if nameless:
            del data["id"]
        return JSONResponse(envelope(data))

    async def _by_id(self, request: Request) -> Response:
        """GET of up to 20 tasks by their ids or external ids. Unknown ones are left out [live]."""
        ids = _ids(request, "task_ids")
        external_ids = _ids(request, "external_task_ids")
        if len(ids) + len(external_ids) > _MOST_IDS:
            raise refused("too_many_ids")
        if bool(ids) == bool(external_ids):
            raise refused("ids_missing")
        found = [self._store.find(any_id, self.dialect.name) for any_id in ids or external_ids]
        wanted = [
            task
            for any_id, task in zip(ids or external_ids, found, strict=True)
            if task and any_id == (task.public_id if ids else task.order.external_task_id)
        ]
        return JSONResponse(envelope(self._shown(wanted)))

    async def _page(self, request: Request) -> Response:
        """POST for a page of tasks, newest first (Kling states no order)."""
        fields = Fields(await self.document(request))
        now = self._config.clock()
        page = Page.asked(fields, now, _WINDOW_S)
        tasks = self._store.tasks(self.dialect.name, page.since, page.until)
        result, cursor = page.of([task for task in tasks if _passes(task, fields, now)], fields)
        data = {
            "result": self._shown(result),
            "count": len(result),
            "next_cursor": cursor,
            "has_more": bool(cursor),
        }
        return JSONResponse(envelope(data))

    def _shown(self, tasks: Sequence[Task]) -> list[dict[str, Any]]:
        now = self._config.clock()
        return [self._backend.records.record(task, now) for task in tasks]


def _ids(request: Request, name: str) -> list[str]:
    listed = request.query_params.get(name, "").split(",")
    return list(dict.fromkeys(one.strip() for one in listed if one.strip()))


def _passes(task: Task, fields: Fields, now: float) -> bool:
    """Whether the task is of all kinds that `filters` names. Raises `Refusal`."""
    for filtered in fields.objects("filters", 1, 10):
        key, values = filtered.value("key"), filtered.value("values")
        if key not in ("status", "product_type"):
            raise filtered.refuse("key")
        allowed = list(_STATUSES if key == "status" else _PRODUCT_TYPES)
        if not isinstance(values, list) or not all(str(value) in allowed for value in values):
            raise invalid_value("filters.values", values)
        if key == "status" and task.status(now) not in {_STATUSES[value] for value in values}:
            return False
        if key == "product_type" and not any(
            task.order.product in _PRODUCT_TYPES[value] for value in values
        ):
            return False
    return True

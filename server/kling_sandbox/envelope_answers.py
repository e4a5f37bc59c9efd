"""Answers in Kling's envelope: Kling's own, and those of gateways that forward them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response

from kling_sandbox.documents import KlingDocuments, envelope, refusal_document
from kling_sandbox.gateway_errors import GatewayErrors, retry_after
from kling_sandbox.refusals import Refusal, refused
from kling_sandbox.task import Task

__all__ = ["EnvelopeAnswers", "EnvelopeStyle", "KlingAnswers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeStyle:
    """How a provider fills in the envelope; as it stands, as Kling does.

    `receipts` are the messages of creates by product ("SUCCEED" else), `receipt_request_id`
    whether a create's answer, or a refusal, has a `request_id`, `hollow` whether `task_info` and
    `task_result` are `{}` where there is nothing to say. `errors` None means all are Kling's.
    """

    receipts: Mapping[str, str] = field(default_factory=dict)
    receipt_request_id: bool = True
    hollow: bool = False
    errors: GatewayErrors | None = None


class EnvelopeAnswers:
    """Answers with `code` 0 or Kling's error code; times are ms."""

    def __init__(self, documents: KlingDocuments, style: EnvelopeStyle) -> None:
        self._documents = documents
        self._style = style

    def created(self, task: Task, *, nameless: bool = False) -> Response:
        """The receipt of a create; `nameless` leaves its id out."""
        data = self._documents.receipt(task, task.public_id)
        if self._style.hollow:
            data = {"task_info": {}} | data
        if nameless:
            del data["task_id"]
        message = self._style.receipts.get(task.order.product, "SUCCEED")
        return JSONResponse(self._stamped(envelope(data, message)))

    def one(self, task: Task, now: float) -> Response:
        """One task."""
        return JSONResponse(envelope(self.shown(task, now)))

    def refused(self, refusal: Refusal) -> Response:
        """A refusal, in the provider's own words if it is its own."""
        own = self._style.errors and self._style.errors.own(refusal)
        return own or JSONResponse(
            self._stamped(refusal_document(refusal)), refusal.http_status, retry_after(refusal)
        )

    def no_route(self, method: str, path: str) -> Response:
        """The answer to a path or a method that does not exist."""
        if self._style.errors:
            return self._style.errors.no_route(method, path)
        return self.refused(refused("no_such_route"))

    def shown(self, task: Task, now: float) -> dict[str, Any]:
        """A task as a query shows it."""
        shown = self._documents.task(task, task.public_id, now)
        return {"task_info": {}, "task_result": {}} | shown if self._style.hollow else shown

    def _stamped(self, document: dict[str, Any]) -> dict[str, Any]:
        if not self._style.receipt_request_id:
            del document["request_id"]
        return document


class KlingAnswers(EnvelopeAnswers):
    """What Kling answers besides, and no gateway: lists and the account."""

    def many(self, tasks: list[Task], now: float) -> Response:
        """A page of tasks: `data` is an array, with no total."""
        return JSONResponse(envelope([self.shown(task, now) for task in tasks]))

    def costs(self, total: float, spent: float, now: float) -> Response:
        """`/account/costs`: one resource pack with what is left of it."""
        pack = {
            "resource_pack_name": "Sandbox video pack",
            "resource_pack_id": "sandbox-pack-1",
            "resource_pack_type": "decreasing_total",
            "total_quantity": total,
            "remaining_quantity": round(total - spent, 4),
            "purchase_time": 0,
            "effective_time": 0,
            "invalid_time": int(now * 1000) + 365 * 86_400_000,
            "status": "online" if spent < total else "runOut",
        }
        return JSONResponse(
            envelope({"code": 0, "msg": "", "resource_pack_subscribe_infos": [pack]})
        )

"""The shapes of answers: Kling's envelope, and the receipts and wrappers of new-api gateways.

Shapes are those of the public source of QuantumNous/new-api (dto/openai_video, dto/task,
relay/relay_task, service/task_polling, controller/relay) and of AnyFast's pages.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from starlette.responses import JSONResponse, Response

from kling_sandbox.answers.documents import KlingDocuments, envelope, refusal_document
from kling_sandbox.answers.gateway_errors import GatewayErrors, retry_after, task_error
from kling_sandbox.answers.records import PACK_ID, PACK_NAME
from kling_sandbox.answers.refusals import Refusal, refused
from kling_sandbox.orders import Status, Task

__all__ = [
    "Answers",
    "EnvelopeAnswers",
    "EnvelopeStyle",
    "KlingAnswers",
    "Stage",
    "Style",
    "WrapperAnswers",
    "WrapperStyle",
    "answers_in",
]


Stage = Literal["unseen", Status]
"""Kling's words, and `unseen` until the gateway has queried Kling for the first time."""

SATURATED = "当前分组上游负载已饱和，请稍后再试"  # noqa: RUF001
"""new-api says this for every HTTP 429 of its upstream. Kling's own words are lost, even those
about an empty account (controller/relay)."""

_KLING_CHANNEL = "50"
_QUOTA_PER_UNIT = 70_000
"""500,000 for a dollar (new-api's default), 0.14 dollars for a unit (Kling's list price)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapperStyle:
    """How one gateway of the family fills in the wrapper.

    `receipt_status` is the status in a create's answer, `words` the status and progress by stage,
    `action` the kind of task with `{product}` in it, `address_in` the field with the video's
    address beside Kling's own envelope, `row` whether the gateway's whole table row is shown.
    """

    receipt_status: str
    words: Mapping[Stage, tuple[str, str]]
    action: str
    address_in: Literal["result_url", "fail_reason", ""]
    row: bool
    errors: GatewayErrors


class WrapperAnswers:
    """Answers whose `code` is "success" or the name of an error. Times are seconds."""

    def __init__(self, documents: KlingDocuments, style: WrapperStyle) -> None:
        self._documents = documents
        self._style = style

    def created(self, task: Task, *, nameless: bool = False) -> Response:
        """The receipt of a create; `nameless` leaves both its ids out."""
        ids = {} if nameless else {"id": task.public_id, "task_id": task.public_id}
        receipt = {
            **ids,
            "object": "video",
            "model": task.order.model,
            "status": self._style.receipt_status,
            "progress": 0,
            "created_at": int(task.created_at),
        }
        return JSONResponse(receipt)

    def one(self, task: Task, now: float) -> Response:
        """One task from the gateway's own table, which contains Kling's last answer."""
        status, progress = self._style.words[_stage(task, now)]
        ended = now >= task.ended_at
        shown: dict[str, Any] = {
            "task_id": task.public_id,
            "action": self._style.action.format(product=task.order.product),
            "status": status,
            "fail_reason": task.failure if ended else "",
            "submit_time": int(task.created_at),
            "start_time": int(task.started_at) if now >= task.started_at else 0,
            "finish_time": int(task.ended_at) if ended else 0,
            "progress": progress,
            "data": self._of_kling(task, now),
        }
        if ended and self._style.address_in:
            shown[self._style.address_in] = task.failure or self._documents.video_url(task)
        if self._style.row:
            shown = _row(task, now) | shown
        return JSONResponse({"code": "success", "message": "", "data": shown})

    def refused(self, refusal: Refusal) -> Response:
        """The gateway's own refusal, or Kling's as a string inside the gateway's error."""
        own = self._style.errors.own(refusal)
        if own is not None:
            return own
        said = json.dumps(refusal_document(refusal), ensure_ascii=False)
        message = SATURATED if refusal.http_status == 429 else said
        return JSONResponse(
            task_error("fail_to_fetch_task", message), refusal.http_status, retry_after(refusal)
        )

    def no_route(self, method: str, path: str) -> Response:
        """The answer to a path or a method that does not exist."""
        return self._style.errors.no_route(method, path)

    def _of_kling(self, task: Task, now: float) -> dict[str, Any]:
        """Kling's envelope with Kling's own id; empty fields as recorded (new-api, PR 2532)."""
        shown = self._documents.task(task, task.task_id, now)
        return envelope({"task_info": {}, "task_result": {}} | shown)


def _stage(task: Task, now: float) -> Stage:
    """A gateway queries Kling every few seconds, so it misses the first half of the queue."""
    if now < (task.created_at + task.started_at) / 2:
        return "unseen"
    return task.status(now)


def _row(task: Task, now: float) -> dict[str, Any]:
    model = task.order.model
    return {
        "id": zlib.crc32(task.task_id.encode()),
        "created_at": int(task.created_at),
        "updated_at": int(task.updated_at(now)),
        "platform": _KLING_CHANNEL,
        "user_id": 1,
        "group": "default",
        "channel_id": 1,
        "quota": round(task.units * _QUOTA_PER_UNIT),
        "properties": {"input": "", "upstream_model_name": model, "origin_model_name": model},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeStyle:
    """How a provider fills in the envelope. The defaults are Kling's own way.

    `receipts` are the messages of creates by product (default "SUCCEED"). `receipt_request_id`:
    creates and refusals have a `request_id`. `hollow`: empty `task_info` and `task_result` appear
    as `{}`. `errors` None means that all errors are Kling's.
    """

    receipts: Mapping[str, str] = field(default_factory=dict)
    receipt_request_id: bool = True
    hollow: bool = False
    errors: GatewayErrors | None = None


class EnvelopeAnswers:
    """Answers whose `code` is 0 or Kling's error code. Times are ms."""

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
        """A refusal, in the provider's words when the provider itself refuses."""
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
    """The answers that only Kling has: lists and the account."""

    def many(self, tasks: list[Task], now: float) -> Response:
        """A page of tasks: `data` is an array, without a total."""
        return JSONResponse(envelope([self.shown(task, now) for task in tasks]))

    def costs(self, total: float, spent: float, now: float) -> Response:
        """`/account/costs`: one resource pack and its remaining units; none with a `total` of 0."""
        pack = {
            "resource_pack_name": PACK_NAME,
            "resource_pack_id": PACK_ID,
            "resource_pack_type": "decreasing_total",
            "total_quantity": total,
            "remaining_quantity": round(total - spent, 4),
            "purchase_time": 0,
            "effective_time": 0,
            "invalid_time": int(now * 1000) + 365 * 86_400_000,
            "status": "online" if spent < total else "runOut",
        }
        return JSONResponse(
            envelope({"code": 0, "msg": "", "resource_pack_subscribe_infos": [pack] * bool(total)})
        )


Style = EnvelopeStyle | WrapperStyle


class Answers(Protocol):
    """One shape of answers."""

    def created(self, task: Task, *, nameless: bool = False) -> Response:
        """The receipt of a create; `nameless` leaves every id out."""

    def one(self, task: Task, now: float) -> Response:
        """One task as it stands at the Unix second `now`."""

    def refused(self, refusal: Refusal) -> Response:
        """A refusal."""

    def no_route(self, method: str, path: str) -> Response:
        """The answer to a path below the base URL, or a method, that does not exist."""


def answers_in(style: Style, documents: KlingDocuments) -> Answers:
    """The answers for a style."""
    if isinstance(style, WrapperStyle):
        return WrapperAnswers(documents, style)
    return EnvelopeAnswers(documents, style)

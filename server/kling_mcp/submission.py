"""The way of a create: judge, open the pictures, reserve a row, send once, write down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import anyio

from kling_mcp.body import JsonBody
from kling_mcp.client import KlingClient
from kling_mcp.images import Picture, PicturePolicy, check_mask_sizes, open_pictures
from kling_mcp.ledger import Ledger, Record, Wish
from kling_mcp.providers import SANDBOX
from kling_mcp.wire import create_body
from kling_tools.arguments import SpendingChoices
from kling_tools.capabilities import Capabilities
from kling_tools.drafts import Draft
from kling_tools.errors import (
    DuplicateTask,
    ImageRejected,
    InvalidRequest,
    KlingError,
    ProviderError,
    SpendCapReached,
    TaskNotFound,
)
from kling_tools.faults import Fault, Verdict
from kling_tools.results import ENDED, SANDBOX_NOTE, Receipt
from kling_tools.reviews import Review, review
from kling_tools.service import SubmitArguments

__all__ = ["Caps", "Submission"]

NOT_PART_OF_THE_WISH = frozenset({"external_task_id", "callback_url"})
"""Fields that do not change which video is made."""


@dataclass(frozen=True, slots=True)
class Caps:
    """The most units that one video and the videos of 24 hours may cost; None means no cap."""

    per_task: float | None = None
    per_day: float | None = None


class Submission:
    """Takes judged requests to one provider."""

    def __init__(
        self,
        client: KlingClient,
        ledger: Ledger,
        capabilities: Capabilities,
        pictures: PicturePolicy,
        caps: Caps,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._capabilities = capabilities
        self._policy = pictures
        self._caps = caps
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def submit(self, draft: Draft[SubmitArguments]) -> Receipt:
        """Send a request, or find that it was sent before, or (dry run) only judge it.

        Raises InvalidRequest, ImageRejected, SpendCapReached, NotConfigured, and ProviderError.
        """
        judged = review(draft, self._capabilities, self._client.row.terms)
        self._check_provider(draft, judged)
        async with self._opened(draft.arguments) as (pictures, seen):
            rules_broken = bool(judged.verdict.faults)
            judged.verdict.extend(seen)
            if draft.arguments.dry_run:
                return self._dry_run(draft.arguments, judged, pictures)
            if judged.verdict.faults:
                refusal = InvalidRequest if rules_broken else ImageRejected
                raise refusal(judged.verdict.faults)
            self._check_price(draft.arguments, judged)
            record, new = await self._send_once(draft.arguments, judged, pictures)
            if not new:
                record = await self._refreshed(record)
            return self._receipt(draft.arguments, judged, pictures, record, repeated=not new)

    @asynccontextmanager
    async def _opened(
        self, arguments: SubmitArguments
    ) -> AsyncIterator[tuple[list[Picture], Verdict]]:
        """The request's pictures, open, and what is wrong with them."""
        wishes = arguments.pictures()
        opened, verdict = await open_pictures(wishes, self._policy)
        pictures = [picture for picture in opened if picture]
        try:
            by_field = dict(zip((field for field, _ in wishes), opened, strict=True))
            dynamic = [
                by_field.get(f"dynamic_masks[{place}].mask")
                for place in range(len(arguments.dynamic_masks))
            ]
            verdict.extend(
                check_mask_sizes(by_field.get("image"), by_field.get("static_mask"), dynamic)
            )
            yield pictures, verdict
        finally:
            for picture in pictures:
                picture.close()

    def _check_provider(self, draft: Draft[SubmitArguments], judged: Review) -> None:
        here, asked = self._client.row.name, draft.arguments.provider
        if asked and asked != here:
            judged.verdict.faults.append(
                Fault("provider", "provider_unknown", f"{asked} is not configured.", here)
            )

    def _check_price(self, arguments: SubmitArguments, judged: Review) -> None:
        caps = (
            (arguments.max_units, "max_units", "raise max_units if the person agrees"),
            (
                self._caps.per_task,
                "the cap for one video (KLING_MCP_MAX_UNITS_PER_TASK)",
                "have that setting raised",
            ),
        )
        for cap, name, way in caps:
            if cap is None or (judged.estimate.units is not None and judged.estimate.units <= cap):
                continue
            raise SpendCapReached(
                f"This video costs {judged.estimate}, {name} is {cap:g}.",
                advice=f"Choose a shorter video, mode std or another model, or {way}.",
            )

    async def _send_once(
        self, arguments: SubmitArguments, judged: Review, pictures: Sequence[Picture]
    ) -> tuple[Record, bool]:
        wish = self._wish(arguments, judged, pictures)
        lock = self._locks.setdefault(f"{wish.digest}/{wish.take}", anyio.Lock())
        async with lock:
            record, new = await self._ledger.reserve(wish, day_cap=self._caps.per_day)
            if record.status != "unknown":
                return record, False
            found = None if new else await self._look_up(record)
            if found:
                return found, False
            wire = {picture.field: picture.wire() for picture in pictures}
            body = JsonBody(create_body(judged, wire, self._capabilities, record.external_task_id))
            with anyio.CancelScope(shield=True):
                record = await self._create(judged, record, body)
            return record, True

    async def _create(self, judged: Review, record: Record, body: JsonBody) -> Record:
        """The POST; shielded by the caller, because an answer that nobody waits for is lost."""
        try:
            task = await self._client.create(judged.product, body)
        except DuplicateTask as error:
            found = await self._look_up(record)
            if found is None:
                await self._ledger.refused(record.id, error.provider_message)
                raise
            return found
        except ProviderError as error:
            if error.charged == "no":
                await self._ledger.refused(record.id, error.provider_message or error.message)
                raise
            return await self._after_lost_answer(record, error)
        except KlingError as error:
            await self._ledger.refused(record.id, error.message)
            raise
        return await self._ledger.record(record.id, task)

    async def _after_lost_answer(self, record: Record, error: ProviderError) -> Record:
        """The create may have arrived: the task is looked up by the id that was sent."""
        try:
            found = await self._look_up(record)
        except ProviderError:
            found = None
        if found:
            return found
        error.advice = (
            f"Do not submit again. Ask kling_get_task for {record.external_task_id}, or send the "
            "very same request again: it is then looked up first and not paid twice."
        )
        raise error

    async def _refreshed(self, record: Record) -> Record:
        """A row found again, with the task's state of now where the provider tells it."""
        if record.status in ENDED:
            return record
        try:
            task = await self._client.task(record.product, record.handle)
        except ProviderError:
            return record
        return await self._ledger.record(record.id, task)

    async def _look_up(self, record: Record) -> Record | None:
        """The row of a task whose answer was lost, if the provider has the task."""
        try:
            task = await self._client.task(record.product, record.external_task_id)
        except TaskNotFound:
            return None
        return await self._ledger.record(record.id, task)

    def _wish(
        self, arguments: SubmitArguments, judged: Review, pictures: Sequence[Picture]
    ) -> Wish:
        shown = {picture.field: picture.label for picture in pictures}
        hashes = {picture.field: picture.sha256 for picture in pictures}
        fields = create_body(judged, hashes, self._capabilities, "")
        essence = {k: v for k, v in fields.items() if k not in NOT_PART_OF_THE_WISH}
        text = json.dumps([judged.product, essence], sort_keys=True, ensure_ascii=False)
        return Wish(
            provider=self._client.row.name,
            product=judged.product,
            digest=hashlib.sha256(text.encode()).hexdigest(),
            take=arguments.take,
            model_name=judged.model_name,
            prompt=arguments.prompt or _first_shot(arguments),
            request=create_body(judged, shown, self._capabilities, ""),
            estimate_units=judged.estimate.units,
            external_task_id=arguments.external_task_id,
        )

    def _dry_run(
        self, arguments: SubmitArguments, judged: Review, pictures: Sequence[Picture]
    ) -> Receipt:
        wire: dict[str, Any] = {field: f"<{field}>" for field, _ in arguments.pictures()}
        wire |= {picture.field: picture.wire() for picture in pictures}
        row = self._client.row
        external = arguments.external_task_id or "<made from the ledger's row>"
        body = JsonBody(create_body(judged, wire, self._capabilities, external)).preview()
        receipt = self._receipt(arguments, judged, pictures, None, repeated=False)
        receipt.faults = [fault.facts() for fault in judged.verdict.faults]
        receipt.request = {
            "method": "POST",
            "path": f"{row.prefix}/{judged.product}",
            "body": body,
        }
        receipt.next = (
            "Correct the faults, then submit." if receipt.faults else "Submit without dry_run."
        )
        return receipt

    def _receipt(
        self,
        arguments: SubmitArguments,
        judged: Review,
        pictures: Sequence[Picture],
        record: Record | None,
        *,
        repeated: bool,
    ) -> Receipt:
        wire = {picture.field: picture.field for picture in pictures}
        choices = SpendingChoices.model_fields
        fields = [name for name in type(arguments).model_fields if name not in choices]
        given = [name for name in fields if arguments.gives(name)]
        sent = (
            []
            if judged.verdict.faults
            else list(create_body(judged, wire, self._capabilities, "x"))
        )
        return Receipt(
            task_id=record.handle if record else None,
            status=record.status if record else None,
            provider=self._client.row.name,
            model_name=judged.model_name,
            mode=judged.mode,
            duration_s=int(arguments.duration),
            take=arguments.take,
            estimate_units=judged.estimate.units,
            estimate_usd=judged.estimate.usd,
            pictures=[_picture_text(picture) for picture in pictures],
            sent=[] if repeated else sent,
            not_sent=[] if not sent else [name for name in given if name not in sent],
            repeated=repeated or None,
            warnings=[str(warning) for warning in judged.verdict.warnings],
            note=SANDBOX_NOTE if self._client.row.name == SANDBOX else None,
            next=_next_step(record, repeated),
        )


def _first_shot(arguments: SubmitArguments) -> str:
    shots = getattr(arguments, "multi_prompt", [])
    return shots[0].prompt if shots else ""


def _picture_text(picture: Picture) -> str:
    size = f" {picture.width}x{picture.height}" if picture.width else ""
    converted = f" ({picture.converted})" if picture.converted else ""
    return f"{picture.field}: {picture.label}{size}{converted}"


def _next_step(record: Record | None, repeated: bool) -> str | None:
    if record is None:
        return None
    if repeated and record.status in ENDED:
        return f"kling_get_task with task_id {record.handle}; raise take for another version."
    return f"kling_wait_for_tasks with task_ids [{record.handle}], then kling_save_video."

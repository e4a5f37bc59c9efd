"""The way of a create: judge, open the pictures, check the price, send once, answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import anyio

from kling_mcp.background import BackgroundWork
from kling_mcp.inputs import PicturePolicy, check_mask_sizes, open_pictures
from kling_mcp.ledger import DayCaps, Ledger, NewRow
from kling_mcp.principal import Principal
from kling_mcp.providers.pool import Clients
from kling_mcp.providers.retries import TimeLimits
from kling_mcp.submission.judged_request import JudgedRequest, judge_request
from kling_mcp.submission.receipts import bare_receipt, dry_run_receipt, receipt
from kling_mcp.submission.sender import Sender
from kling_tools.decorations import decoration
from kling_tools.errors import (
    ImageRejected,
    InvalidRequest,
    ProviderDown,
    RequestRefused,
    SpendCapReached,
    quote_provider,
)
from kling_tools.faults import Fault
from kling_tools.requests.drafts import Draft
from kling_tools.results import Receipt
from kling_tools.rules.capabilities import Capabilities
from kling_tools.service import Confirm, SubmitArguments

__all__ = ["Caps", "Submission"]


@dataclass(frozen=True, slots=True)
class Caps:
    """The most units that one video and the videos of 24 hours may cost, and above how many the
    person is asked; None means no cap."""

    per_task: float | None = None
    per_day: DayCaps = field(default_factory=DayCaps)
    confirm_above: float | None = None


class Submission:
    """Takes requests to the provider that the caller names, else to the default one."""

    def __init__(
        self,
        clients: Clients,
        ledger: Ledger,
        sender: Sender,
        capabilities: Capabilities,
        caps: Caps,
        background_work: BackgroundWork,
        limits: TimeLimits,
        *,
        saves: bool,
        callback_base: str = "",
    ) -> None:
        self._clients = clients
        self._capabilities = capabilities
        self._caps = caps
        self._ledger = ledger
        self._sender = sender
        self._background_work = background_work
        self._limits = limits
        self._saves = saves
        self._callback_base = callback_base

    async def submit(
        self,
        draft: Draft[SubmitArguments],
        confirm: Confirm,
        principal: Principal,
        pictures: PicturePolicy,
    ) -> Receipt:
        """Send a request, or find that it was sent before, or (dry run) only judge it. `pictures`
        says which ones the principal may name.

        Raises InvalidRequest, ImageRejected, SpendCapReached, NotConfigured, and ProviderError.
        """
        judged = judge_request(
            draft, self._clients, self._capabilities, principal, self._callback_base
        )
        rules_broken = bool(judged.review.verdict.faults)
        began = anyio.current_time()
        async with AsyncExitStack() as held:
            judged = await held.enter_async_context(self._with_pictures(judged, pictures))
            faults = judged.review.verdict.faults
            if judged.arguments.dry_run:
                return await self._dry_run(judged)
            if faults:
                raise InvalidRequest(faults) if rules_broken else ImageRejected(faults)
            left_s = self._limits.answer_s - (anyio.current_time() - began)
            new_row = judged.new_row
            if self._has_a_say_in_price(judged) and not await self._is_made(new_row):
                self._check_price(judged)
                await self._ask_the_person(judged, new_row, confirm)
            sending = partial(self._send, judged, new_row, held.pop_all())
        try:
            return await self._background_work.run(sending, left_s)
        except TimeoutError:
            raise await self._on_its_way(new_row) from None

    async def _send(
        self, judged: JudgedRequest, new_row: NewRow, pictures: AsyncExitStack
    ) -> Receipt:
        async with pictures:
            try:
                record, new = await self._sender.send(
                    new_row,
                    await self._clients.get(judged.provider.name),
                    judged.body,
                    self._caps.per_day,
                )
            except RequestRefused as error:
                error.advice = " ".join([error.advice, *map(str, judged.review.verdict.warnings)])
                raise
        with decoration("the whole receipt"):
            return receipt(judged, record, repeated=not new, saves=self._saves)
        return bare_receipt(record, repeated=not new)

    async def _on_its_way(self, new_row: NewRow) -> ProviderDown:
        """What is told of a request that goes on when its call has to be answered."""
        made = await self._ledger.peek(new_row)
        ask = f"kling_get_task with task_id {made.handle}" if made else "kling_list_tasks"
        return ProviderDown(
            f"{new_row.provider} has not answered yet; the request goes on here.",
            provider=new_row.provider,
            charged="unknown",
            advice=f"Do not submit anything else in its place. Ask {ask} in a moment, or send the "
            "very same request again: it joins this one and is not paid twice.",
        )

    @asynccontextmanager
    async def _with_pictures(
        self, judged: JudgedRequest, policy: PicturePolicy
    ) -> AsyncIterator[JudgedRequest]:
        """The judged request with its pictures open; faults of theirs are added to its verdict."""
        wishes = judged.arguments.pictures()
        opened, verdict = await open_pictures(wishes, policy)
        pictures = [picture for picture in opened if picture]
        try:
            by_field = dict(zip((field for field, _ in wishes), opened, strict=True))
            dynamic = [
                by_field.get(f"dynamic_masks[{place}].mask")
                for place in range(len(judged.arguments.dynamic_masks))
            ]
            image, static = by_field.get("image"), by_field.get("static_mask")
            verdict.extend(check_mask_sizes(image, static, dynamic))
            judged.review.verdict.extend(verdict)
            yield replace(judged, pictures=pictures)
        finally:
            for picture in pictures:
                picture.close()

    async def _dry_run(self, judged: JudgedRequest) -> Receipt:
        """What a submit would do, caps and what was made before included; nothing is written."""
        made = None
        if not judged.review.verdict.faults and self._ledger.exists:
            made = await self._ledger.peek(judged.new_row)
        if made is None or made.status == "failed":
            made = None
            try:
                self._check_price(judged)
                if not judged.review.verdict.faults:
                    await self._ledger.check_day(judged.new_row, self._caps.per_day)
            except SpendCapReached as cap:
                fault = Fault("max_units", "spend_cap", f"{cap.message} {cap.advice}")
                judged.review.verdict.faults.append(fault)
        return dry_run_receipt(judged, made, self._asked_by(judged))

    def _has_a_say_in_price(self, judged: JudgedRequest) -> bool:
        limits = (judged.arguments.max_units, self._caps.per_task, self._caps.confirm_above)
        return any(limit is not None for limit in limits)

    async def _is_made(self, new_row: NewRow) -> bool:
        """Whether the request is only found again, which costs nothing."""
        made = await self._ledger.peek(new_row)
        return made is not None and made.status != "failed"

    async def _ask_the_person(
        self, judged: JudgedRequest, new_row: NewRow, confirm: Confirm
    ) -> None:
        setting = self._asked_by(judged)
        if not setting:
            return
        what = " ".join(
            part
            for part in (
                judged.review.model_name,
                judged.review.mode or "",
                f"{judged.arguments.duration} s",
                f"take {judged.arguments.take}",
            )
            if part
        )
        price = judged.review.estimate
        question = (
            f"Make this video at {judged.provider.name} for {price}? ({what}: "
            f'"{quote_provider(new_row.prompt)}")'
        )
        agreed = await confirm(question, setting)
        if not agreed:
            raise SpendCapReached(
                f"The person did not agree to {price}, which {setting} asks for.",
                advice="Ask what they would like instead; dry_run shows prices.",
            )

    def _asked_by(self, judged: JudgedRequest) -> str:
        """The setting that wants the person asked for this price; empty when none does."""
        above, units = self._caps.confirm_above, judged.review.estimate.units
        if above is None or (units is not None and units <= above):
            return ""
        return f"KLING_MCP_CONFIRM_ABOVE_UNITS ({above:g})"

    def _check_price(self, judged: JudgedRequest) -> None:
        price = judged.review.estimate
        caps = (
            (judged.arguments.max_units, "max_units", "raise max_units if the person agrees"),
            (
                self._caps.per_task,
                "the cap for one video (KLING_MCP_MAX_UNITS_PER_TASK)",
                "have that setting raised",
            ),
        )
        for cap, name, way in caps:
            if cap is None or (price.units is not None and price.units <= cap):
                continue
            cheaper = "a shorter video, mode std or another model"
            if price.units is None:
                known = self._capabilities.models_of([judged.review.product])[:3]
                cheaper = f"a model whose price is known ({', '.join(known)})"
            raise SpendCapReached(
                f"This video would cost {price}; {name} is {cap:g}.",
                advice=f"Choose {cheaper}, or {way}.",
            )

"""The way of a create: judge, open the pictures, check the price, send once, answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import anyio

from kling_mcp.background import Errands
from kling_mcp.inputs import PicturePolicy, check_mask_sizes, open_pictures
from kling_mcp.ledger import DayCaps, Ledger, Wish
from kling_mcp.principal import Principal
from kling_mcp.providers.json_body import JsonBody
from kling_mcp.providers.pool import Clients
from kling_mcp.providers.retries import TimeLimits
from kling_mcp.submission.judged_request import Case, judge
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
        errands: Errands,
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
        self._errands = errands
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
        judged = judge(draft, self._clients, self._capabilities, principal, self._callback_base)
        rules_broken = bool(judged.review.verdict.faults)
        began = anyio.current_time()
        async with AsyncExitStack() as held:
            case = await held.enter_async_context(self._with_pictures(judged, pictures))
            faults = case.review.verdict.faults
            if case.arguments.dry_run:
                return await self._dry_run(case)
            if faults:
                raise InvalidRequest(faults) if rules_broken else ImageRejected(faults)
            left_s = self._limits.answer_s - (anyio.current_time() - began)
            wish = case.wish()
            if self._has_a_say_in_price(case) and not await self._is_made(wish):
                self._check_price(case)
                await self._ask_the_person(case, wish, confirm)
            sending = partial(self._send, case, wish, held.pop_all())
        try:
            return await self._errands.run(sending, left_s)
        except TimeoutError:
            raise await self._on_its_way(wish) from None

    async def _send(self, case: Case, wish: Wish, pictures: AsyncExitStack) -> Receipt:
        async with pictures:
            wire = {picture.field: picture.wire() for picture in case.pictures}
            try:
                record, new = await self._sender.send(
                    wish,
                    await self._clients.get(case.provider.name),
                    lambda record: JsonBody(
                        case.body(wire, record.external_task_id, record.callback_key)
                    ),
                    self._caps.per_day,
                )
            except RequestRefused as error:
                error.advice = " ".join([error.advice, *map(str, case.review.verdict.warnings)])
                raise
        with decoration("the whole receipt"):
            return receipt(case, record, repeated=not new, saves=self._saves)
        return bare_receipt(record, repeated=not new)

    async def _on_its_way(self, wish: Wish) -> ProviderDown:
        """What is told of a request that goes on when its call has to be answered."""
        made = await self._ledger.peek(wish)
        ask = f"kling_get_task with task_id {made.handle}" if made else "kling_list_tasks"
        return ProviderDown(
            f"{wish.provider} has not answered yet; the request goes on here.",
            provider=wish.provider,
            charged="unknown",
            advice=f"Do not submit anything else in its place. Ask {ask} in a moment, or send the "
            "very same request again: it joins this one and is not paid twice.",
        )

    @asynccontextmanager
    async def _with_pictures(self, case: Case, policy: PicturePolicy) -> AsyncIterator[Case]:
        """The case with its pictures open; what is wrong with them is added to the verdict."""
        wishes = case.arguments.pictures()
        opened, verdict = await open_pictures(wishes, policy)
        pictures = [picture for picture in opened if picture]
        try:
            by_field = dict(zip((field for field, _ in wishes), opened, strict=True))
            dynamic = [
                by_field.get(f"dynamic_masks[{place}].mask")
                for place in range(len(case.arguments.dynamic_masks))
            ]
            image, static = by_field.get("image"), by_field.get("static_mask")
            verdict.extend(check_mask_sizes(image, static, dynamic))
            case.review.verdict.extend(verdict)
            yield replace(case, pictures=pictures)
        finally:
            for picture in pictures:
                picture.close()

    async def _dry_run(self, case: Case) -> Receipt:
        """What a submit would do, caps and what was made before included; nothing is written."""
        made = None
        if not case.review.verdict.faults and self._ledger.exists:
            made = await self._ledger.peek(case.wish())
        if made is None or made.status == "failed":
            made = None
            try:
                self._check_price(case)
                if not case.review.verdict.faults:
                    await self._ledger.check_day(case.wish(), self._caps.per_day)
            except SpendCapReached as cap:
                fault = Fault("max_units", "spend_cap", f"{cap.message} {cap.advice}")
                case.review.verdict.faults.append(fault)
        return dry_run_receipt(case, made, self._asked_by(case))

    def _has_a_say_in_price(self, case: Case) -> bool:
        limits = (case.arguments.max_units, self._caps.per_task, self._caps.confirm_above)
        return any(limit is not None for limit in limits)

    async def _is_made(self, wish: Wish) -> bool:
        """Whether the request is only found again, which costs nothing."""
        made = await self._ledger.peek(wish)
        return made is not None and made.status != "failed"

    async def _ask_the_person(self, case: Case, wish: Wish, confirm: Confirm) -> None:
        setting = self._asked_by(case)
        if not setting:
            return
        what = " ".join(
            part
            for part in (
                case.review.model_name,
                case.review.mode or "",
                f"{case.arguments.duration} s",
                f"take {case.arguments.take}",
            )
            if part
        )
        price = case.review.estimate
        question = (
            f"Make this video at {case.provider.name} for {price}? ({what}: "
            f'"{quote_provider(wish.prompt)}")'
        )
        agreed = await confirm(question, setting)
        if not agreed:
            raise SpendCapReached(
                f"The person did not agree to {price}, which {setting} asks for.",
                advice="Ask what they would like instead; dry_run shows prices.",
            )

    def _asked_by(self, case: Case) -> str:
        """The setting that wants the person asked for this price; empty when none does."""
        above, units = self._caps.confirm_above, case.review.estimate.units
        if above is None or (units is not None and units <= above):
            return ""
        return f"KLING_MCP_CONFIRM_ABOVE_UNITS ({above:g})"

    def _check_price(self, case: Case) -> None:
        price = case.review.estimate
        caps = (
            (case.arguments.max_units, "max_units", "raise max_units if the person agrees"),
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
                known = self._capabilities.models_of([case.review.product])[:3]
                cheaper = f"a model whose price is known ({', '.join(known)})"
            raise SpendCapReached(
                f"This video would cost {price}; {name} is {cap:g}.",
                advice=f"Choose {cheaper}, or {way}.",
            )

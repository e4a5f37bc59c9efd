"""The way of a create: judge, open the pictures, check the price, send once, answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from kling_mcp.body import JsonBody
from kling_mcp.cases import Case, judge
from kling_mcp.clients import Clients
from kling_mcp.images import PicturePolicy, check_mask_sizes, open_pictures
from kling_mcp.ledger import Ledger
from kling_mcp.receipts import dry_run_receipt, receipt
from kling_mcp.sending import Sender
from kling_tools.capabilities import Capabilities
from kling_tools.drafts import Draft
from kling_tools.errors import ImageRejected, InvalidRequest, ProviderError, SpendCapReached
from kling_tools.results import Receipt
from kling_tools.service import SubmitArguments

__all__ = ["Caps", "Submission"]


@dataclass(frozen=True, slots=True)
class Caps:
    """The most units that one video and the videos of 24 hours may cost; None means no cap."""

    per_task: float | None = None
    per_day: float | None = None


class Submission:
    """Takes requests to the provider that the caller names, else to the default one."""

    def __init__(
        self,
        clients: Clients,
        ledger: Ledger,
        capabilities: Capabilities,
        pictures: PicturePolicy,
        caps: Caps,
    ) -> None:
        self._clients = clients
        self._capabilities = capabilities
        self._policy = pictures
        self._caps = caps
        self._sender = Sender(ledger)

    async def submit(self, draft: Draft[SubmitArguments]) -> Receipt:
        """Send a request, or find that it was sent before, or (dry run) only judge it.

        Raises InvalidRequest, ImageRejected, SpendCapReached, NotConfigured, and ProviderError.
        """
        judged = judge(draft, self._clients, self._capabilities)
        rules_broken = bool(judged.review.verdict.faults)
        async with self._with_pictures(judged) as case:
            faults = case.review.verdict.faults
            if case.arguments.dry_run:
                return dry_run_receipt(case)
            if faults:
                raise InvalidRequest(faults) if rules_broken else ImageRejected(faults)
            self._check_price(case)
            wire = {picture.field: picture.wire() for picture in case.pictures}
            try:
                record, new = await self._sender.send(
                    case.wish(),
                    await self._clients.get(case.provider.name),
                    lambda external_id: JsonBody(case.body(wire, external_id)),
                    self._caps.per_day,
                )
            except ProviderError as error:
                error.advice = " ".join([error.advice, *map(str, case.review.verdict.warnings)])
                raise
            return receipt(case, record, repeated=not new)

    @asynccontextmanager
    async def _with_pictures(self, case: Case) -> AsyncIterator[Case]:
        """The case with its pictures open; what is wrong with them is added to the verdict."""
        wishes = case.arguments.pictures()
        opened, verdict = await open_pictures(wishes, self._policy)
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
            raise SpendCapReached(
                f"This video costs {price}, {name} is {cap:g}.",
                advice=f"Choose a shorter video, mode std or another model, or {way}.",
            )

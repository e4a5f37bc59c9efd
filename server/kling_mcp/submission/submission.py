"""The one way of a create, whatever it makes: a video, pictures, an element, or a voice.

`Submission.submit` goes it from top to bottom. Each arrow is a method here or in `sender`. On the
right is who knows the step: the kind of create (`Create`, made in `new_videos` and `new_assets`),
or the way itself:

    asked    ──judge────────────> judged    kind  what it is made from is open, its faults are known
    asked    ──judge────────────> refused   kind  it cannot be read; or what it names is unknown
    judged   ──_dry_run─────────> answered  way   by the caps of now; `dry_receipt` words it
    judged   ──_dry_run─────────> refused   way   its provider cannot be asked, or its row is broken
    judged   ──refusal──────────> refused   kind  it has faults
    judged   ──_agree───────────> agreed    way   caps allow the price, and so does the person
    judged   ──_agree───────────> refused   way   a cap is lower, or the person says no
    judged   ──submit───────────> agreed    way   it was made before, or no cap is set
    agreed   ──prepare──────────> ready     kind  media have addresses; what comes first is done
    agreed   ──prepare──────────> answered  kind  what came first asks the person to choose
    agreed   ──prepare──────────> refused   kind  what comes first cannot be done
    ready    ──_refuse_dearer───> refused   way   what came first made it dearer
    ready    ──send─────────────> sent      way   its row is written, then it is sent once
    ready    ──send─────────────> refused   way   by a cap of the day, its provider or the ledger
    sent     ──receipt──────────> answered  kind
    agreed   ──_not_answered_yet> answered  way   time is up; the rest goes on in the background
    ready    ──_not_answered_yet> answered  way   the same
    sent     ──_not_answered_yet> answered  way   the same

`refused` is a call that ends with an error; to one from `_agree` on, `Create.explain` adds what
helps.
What was made before goes the same way, and costs nothing: nobody is asked, and nothing is sent.
Only a request whose answer was lost may be sent once more, with its own id: it was agreed to and
counted the first time. From `agreed` on a create runs in the background, so that no interrupted
call leaves half of it behind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, TypeVar, cast
from urllib.parse import urlsplit

import anyio

from kling_mcp.background import BackgroundWork
from kling_mcp.inputs.media import Medium
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.inputs.urls import is_private_host
from kling_mcp.ledger import DayCaps, Ledger, NewRow, Record
from kling_mcp.ledger.records import beyond_use
from kling_mcp.ledger.reserving import ONLY_KNOWN_PRICES
from kling_mcp.outputs.storage import VideoStorage
from kling_mcp.principal import Principal
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.pool import Clients
from kling_mcp.providers.retries import TimeLimits
from kling_mcp.providers.task import NO_ADDRESS
from kling_mcp.submission.create_body import CreateBody
from kling_mcp.submission.sender import Sender
from kling_mcp.tasks.library import Library
from kling_tools.errors import KlingError, ProviderDown, SpendCapReached
from kling_tools.faults import Fault, Verdict, asking
from kling_tools.products import MADE
from kling_tools.quoting import counted
from kling_tools.rules.capabilities import Capabilities, Estimate
from kling_tools.service import Confirm

__all__ = [
    "AnsweredInstead",
    "Caps",
    "Create",
    "Judged",
    "Submission",
    "reaches_this_network",
    "without_address",
]

LONGER = "The speech lasts longer than its price was told for."

RAISED_USD = "after KLING_MCP_MAX_USD_PER_TASK is raised"

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits of cost: of one video in units, of the videos of 24 hours, the units above which the
    person is asked, of one video in US dollars, and of the pictures of one request in image units;
    None means no limit."""

    per_task: float | None = None
    per_day: DayCaps = field(default_factory=DayCaps)
    confirm_above: float | None = None
    per_task_usd: float | None = None
    per_task_pictures: float | None = None

    def limit(self, *more: float | None) -> bool:
        """Whether a cap of one create, or one of these, is set."""
        own = (self.per_task, self.per_task_usd, self.per_task_pictures)
        return any(cap is not None for cap in (*own, *more))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the way requires of a judged create. `price` is that of the whole, with the steps that
    come before it. `made` is the row of the very same request; None when there is none, or nothing
    came of it. Whoever finds a fault adds it to `verdict`."""

    provider: Configured
    new_row: NewRow
    body: CreateBody
    price: Estimate
    verdict: Verdict
    made: Record | None
    media: Sequence[Medium]
    max_units: float | None
    dry_run: bool

    @property
    def whole_row(self) -> NewRow:
        """The row with the price of the whole."""
        return replace(self.new_row, estimate_units=self.price.units)


class AnsweredInstead(Exception):
    """A step before the create ends the call with an answer of its own."""

    def __init__(self, answer: object) -> None:
        super().__init__("the call is answered before its create")
        self.answer = answer


class Create(ABC, Generic[AnswerT]):
    """One create on its way: what is made, and from what. `way` has what all creates share,
    `policy` says which pictures the principal may name."""

    def __init__(self, way: Submission, principal: Principal, policy: PicturePolicy) -> None:
        self.way = way
        self.principal = principal
        self.policy = policy

    @abstractmethod
    async def judge(self, opened: AsyncExitStack) -> Judged:
        """Open what it is made from, which `opened` closes, and find every fault. Raises KlingError
        where that is not possible."""

    @abstractmethod
    async def refusal(self) -> KlingError:
        """The error for a create that has faults."""

    @abstractmethod
    def question(self, price: Estimate) -> str:
        """What a person is asked who has to agree to the price."""

    @abstractmethod
    async def receipt(self, record: Record, *, new: bool) -> AnswerT:
        """The answer once it was sent, just now (`new`) or before."""

    @abstractmethod
    async def dry_receipt(self, judged: Judged, capped: SpendCapReached | None, by: str) -> AnswerT:
        """The answer of a dry run. `capped` is the cap that would stop it, which is the last fault
        then, and `by` the setting that requires the person's consent; empty when none does."""

    async def explain(self, error: KlingError, within_units: float | None = None) -> None:
        """Add to an error of a cap or of the provider what helps: what costs no more units, say."""

    async def prepare(self, judged: Judged, client: KlingClient) -> Judged:
        """The create as it is sent: each medium that is only on this machine has an address.

        A step that comes before the create belongs here: override this, do the step, and put what
        it gave into the body. The caps and the person have agreed to `Judged.price` by then; where
        the step shows that the create itself costs more, it is not sent. With
        an answered `judged.made` nothing is sent, so skip the step; while that is unanswered, the
        same request may be sent again, with its step. One that is paid is a create of its own:
        `self.way.sender.send(row, client, body, caps)`, with a row that has the step's product and
        digest, writes it down first, and finds it again after a crash or when it is asked for
        once more. Where the step shows that the person has to choose, raise `AnsweredInstead`:
        nothing of the create itself is written or sent yet.
        """
        body = judged.body.with_addresses(await self._addresses(judged, client))
        return replace(judged, body=body)

    async def _addresses(self, judged: Judged, client: KlingClient) -> dict[str, str]:
        """An address for each medium that is only on this machine, by field. A request whose task
        is known is not sent again: it needs none. Raises KlingError."""
        waiting = [medium for medium in judged.media if medium.needs_address]
        if judged.made is not None and judged.made.task_id:
            return {medium.field: f"{NO_ADDRESS}#{medium.field}" for medium in waiting}
        found = {}
        for medium in waiting:
            assert medium.held is not None
            if judged.provider.embedded:
                found[medium.field] = await client.hand_in(medium.held, medium.sha256)
            else:
                assert self.policy.give_address is not None
                found[medium.field] = await self.policy.give_address(medium.held)
        return found


@dataclass(frozen=True, kw_only=True)
class Submission:
    """The way of all creates, and what they share. `saves` says that finished files are saved by
    themselves; providers report changes below `callback_base`, which is empty when this server
    cannot be reached."""

    clients: Clients
    ledger: Ledger
    sender: Sender
    capabilities: Capabilities
    caps: Caps
    background_work: BackgroundWork
    limits: TimeLimits
    library: Library
    storage: VideoStorage
    saves: bool
    callback_base: str = ""

    async def submit(self, create: Create[AnswerT], confirm: Confirm) -> AnswerT:
        """Send a create once, or find that it was sent before, or (dry run) only judge it. Returns
        the receipt.

        Raises InvalidRequest, ImageRejected, SpendCapReached, NotConfigured, and ProviderError.
        """
        began = anyio.current_time()
        async with AsyncExitStack() as opened:
            judged = await create.judge(opened)
            if judged.dry_run:
                return await self._dry_run(create, judged)
            if judged.verdict.faults:
                raise await create.refusal()
            left_s = self.limits.answer_s - (anyio.current_time() - began)
            if judged.made is None and self.caps.limit(judged.max_units, self.caps.confirm_above):
                await self._agree(create, judged, confirm)
            sending = partial(self._send, create, judged, opened.pop_all())
        try:
            return await self.background_work.run(sending, left_s)
        except TimeoutError:
            raise await self._not_answered_yet(judged.new_row) from None

    async def made_before(self, new_row: NewRow) -> Record | None:
        """The row of the same request, with which it costs nothing now; None when nothing came of
        it."""
        made = await self.ledger.peek(new_row) if self.ledger.exists else None
        return None if made is None or made.is_gone else made

    async def _agree(self, create: Create[AnswerT], judged: Judged, confirm: Confirm) -> None:
        """Raises SpendCapReached when a cap is lower than the price, and when a setting requires
        the person's consent and the person refuses it."""
        try:
            await self.check_price(judged)
            setting = self._confirmed_by(judged)
            if setting and not await confirm(create.question(judged.price), setting):
                raise SpendCapReached(
                    f"The person did not agree to {judged.price}, which {setting} requires.",
                    advice="Ask what they would like instead; dry_run shows prices.",
                )
        except SpendCapReached as error:
            await create.explain(error, self.caps.confirm_above)
            raise

    async def _send(
        self, create: Create[AnswerT], judged: Judged, opened: AsyncExitStack
    ) -> AnswerT:
        """Prepare the body, write the row, send the request, and close what was opened."""
        async with opened:
            client = await self.clients.get(judged.provider.name)
            try:
                ready = await create.prepare(judged, client)
                await self._refuse_dearer(ready, judged.new_row.estimate_units)
                record, new = await self.sender.send(
                    ready.new_row, client, ready.body, self.caps.per_day
                )
            except AnsweredInstead as instead:
                return cast(AnswerT, instead.answer)
            except KlingError as error:
                await create.explain(error)
                raise
        return await create.receipt(record, new=new)

    async def _refuse_dearer(self, ready: Judged, agreed: float | None) -> None:
        """Raises SpendCapReached or KlingError when the create costs more units than were `agreed`,
        now that what came before it is known."""
        units = ready.new_row.estimate_units
        if agreed is None or units is None or units <= agreed:
            return
        try:
            await self.check_price(ready)
        except SpendCapReached as error:
            error.message = f"{LONGER} {error.message}"
            raise
        what = MADE[ready.new_row.product].result
        raise KlingError(
            f"{LONGER} This {what} would cost {ready.price}, and was not made.",
            charged="no",
            advice="Tell the person the price; then submit the same again.",
        )

    async def _dry_run(self, create: Create[AnswerT], judged: Judged) -> AnswerT:
        """What a submit would do now, by the caps and by what was made before. Writes nothing.
        Raises NotConfigured where the provider cannot be asked at all, and KlingError like the
        reservation of the row."""
        faults, capped = judged.verdict.faults, None
        if judged.made is None:
            try:
                await self.check_price(judged)
                if not faults:
                    await self.ledger.check_external_id(judged.new_row)
                    await self.ledger.check_day(judged.whole_row, self.caps.per_day)
            except SpendCapReached as cap:
                capped = cap
                told = cap.message if cap.way else f"{cap.message} {cap.advice}"
                own = cap.way.startswith("with max_units")
                faults.append(Fault("max_units" if own else "price", "spend_cap", told))
            if not faults and not judged.provider.embedded:
                await self.clients.get(judged.provider.name)
        elif judged.made.is_beyond_use:
            raise beyond_use(judged.made)
        return await create.dry_receipt(judged, capped, self._confirmed_by(judged))

    def _confirmed_by(self, judged: Judged) -> str:
        """The setting that requires the person's consent to the price; empty when none does."""
        above, units = self.caps.confirm_above, judged.price.units
        if above is None or (units is not None and units * judged.new_row.unit_weight <= above):
            return ""
        return f"KLING_MCP_CONFIRM_ABOVE_UNITS={above:g}"

    async def check_price(self, judged: Judged) -> None:
        """Raises SpendCapReached when a cap is lower than the price, or the price is unknown."""
        new_row, price = judged.new_row, judged.price
        what = MADE[new_row.product].result
        usd, weight = self.caps.per_task_usd, new_row.unit_weight
        caps = (
            (judged.max_units, 1.0, "max_units", f"with max_units: {price.units or 0:g}"),
            (
                self.caps.per_task,
                weight,
                "the cap for one video (KLING_MCP_MAX_UNITS_PER_TASK)",
                "after KLING_MCP_MAX_UNITS_PER_TASK is raised",
            ),
            (
                self.caps.per_task_pictures if new_row.unit == "image unit" else None,
                1.0,
                "the cap for pictures (KLING_MCP_MAX_IMAGE_UNITS_PER_TASK)",
                "after KLING_MCP_MAX_IMAGE_UNITS_PER_TASK is raised",
            ),
        )
        for cap, each, name, way in caps:
            if cap is None or (price.units is not None and price.units * each <= cap):
                continue
            if price.units is None:
                message = f"The price of this {what} is not known, and {name} is {cap:g}."
                raise SpendCapReached(message, advice=ONLY_KNOWN_PRICES)
            together = counted(price.units * weight, "unit")
            counts = f", which counts as {together}" if each != 1 else ""
            message = f"This {what} would cost {price}{counts}; {name} is {cap:g}."
            raise SpendCapReached(message, advice=asking(None, way), way=way)
        if usd is None:
            return
        unit = await self.ledger.unit_price(new_row)
        if price.units is None or price.units * unit.usd > usd:
            name = "the cap for one video (KLING_MCP_MAX_USD_PER_TASK)"
            if price.units is None:
                message = f"The price of this {what} is not known, and {name} is {usd:g} USD."
                raise SpendCapReached(message, advice=ONLY_KNOWN_PRICES)
            raise SpendCapReached(
                f"This {what} would cost {unit.text(price.units)}; {name} is {usd:g} USD.",
                advice=asking(None, RAISED_USD),
                way=RAISED_USD,
            )

    async def _not_answered_yet(self, new_row: NewRow) -> ProviderDown:
        """The error for a call that is answered while its request goes on in the background."""
        made = await self.ledger.peek(new_row)
        ask = f"kling_get_task with task_id {made.handle}" if made else "kling_list_tasks"
        return ProviderDown(
            f"{new_row.provider} has not answered yet; the request goes on here.",
            provider=new_row.provider,
            charged="unknown",
            advice=f"Do not submit anything else in its place. Ask {ask} in a moment, or send the "
            "very same request again: it joins this one and is not paid twice.",
        )


def reaches_this_network(provider: Configured) -> bool:
    """Whether the provider can fetch what only this machine or network reaches."""
    return provider.embedded or is_private_host(urlsplit(provider.base_url).hostname or "")


def refuse_private_urls(verdict: Verdict) -> None:
    """Make faults of the warnings about pictures that the provider cannot fetch."""
    private = [warning for warning in verdict.warnings if warning.rule == "url_private"]
    verdict.warnings[:] = [warning for warning in verdict.warnings if warning not in private]
    verdict.faults.extend(private)


def without_address(
    media: Sequence[Medium], provider: Configured, policy: PicturePolicy
) -> Iterator[Fault]:
    """A fault for each medium that the provider has to fetch and that nothing gives an address."""
    if provider.embedded:
        return
    for medium in media:
        if medium.needs_address and (policy.give_address is None or medium.held is None):
            noun = medium.limits.noun
            yield Fault(
                medium.field,
                "address_missing",
                f"{medium.label} is on this machine alone, and Kling fetches a {noun} from the "
                "internet.",
                f"an https URL of it, or kling://tasks/ID/video of a {noun} that Kling made; a "
                "server for a team (KLING_MCP_PUBLIC_URL) gives it an address itself",
                medium.limits.source,
            )

"""The way of a create, as `Submission.submit` goes it from top to bottom:

judged -> pictures opened -> priced -> confirmed -> written down -> sent -> receipt

A dry run is judged, opened and priced, and then answered. `sender` writes the row and sends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio

from kling_mcp.background import BackgroundWork
from kling_mcp.inputs import (
    Medium,
    PicturePolicy,
    check_end_shape,
    check_mask_sizes,
    open_media,
    open_pictures,
)
from kling_mcp.inputs.urls import is_private_host
from kling_mcp.ledger import DayCaps, Ledger, NewRow, Record
from kling_mcp.ledger.records import beyond_use
from kling_mcp.ledger.reserving import ONLY_KNOWN_PRICES
from kling_mcp.principal import Principal
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.pool import Clients
from kling_mcp.providers.retries import TimeLimits
from kling_mcp.providers.task import NO_ADDRESS
from kling_mcp.submission.judged_request import (
    JudgedRequest,
    judge_request,
    request_again,
    with_cheaper,
)
from kling_mcp.submission.receipts import bare_receipt, dry_run_receipt, receipt
from kling_mcp.submission.sender import Sender
from kling_mcp.tasks.library import Library, names_assets
from kling_tools.decorations import decoration
from kling_tools.errors import (
    ImageRejected,
    InvalidRequest,
    ProviderDown,
    RequestRefused,
    SpendCapReached,
    quote_provider,
)
from kling_tools.faults import Fault, Variant, Verdict, asking, explained
from kling_tools.products import MADE, PRODUCTS, Product
from kling_tools.quoting import counted
from kling_tools.requests.arguments import SubmitArguments
from kling_tools.requests.drafts import Draft
from kling_tools.requests.normalize import text
from kling_tools.results import WITHOUT_VIDEO, Receipt
from kling_tools.rules.capabilities import Capabilities, Estimate
from kling_tools.rules.prompt_warnings import ratio_warnings, speech_warning
from kling_tools.service import Confirm

__all__ = ["Caps", "Submission", "without_address"]

RAISED_USD = "after KLING_MCP_MAX_USD_PER_TASK is raised"


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits of cost: of one video in units, of the videos of 24 hours, the units above which the
    person is asked, and of one video in US dollars; None means no limit."""

    per_task: float | None = None
    per_day: DayCaps = field(default_factory=DayCaps)
    confirm_above: float | None = None
    per_task_usd: float | None = None


class Submission:
    """Sends requests to the provider that the caller names, else to the default one."""

    def __init__(
        self,
        clients: Clients,
        ledger: Ledger,
        sender: Sender,
        capabilities: Capabilities,
        caps: Caps,
        background_work: BackgroundWork,
        limits: TimeLimits,
        library: Library,
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
        self._library = library
        self._saves = saves
        self._callback_base = callback_base

    async def submit(
        self,
        draft: Draft[SubmitArguments],
        confirm: Confirm,
        principal: Principal,
        policy: PicturePolicy,
        earlier: Record | None = None,
    ) -> Receipt:
        """Send a request once, or find that it was sent before, or (dry run) only judge it. Returns
        the receipt. `policy` says which pictures the principal may name, `earlier` is the row that
        the draft's `another_take_of` names.

        Raises InvalidRequest, ImageRejected, SpendCapReached, NotConfigured, and ProviderError.
        """
        if draft.arguments.another_take_of:
            takes = await self._ledger.takes(earlier) if earlier else [0]
            draft = request_again(draft, earlier, max(takes, default=0) + 1)
        if draft.is_unreadable:
            raise InvalidRequest(draft.verdict.faults)
        retired: Mapping[tuple[str, str], Collection[tuple[Product, str]]] = {}
        with decoration("the memory of retired models"):
            retired = await self._ledger.retired_models()
        judge = partial(
            judge_request,
            clients=self._clients,
            capabilities=self._capabilities,
            principal=principal,
            callback_base=self._callback_base,
            earlier=earlier,
            retired=retired,
        )
        judged = judge(draft)
        readable = judged.is_readable
        refused = bool(judged.review.verdict.faults)
        if not judged.names_no_provider and (not refused or names_assets(draft)):
            judged = judge(await self._library.resolved(draft, principal))
        rules_broken = len(judged.review.verdict.faults)
        began = anyio.current_time()
        async with AsyncExitStack() as opened:
            judged = await opened.enter_async_context(_with_open_pictures(judged, policy))
            faults = judged.review.verdict.faults
            ended = bool(faults) and all(fault.rule == "model_retired" for fault in faults)
            too_long = judged.prompt_too_long
            by_rules_only = rules_broken == len(faults) and not too_long
            faults += too_long
            rules_broken += len(too_long)
            if readable and not faults:
                judged = await self._as_before(judged, earlier)
            elif readable:
                with decoration("what was made of a request that is refused now"):
                    judged = await self._as_before(judged, earlier)
                    if await self._is_made(judged):  # nothing is sent
                        judged.review.verdict.warnings.extend(faults if ended else ())
                        faults.clear()
                        rules_broken = 0
            if not faults:
                await self._warn_of_one_elsewhere(judged)
                with decoration("what was made with an element or a voice before it was deleted"):
                    await self._warn_of_one_before(judged, judge)
            self._warn_of_a_cap_at_a_reseller(judged)
            rules_broken += await self._judge_speech(judged)
            if judged.arguments.dry_run:
                return await self._dry_run(judged, by_rules_only)
            if faults:
                passes = await self._variant(judged) if by_rules_only else None
                told = explained(faults) if passes else faults
                refusal = InvalidRequest if rules_broken else ImageRejected
                raise refusal(told, advice=asking(passes), would_pass=passes)
            left_s = self._limits.answer_s - (anyio.current_time() - began)
            if self._has_price_limit(judged) and not await self._is_made(judged):
                async with self._with_variant(judged, self._caps.confirm_above):
                    await self.check_price(
                        judged.new_row, judged.review.estimate, judged.arguments.max_units
                    )
                    await self._ask_the_person(judged, confirm)
            sending = partial(self._send, judged, opened.pop_all(), policy)
        try:
            return await self._background_work.run(sending, left_s)
        except TimeoutError:
            raise await self._not_answered_yet(judged.new_row) from None

    async def _as_before(self, judged: JudgedRequest, earlier: Record | None) -> JudgedRequest:
        """The request with the digest and the take of the row that the same call got before."""
        judged = judged.as_in(await self._ledger.alike(judged.new_row))
        if earlier is None or judged.arguments.take != 1:
            return judged
        take = await self._ledger.next_take(judged.new_row, earlier)
        arguments = judged.arguments.model_copy(update={"take": take})
        return replace(judged, draft=replace(judged.draft, arguments=arguments))

    def _has_price_limit(self, judged: JudgedRequest) -> bool:
        caps = self._caps
        limits = (judged.arguments.max_units, caps.per_task, caps.confirm_above, caps.per_task_usd)
        return any(limit is not None for limit in limits)

    async def _is_made(self, judged: JudgedRequest) -> bool:
        """Whether the request was made before, so that it costs nothing now."""
        made = await self._ledger.peek(judged.new_row) if self._ledger.exists else None
        return made is not None and made.status not in WITHOUT_VIDEO

    async def _warn_of_one_elsewhere(self, judged: JudgedRequest) -> None:
        """Say that an equal request was made at another address, where this one is paid anew."""
        other = await self._ledger.elsewhere(judged.new_row)
        if other is None or await self._is_made(judged):
            return
        name = judged.provider.name
        message = (
            f"an equal request was made at {other.base_url} ({other.handle}). {name} is set to "
            f"{judged.provider.base_url} now, which makes it anew and charges for it."
        )
        judged.review.verdict.warnings.append(Fault("provider", "made_elsewhere", message))

    async def _warn_of_one_before(
        self, judged: JudgedRequest, judge: Callable[[Draft[SubmitArguments]], JudgedRequest]
    ) -> None:
        """Say that an equal request was made with an element or a voice of the same name that is
        deleted since: with the one of now it is made and paid anew."""
        if not self._ledger.exists or await self._is_made(judged):
            return
        before = await self._library.before(judged.arguments, judged.principal)
        for name, words, arguments in before:
            then = judge(replace(judged.draft, arguments=arguments))
            then = replace(then, pictures=judged.pictures).with_media(judged.media)
            made = await self._ledger.peek(then.new_row)
            if made is not None and made.status not in WITHOUT_VIDEO:
                message = (
                    f"an equal request was made with {words} ({made.handle}). With the one of now "
                    "it is made anew, and charged."
                )
                judged.review.verdict.warnings.append(Fault(name, "made_before", message))

    def _warn_of_a_cap_at_a_reseller(self, judged: JudgedRequest) -> None:
        """Say what a cap in Kling's units can hold where a reseller sets its own prices."""
        if judged.provider.row.list_price or not self._has_caps(judged):
            return
        name = judged.provider.name
        judged.review.verdict.warnings.append(
            Fault(
                "max_units",
                "cap_at_reseller",
                f"counts units at Kling's list price; {name} sets its own prices, so no cap here "
                "holds its bill.",
            )
        )

    @property
    def day_caps(self) -> DayCaps:
        """The most that may be spent in 24 hours."""
        return self._caps.per_day

    async def check_price(self, new_row: NewRow, price: Estimate, max_units: float | None) -> None:
        """Raises SpendCapReached when a cap is lower than the price, or the price is unknown."""
        what = MADE[new_row.product].result
        usd, weight = self._caps.per_task_usd, new_row.unit_weight
        caps = (
            (max_units, 1.0, "max_units", f"with max_units: {price.units or 0:g}"),
            (
                self._caps.per_task,
                weight,
                "the cap for one video (KLING_MCP_MAX_UNITS_PER_TASK)",
                "after KLING_MCP_MAX_UNITS_PER_TASK is raised",
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
        unit = await self._ledger.unit_price(new_row)
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

    async def _variant(
        self, judged: JudgedRequest, within_units: float | None = None, **wanted: Any
    ) -> Variant | None:
        """The nearest request, with the wanted arguments, that passes every rule and every cap, and
        costs no more than that; as arguments of this call."""
        found = await self._nearest(judged, within_units, **wanted)
        return judged.beside_earlier(found) if found else None

    async def _nearest(
        self, judged: JudgedRequest, within_units: float | None, **wanted: Any
    ) -> Variant | None:
        with decoration("the nearest request that passes"):
            limit = await self._limit(judged, within_units)
            if not _leaves_sound_open(judged):
                return judged.variant(limit, **wanted)
            heard = judged.variant(limit, **{"sound": "on", **wanted})
            silent = judged.variant(limit, **{"sound": "off", **wanted})
            if heard and heard.change.get("sound") == "on" and not heard.leave_out:
                return with_cheaper(heard, silent)
            return silent
        return None

    async def _limit(
        self, judged: JudgedRequest, within_units: float | None = None
    ) -> float | None:
        """The most units that the video may cost by every cap; None without any."""
        day = await self._ledger.left_of_day(judged.new_row, self._caps.per_day)
        usd = self._caps.per_task_usd
        if usd is not None:
            unit = await self._ledger.unit_price(judged.new_row)
            usd = usd / unit.usd if unit.usd else None
        most = judged.draft.meant.get("max_units", judged.arguments.max_units)
        weight = judged.new_row.unit_weight
        within, task = (
            None if limit is None else limit / weight
            for limit in (within_units, self._caps.per_task)
        )
        limits = (within, most, task, day, usd)
        return min((n for n in limits if n is not None), default=None)

    async def _nothing_fits(self, judged: JudgedRequest) -> str:
        """A sentence with the cheapest video of this wish, which costs more than the caps allow;
        empty when the day's units are used up."""
        with decoration("the cheapest request"):
            limit = await self._limit(judged)
            return judged.nothing_within(limit) if limit else ""
        return ""

    async def _judge_speech(self, judged: JudgedRequest) -> int:
        """Judge words that nobody would hear; the number of faults found. They are a fault unless
        the caller chose `sound`, or the request was made before and costs nothing now."""
        warning, verdict = speech_warning(judged.arguments), judged.review.verdict
        if warning is None:
            return 0
        if any(fault.field in ("sound", "voice_list") for fault in verdict.faults):
            return 0
        if _leaves_sound_open(judged) and (verdict.faults or not await self._is_made(judged)):
            message = warning.message.replace("sound is off, so", "not chosen: without sound", 1)
            use = '"off" if the person agrees to a silent video'
            verdict.faults.append(replace(warning, message=message, use=use))
            return 1
        if verdict.faults:
            return 0
        heard = await self._variant(judged, sound="on")
        if heard and heard.change.get("sound") == "on" and not heard.leave_out:
            use = f"{heard.arguments.removeprefix('with ')}, which makes {heard.makes}"
            warning = replace(warning, use=use)
        verdict.warnings.append(warning)
        return 0

    @asynccontextmanager
    async def _with_variant(
        self, judged: JudgedRequest, within_units: float | None = None
    ) -> AsyncIterator[None]:
        """Give an error about a cap the nearest request that fits under it."""
        try:
            yield
        except SpendCapReached as cap:
            cap.would_pass = await self._variant(judged, within_units)
            if cap.would_pass and cap.way:
                cap.advice = asking(cap.would_pass, cap.beside(cap.would_pass))
            if cap.would_pass is None and _length_unknown(judged):
                cap.message += " The length is not known here, so it is the price of the longest."
                cap.advice = asking(None, " or ".join(filter(None, (LOCAL_COPY, cap.way))))
            elif cap.would_pass is None:
                cap.message = f"{cap.message} {await self._nothing_fits(judged)}".rstrip()
            raise

    def confirm_setting(self, units: float | None, weight: float = 1.0) -> str:
        """The setting that requires the person's consent to so many units, which count `weight`
        each; empty when none does."""
        above = self._caps.confirm_above
        if above is None or (units is not None and units * weight <= above):
            return ""
        return f"KLING_MCP_CONFIRM_ABOVE_UNITS ({above:g})"

    async def _ask_the_person(self, judged: JudgedRequest, confirm: Confirm) -> None:
        """Raises SpendCapReached when a setting requires consent and the person refuses it."""
        setting = self.confirm_setting(judged.review.estimate.units, judged.new_row.unit_weight)
        if not setting:
            return
        review, arguments = judged.review, judged.arguments
        choices = (review.model_name, review.mode, arguments.setting.words())
        what = " ".join(filter(None, (*choices, f"take {arguments.take}")))
        question = (
            f"Make this {PRODUCTS[review.product].result} at {judged.provider.name} for "
            f'{review.estimate}? ({what}: "{quote_provider(judged.new_row.prompt)}")'
        )
        if not await confirm(question, setting):
            raise SpendCapReached(
                f"The person did not agree to {review.estimate}, which {setting} requires.",
                advice="Ask what they would like instead; dry_run shows prices.",
            )

    async def _send(
        self, judged: JudgedRequest, opened: AsyncExitStack, policy: PicturePolicy
    ) -> Receipt:
        """Write the row, send the request, and close the pictures."""
        async with opened:
            client = await self._clients.get(judged.provider.name)
            addresses = await self.addresses(
                judged.new_row, judged.provider, judged.media, client, policy
            )
            body = judged.body.with_addresses(addresses)
            try:
                async with self._with_variant(judged):
                    record, new = await self._sender.send(
                        judged.new_row, client, body, self._caps.per_day
                    )
            except RequestRefused as error:
                await self._library.learn(judged.provider, judged.arguments, error)
                if error.of_model:
                    avoid = judged.review.model_name
                    error.would_pass = await self._variant(judged, avoid=avoid)
                if error.would_pass:
                    error.advice = asking(error.would_pass)
                error.advice = " ".join([error.advice, *map(str, judged.review.verdict.warnings)])
                raise
        with decoration("the whole receipt"):
            takes = [] if new else await self._ledger.takes(record)
            answer = receipt(judged, record, repeated=not new, saves=self._saves, takes=takes)
            answer.uses = self._library.uses(judged.arguments, judged.principal)
            return answer
        return bare_receipt(record, repeated=not new)

    async def addresses(
        self,
        new_row: NewRow,
        provider: Configured,
        media: Sequence[Medium],
        client: KlingClient,
        policy: PicturePolicy,
    ) -> dict[str, str]:
        """An address for each medium that is only on this machine, by field. A request whose task
        is known is not sent again: it needs none. Raises KlingError."""
        waiting = [medium for medium in media if medium.needs_address]
        made = await self._ledger.peek(new_row) if waiting and self._ledger.exists else None
        if made is not None and made.task_id and made.status not in WITHOUT_VIDEO:
            return {medium.field: f"{NO_ADDRESS}#{medium.field}" for medium in waiting}
        found = {}
        for medium in waiting:
            assert medium.held is not None
            if provider.embedded:
                found[medium.field] = await client.hand_in(medium.held, medium.sha256)
            else:
                assert policy.give_address is not None
                found[medium.field] = await policy.give_address(medium.held)
        return found

    async def _not_answered_yet(self, new_row: NewRow) -> ProviderDown:
        """The error for a call that is answered while its request goes on in the background."""
        made = await self._ledger.peek(new_row)
        ask = f"kling_get_task with task_id {made.handle}" if made else "kling_list_tasks"
        return ProviderDown(
            f"{new_row.provider} has not answered yet; the request goes on here.",
            provider=new_row.provider,
            charged="unknown",
            advice=f"Do not submit anything else in its place. Ask {ask} in a moment, or send the "
            "very same request again: it joins this one and is not paid twice.",
        )

    async def _dry_run(self, judged: JudgedRequest, by_rules_only: bool) -> Receipt:
        """What a submit would do now, by the caps and by what was made before. Writes nothing.
        Raises NotConfigured where the provider cannot be asked at all, and KlingError like the
        reservation of the row."""
        faults = judged.review.verdict.faults
        made, capped = None, None
        if not faults and self._ledger.exists:
            made = await self._ledger.peek(judged.new_row)
        if made is None or made.status in WITHOUT_VIDEO:
            made = None
            try:
                await self.check_price(
                    judged.new_row, judged.review.estimate, judged.arguments.max_units
                )
                if not faults:
                    await self._ledger.check_external_id(judged.new_row)
                    await self._ledger.check_day(judged.new_row, self._caps.per_day)
            except SpendCapReached as cap:
                capped = cap
                told = cap.message if cap.way else f"{cap.message} {cap.advice}"
                faults.append(Fault("max_units", "spend_cap", told))
            if not faults and not judged.provider.embedded:
                await self._clients.get(judged.provider.name)
        elif made.is_beyond_use:
            raise beyond_use(made)
        refused = bool(faults) or (judged.retired and made is None)
        passes = await self._variant(judged) if refused and by_rules_only else None
        if passes:
            faults[:] = explained(faults)
        elif capped and (nothing := await self._nothing_fits(judged)):
            rest = "" if capped.way else capped.advice
            message = f"{capped.message} {nothing} {rest}".rstrip()
            faults[-1] = replace(faults[-1], message=message)
        has_caps = self._has_caps(judged)
        weight = judged.new_row.unit_weight
        confirmed_by = self.confirm_setting(judged.review.estimate.units, weight)
        takes = await self._ledger.takes(made) if made else ()
        answer = dry_run_receipt(
            judged,
            made,
            confirmed_by,
            passes,
            otherwise=capped.beside(passes) if capped else "",
            has_caps=has_caps,
            takes=takes,
        )
        answer.uses = self._library.uses(judged.arguments, judged.principal)
        return answer

    def _has_caps(self, judged: JudgedRequest) -> bool:
        limits = (judged.arguments.max_units, self._caps.per_task, self._caps.per_task_usd)
        return bool(self._caps.per_day.all()) or any(limit is not None for limit in limits)


def _leaves_sound_open(judged: JudgedRequest) -> bool:
    """Whether words of the prompt would not be heard and the caller has not chosen `sound`. For
    another take with the same words it was chosen before."""
    before = text(judged.earlier.prompt) if judged.earlier else None
    same = before == judged.new_row.prompt
    chosen = "sound" in judged.arguments.model_fields_set | judged.draft.invalid
    return not chosen and not same and speech_warning(judged.arguments) is not None


def _is_in_this_network(provider: Configured) -> bool:
    """Whether the provider can fetch what only this machine or network reaches."""
    return provider.embedded or is_private_host(urlsplit(provider.base_url).hostname or "")


def _refuse_private_urls(verdict: Verdict) -> None:
    """Make faults of the warnings about pictures that the provider cannot fetch."""
    private = [warning for warning in verdict.warnings if warning.rule == "url_private"]
    verdict.warnings[:] = [warning for warning in verdict.warnings if warning not in private]
    verdict.faults.extend(private)


def _refused_with_a_key(warning: Fault) -> Fault:
    """The sandbox's warning about a private URL, which says that a real provider is not asked."""
    if warning.rule != "url_private":
        return warning
    return replace(warning, message=f"{warning.message} With a key this is refused.")


@asynccontextmanager
async def _with_open_pictures(
    judged: JudgedRequest, policy: PicturePolicy
) -> AsyncIterator[JudgedRequest]:
    """The judged request with its pictures, sounds and videos open; their faults are added to its
    verdict."""
    named = judged.arguments.pictures()
    policy = replace(policy, bytes_max=judged.picture_bytes_max)
    opened, verdict = await open_pictures(named, policy, getattr(judged.arguments, "fit", ""))
    pictures = [picture for picture in opened if picture]
    media: list[Medium] = []
    try:
        heard, told = await open_media(judged.wishes(), policy)
        media += [_for_provider(medium, judged.provider) for medium in heard if medium]
        verdict.extend(told)
        verdict.faults.extend(without_address(media, judged.provider, policy))
        by_field = dict(zip((field for field, _ in named), opened, strict=True))
        dynamic = [by_field[name] for name in by_field if name.startswith("dynamic_masks[")]
        image, static = by_field.get("image"), by_field.get("static_mask")
        verdict.extend(check_mask_sizes(image, static, dynamic))
        verdict.extend(check_end_shape(image, by_field.get("image_tail")))
        if not _is_in_this_network(judged.provider):
            _refuse_private_urls(verdict)
        elif judged.provider.embedded:
            verdict.warnings[:] = [_refused_with_a_key(warning) for warning in verdict.warnings]
        sizes = [(picture.field, picture.width, picture.height) for picture in pictures]
        verdict.warnings.extend(ratio_warnings(judged.arguments, sizes))
        judged.review.verdict.extend(verdict)
        judged = replace(judged, pictures=pictures).with_media(media)
        _warn_of_length(judged)
        yield judged
    finally:
        for picture in pictures:
            picture.close()
        for medium in media:
            medium.close()


def _for_provider(medium: Medium, provider: Configured) -> Medium:
    """The medium as this provider can get it: a sandbox's address leads nowhere outside of it."""
    return replace(medium, url="") if medium.made_here and not provider.embedded else medium


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


LOCAL_COPY = "with a local copy of the video, whose length is read,"


def _length_unknown(judged: JudgedRequest) -> bool:
    """Whether Kling alone will know how long the medium is that gives the video its length."""
    decides = judged.arguments.lasts_as()
    return any(m.field == decides and m.seconds is None for m in judged.media)


def _warn_of_length(judged: JudgedRequest) -> None:
    """Say where the price is that of the longest video, as the length is not known."""
    decides = judged.arguments.lasts_as()
    if _length_unknown(judged) and not judged.review.verdict.faults:
        message = (
            f"Kling fetches it from its URL, so its length is not known here: the price is that of "
            f"{judged.arguments.setting.duration} s, the longest."
        )
        use = "a local copy, whose length is read, or max_units"
        judged.review.verdict.warnings.append(Fault(decides, "length_unknown", message, use))

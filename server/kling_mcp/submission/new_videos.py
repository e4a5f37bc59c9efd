"""A video, or pictures, on the way of a create: judged by the rules of its model, and told of the
nearest request that passes when it is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from kling_mcp.inputs.media import Medium, open_media
from kling_mcp.inputs.opening import check_end_shape, check_mask_sizes, open_pictures
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.ledger import Record
from kling_mcp.ledger.reserving import Equals
from kling_mcp.principal import Principal
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.configured import Configured
from kling_mcp.submission.judged_request import (
    JudgedRequest,
    judge_request,
    request_again,
    with_cheaper,
)
from kling_mcp.submission.provider_choice import Judge, ProviderChoice, is_open
from kling_mcp.submission.receipts import (
    bare_receipt,
    dry_run_receipt,
    instead_of_chosen,
    receipt,
)
from kling_mcp.submission.steps import Steps
from kling_mcp.submission.submission import (
    Create,
    Judged,
    Submission,
    reaches_this_network,
    refuse_private_urls,
    without_address,
)
from kling_mcp.tasks.library import names_assets
from kling_tools.decorations import decoration
from kling_tools.errors import (
    AuthFailed,
    ImageRejected,
    InvalidRequest,
    KlingError,
    PaymentRequired,
    RequestRefused,
    SpendCapReached,
    quote_provider,
)
from kling_tools.faults import Fault, Variant, asking, explained
from kling_tools.products import PRODUCTS, Product
from kling_tools.requests.arguments import SubmitArguments
from kling_tools.requests.drafts import Draft
from kling_tools.requests.normalize import text
from kling_tools.results import Receipt
from kling_tools.rules.capabilities import Estimate
from kling_tools.rules.checks import lengths_fit
from kling_tools.rules.prompt_warnings import ratio_warnings, speech_warning

__all__ = ["VideoCreate"]

SHOWN_THERE = "its faces were shown there"


class VideoCreate(Create[Receipt]):
    """A video or pictures, as a draft asks for them; `earlier` is the row that its
    `another_take_of` names."""

    def __init__(
        self,
        way: Submission,
        principal: Principal,
        policy: PicturePolicy,
        draft: Draft[SubmitArguments],
        earlier: Record | None = None,
    ) -> None:
        super().__init__(way, principal, policy)
        self._draft = draft
        self._earlier = earlier
        self._request: JudgedRequest
        self._rules_broken = 0
        self._by_rules_only = False
        self._steps = Steps(way)

    async def judge(self, opened: AsyncExitStack) -> Judged:
        """Judge it by the rules, open its pictures, and look for what was made of it before.

        Provider, digest and take are final after `_as_before`: pictures, the provider that was
        chosen, and earlier rows may change them until then. What follows changes the price alone,
        by the steps that are owed. Raises KlingError where it cannot be judged."""
        draft, earlier, way = self._draft, self._earlier, self.way
        if draft.arguments.another_take_of:
            takes = await way.ledger.takes(earlier) if earlier else [0]
            draft = request_again(draft, earlier, max(takes, default=0) + 1)
        if draft.is_unreadable:
            raise InvalidRequest(draft.verdict.faults)
        judge = judge_alone = await self._judge_of_now()
        if is_open(draft, way.clients):
            choice = await ProviderChoice.of(
                draft, judge, way.clients, way.library, way.ledger, self.principal
            )
            judge = choice.judging(judge_alone)
            readable, rules_broken = await self._read(choice.pins(draft), judge, opened)
            elsewhere = None
            if readable and (made := await self._made_elsewhere()):
                elsewhere = choice.where_made(made)
            elif readable and (
                row := await self._steps.shown_elsewhere(self._request, choice.others)
            ):
                elsewhere = choice.where_made(row, SHOWN_THERE)
            if elsewhere:
                choice = elsewhere
                judge = choice.judging(judge_alone)
                readable, rules_broken = await self._read(choice.pins(draft), judge, opened)
        else:
            readable, rules_broken = await self._read(draft, judge, opened)
        request = self._request
        verdict = request.review.verdict
        faults = verdict.faults
        ended = bool(faults) and all(fault.rule == "model_retired" for fault in faults)
        too_long = request.prompt_too_long
        self._by_rules_only = rules_broken == len(faults) and not too_long
        faults += too_long
        rules_broken += len(too_long)
        before = Equals()
        if not faults:
            before = await self._as_before()
        elif readable:
            with decoration("what was made of a request that is refused now"):
                before = await self._as_before()
                if before.made:  # nothing is sent
                    verdict.warnings.extend(faults if ended else ())
                    faults.clear()
                    rules_broken = 0
        made = before.made
        if not faults and made is None:
            self._warn_of_one_elsewhere(before.elsewhere)
            self._warn_of_one_forgotten(before.forgotten)
            with decoration("what was made with an element or a voice before it was deleted"):
                await self._warn_of_one_before(judge)
        self._warn_of_a_cap_at_a_reseller()
        self._request = await self._steps.judge(self._request, made)
        if not faults and made is None:
            found = await self._steps.known_faults(self._request)
            faults += found
            rules_broken += len(found)
            self._by_rules_only &= not found
        self._rules_broken = rules_broken + await self._judge_speech(made)
        if before.paid and not faults and made is None:
            self._request = replace(self._request, paid=before.paid)
        request = self._request
        return Judged(
            provider=request.provider,
            new_row=request.new_row,
            body=request.body,
            price=request.price,
            verdict=verdict,
            made=made,
            media=request.media,
            max_units=request.arguments.max_units,
            dry_run=bool(request.arguments.dry_run),
        )

    async def _read(
        self, draft: Draft[SubmitArguments], judge: Judge, opened: AsyncExitStack
    ) -> tuple[bool, int]:
        """Judge the draft by the rules, and open its pictures. Returns whether it is readable, and
        the number of rules that it breaks."""
        request = judge(draft)
        readable = request.is_readable
        refused = bool(request.review.verdict.faults)
        if not request.names_no_provider and (not refused or names_assets(draft)):
            resolved = await self.way.library.resolved(draft, self.principal)
            request = request if resolved is draft else judge(resolved)
        rules_broken = len(request.review.verdict.faults)
        self._request = await self._open(request, opened)
        return readable, rules_broken

    async def _made_elsewhere(self) -> Record | None:
        """The row of the same request at another provider, or with another model, that the server
        could have chosen; None without one."""
        request = self._request
        made = await self.way.made_before(request.new_row)
        own = request.provider.name, request.new_row.digest
        return made if made and (made.provider, made.digest) != own else None

    async def _judge_of_now(self) -> Judge:
        """Judges a draft for its provider, with the models that are known to be retired there."""
        way = self.way
        retired: Mapping[tuple[str, str], Collection[tuple[Product, str]]] = {}
        with decoration("the memory of retired models"):
            retired = await way.ledger.retired_models()
        return partial(
            judge_request,
            clients=way.clients,
            capabilities=way.capabilities,
            principal=self.principal,
            callback_base=way.callback_base,
            earlier=self._earlier,
            retired=retired,
        )

    async def _open(self, request: JudgedRequest, opened: AsyncExitStack) -> JudgedRequest:
        """The request with its pictures, sounds and videos open; their faults are added to its
        verdict."""
        provider, named = request.provider, request.arguments.pictures()
        policy = replace(self.policy, bytes_max=request.picture_bytes_max)
        fit = getattr(request.arguments, "fit", "")
        found, verdict = await open_pictures(named, policy, fit)
        pictures = [picture for picture in found if picture]
        for picture in pictures:
            opened.callback(picture.close)
        heard, told = await open_media(request.wishes(), policy)
        media = [_for_provider(medium, provider) for medium in heard if medium]
        for medium in media:
            opened.callback(medium.close)
        verdict.extend(told)
        verdict.faults.extend(without_address(media, provider, policy))
        by_field = dict(zip((field for field, _ in named), found, strict=True))
        dynamic = [by_field[name] for name in by_field if name.startswith("dynamic_masks[")]
        image, static = by_field.get("image"), by_field.get("static_mask")
        verdict.extend(check_mask_sizes(image, static, dynamic))
        verdict.extend(check_end_shape(image, by_field.get("image_tail")))
        if not reaches_this_network(provider):
            refuse_private_urls(verdict)
        elif provider.embedded:
            verdict.warnings[:] = [_refused_with_a_key(warning) for warning in verdict.warnings]
        sizes = [(picture.field, picture.width, picture.height) for picture in pictures]
        verdict.warnings.extend(ratio_warnings(request.arguments, sizes))
        request.review.verdict.extend(verdict)
        request = replace(request, pictures=pictures).with_media(media)
        request.review.verdict.faults.extend(_lengths_fit(request))
        self._request = request
        self._warn_of_length()
        return request

    def _warn_of_length(self) -> None:
        """Say where the price is that of the longest video, as the length is not known."""
        request = self._request
        medium, verdict = request.unknown_length, request.review.verdict
        if medium is None or verdict.faults:
            return
        message = (
            f"Kling fetches it from its URL, so its length is not known here: the price is that of "
            f"{request.arguments.setting.duration} s, the longest."
        )
        verdict.warnings.append(Fault(medium.field, "length_unknown", message, self._local_copy))

    async def _as_before(self) -> Equals:
        """Give the request the digest and the take of the row that the same call got before.
        Returns what the ledger has of it."""
        ledger, earlier = self.way.ledger, self._earlier
        equals = partial(ledger.equals, chosen=bool(self._request.chosen_because))
        found = await equals(self._request.new_row)
        request = self._request.as_in(found.alike)
        if earlier is not None and request.arguments.take == 1:
            take = await ledger.next_take(request.new_row, earlier)
            arguments = request.draft.arguments.model_copy(update={"take": take})
            request = replace(request, draft=replace(request.draft, arguments=arguments))
        if request is not self._request:
            self._request = request
            found = await equals(request.new_row)
        if found.made is None and (anew := await self._steps.take_made_anew(request)):
            arguments = request.arguments.model_copy(update={"take": anew})
            self._request = replace(request, draft=replace(request.draft, arguments=arguments))
            found = await equals(self._request.new_row)
        return found

    def _warn_of_one_elsewhere(self, other: Record | None) -> None:
        """Say that an equal request was made at another address, where this one is paid anew."""
        provider = self._request.provider
        if other is None:
            return
        message = (
            f"an equal request was made at {other.base_url} ({other.handle}). {provider.name} is "
            f"set to {provider.base_url} now, which makes it anew and charges for it."
        )
        self._request.review.verdict.warnings.append(Fault("provider", "made_elsewhere", message))

    def _warn_of_one_forgotten(self, other: Record | None) -> None:
        """Say that an equal request is at a provider that cannot be chosen any more."""
        if other is None or other.provider in self.way.clients.names:
            return
        sent = "was made" if other.task_id else "was sent, and may have been paid,"
        message = (
            f"an equal request {sent} at {other.provider} ({other.handle}), which is not "
            f"configured now. {self._request.provider.name} makes it anew and charges for it; with "
            f"the key of {other.provider} set again it is found there."
        )
        self._request.review.verdict.warnings.append(Fault("provider", "made_elsewhere", message))

    async def _warn_of_one_before(self, judge: Judge) -> None:
        """Say that an equal request was made with an element or a voice of the same name that is
        deleted since: with the one of now it is made and paid anew."""
        if not self.way.ledger.exists:
            return
        now = self._request
        for name, words, arguments in await self.way.library.before(now.arguments, self.principal):
            then = judge(replace(now.draft, arguments=arguments))
            then = replace(then, pictures=now.pictures).with_media(now.media)
            if made := await self.way.made_before(then.new_row):
                message = (
                    f"an equal request was made with {words} ({made.handle}). With the one of now "
                    "it is made anew, and charged."
                )
                now.review.verdict.warnings.append(Fault(name, "made_before", message))

    def _warn_of_a_cap_at_a_reseller(self) -> None:
        """Say what a cap in Kling's units can hold where a reseller sets its own prices."""
        provider = self._request.provider
        if provider.row.list_price or provider.row.usd_per_unit or not self._has_caps:
            return
        message = (
            f"counts units at Kling's list price; {provider.name} sets its own prices, so no cap "
            "here holds its bill."
        )
        self._request.review.verdict.warnings.append(Fault("max_units", "cap_at_reseller", message))

    @property
    def _has_caps(self) -> bool:
        caps = self.way.caps
        return bool(caps.per_day.all()) or caps.limit(self._request.arguments.max_units)

    async def _judge_speech(self, made: Record | None) -> int:
        """Judge words that nobody would hear; the number of faults found. They are a fault unless
        the caller chose `sound`, or the request was made before and costs nothing now."""
        request = self._request
        warning, verdict = speech_warning(request.arguments), request.review.verdict
        if warning is None:
            return 0
        if any(fault.field in ("sound", "voice_list") for fault in verdict.faults):
            return 0
        if _leaves_sound_open(request) and made is None:
            message = warning.message.replace("sound is off, so", "not chosen: without sound", 1)
            use = '"off" if the person agrees to a silent video'
            verdict.faults.append(replace(warning, message=message, use=use))
            return 1
        if verdict.faults:
            return 0
        heard = await self._variant(sound="on")
        if heard and heard.change.get("sound") == "on" and not heard.leave_out:
            use = f"{heard.arguments.removeprefix('with ')}, which makes {heard.makes}"
            warning = replace(warning, use=use)
        verdict.warnings.append(warning)
        return 0

    async def refusal(self) -> KlingError:
        """The error for what has faults, with the nearest request that passes."""
        faults = self._request.review.verdict.faults
        passes = await self._variant() if self._by_rules_only else None
        told = explained(faults) if passes else faults
        refused = InvalidRequest if self._rules_broken else ImageRejected
        return refused(told, advice=asking(passes), would_pass=passes)

    def question(self, price: Estimate) -> str:
        """What a person is asked who has to agree to the price."""
        request = self._request
        review, arguments = request.review, request.arguments
        choices = (review.model_name, review.mode, arguments.setting.words())
        what = " ".join(filter(None, (*choices, f"take {arguments.take}")))
        return (
            f"Make this {PRODUCTS[review.product].result} at {request.provider.name} for "
            f'{price}? ({what}: "{quote_provider(request.new_row.prompt)}")'
        )

    async def receipt(self, record: Record, *, new: bool) -> Receipt:
        """The answer once it was sent; a short one where the whole one cannot be made."""
        self._request = self._request.as_made(record)
        request, way = self._request, self.way
        with decoration("the whole receipt"):
            takes = [] if new else await way.ledger.takes(record)
            answer = receipt(request, record, repeated=not new, saves=way.saves, takes=takes)
            answer.uses = way.library.uses(request.arguments, self.principal)
            answer.note = " ".join(filter(None, (self._steps.note, answer.note))) or None
            return answer
        return bare_receipt(record, repeated=not new)

    async def dry_receipt(self, judged: Judged, capped: SpendCapReached | None, by: str) -> Receipt:
        """What would be sent, every fault, and the nearest request that passes."""
        request, made, way = self._request, judged.made, self.way
        faults = judged.verdict.faults
        refused = bool(faults) or (request.retired and made is None)
        passes = await self._variant() if refused and self._by_rules_only else None
        if passes:
            faults[:] = explained(faults)
        elif capped:
            rest = "" if capped.way or len(faults) == 1 else capped.advice
            said = (capped.message, await self._nothing_fits(), rest)
            faults[-1] = replace(faults[-1], message=" ".join(filter(None, said)))
        answer = dry_run_receipt(
            request,
            made,
            by,
            passes,
            otherwise=self._otherwise(capped, passes) if capped else "",
            has_caps=self._has_caps,
            takes=await way.ledger.takes(made) if made else (),
        )
        if capped and not capped.way and len(faults) == 1 and not passes:
            answer.next = _sentences(asking(None, self._otherwise(capped, None)), capped.advice)
        answer.uses = way.library.uses(request.arguments, self.principal)
        if made is None:
            await self._steps.foretell(request, answer)
        return answer

    async def prepare(self, judged: Judged, client: KlingClient) -> Judged:
        """The create with addresses, with what the steps before it made, and with its true price by
        them."""
        addresses = await self._addresses(judged, client)
        body = judged.body.with_addresses(addresses)
        if judged.made is not None and not judged.made.is_unanswered:
            return replace(judged, body=body)
        self._request, values = await self._steps.make(self._request, client, addresses)
        request = self._request
        body = body.with_values(values)
        return replace(judged, body=body, new_row=request.new_row, price=request.review.estimate)

    async def explain(self, error: KlingError, within_units: float | None = None) -> None:
        """Give an error about a cap or a model the nearest request that passes, one about the
        account of a chosen provider the names of others that can do it, and any what the steps
        before it cost."""
        request = self._request
        if isinstance(error, AuthFailed | PaymentRequired):
            others = instead_of_chosen(request) if error.charged == "no" else ""
            error.advice = " ".join(filter(None, (error.advice, others)))
        elif isinstance(error, SpendCapReached | RequestRefused):
            await self._explain_refusal(error, within_units)
        await self._steps.explain(request, error)

    async def _explain_refusal(
        self, error: SpendCapReached | RequestRefused, within_units: float | None
    ) -> None:
        request = self._request
        if isinstance(error, SpendCapReached):
            error.would_pass = await self._variant(within_units)
            ways = self._otherwise(error, error.would_pass)
            if error.would_pass is None:
                error.message = _sentences(error.message, await self._nothing_fits())
            rest = "" if error.way else error.advice
            error.advice = _sentences(asking(error.would_pass, ways), rest)
            return
        await self.way.library.learn(request.provider, request.arguments, error)
        if error.of_model:
            error.would_pass = await self._variant(avoid=request.review.model_name)
        if error.would_pass:
            error.advice = asking(error.would_pass)
        error.advice = " ".join([error.advice, *map(str, request.review.verdict.warnings)])

    def _otherwise(self, error: SpendCapReached, passes: Variant | None) -> str:
        """With what the very same request passes a cap: with a copy that tells its length, say."""
        copy = f"with {copied}" if not passes and (copied := self._local_copy) else ""
        return " or ".join(filter(None, (copy, error.beside(passes))))

    @property
    def _local_copy(self) -> str:
        """What tells the length of a medium of unknown length; empty where none is, or where this
        provider could not get the copy."""
        medium, provider = self._request.unknown_length, self._request.provider
        if medium is None:
            return ""
        given = self.policy.give_address is not None
        sent = medium.limits.as_bytes or provider.embedded or given
        return f"a local copy of the {medium.limits.noun} (its length is read)" if sent else ""

    async def _variant(self, within_units: float | None = None, **wanted: Any) -> Variant | None:
        """The nearest request, with the wanted arguments, that passes every rule and every cap, and
        costs no more than that; as arguments of this call. None where nothing would change:
        something else stands in the way."""
        found = await self._nearest(within_units, **wanted)
        variant = self._request.beside_earlier(found) if found else None
        return variant if variant and variant.change else None

    async def _nearest(self, within_units: float | None, **wanted: Any) -> Variant | None:
        with decoration("the nearest request that passes"):
            request, limit = self._request, await self._limit(within_units)
            if not _leaves_sound_open(request):
                return request.variant(limit, **wanted)
            heard = request.variant(limit, **{"sound": "on", **wanted})
            silent = request.variant(limit, **{"sound": "off", **wanted})
            if heard and heard.change.get("sound") == "on" and not heard.leave_out:
                return with_cheaper(heard, silent)
            return silent
        return None

    async def _limit(self, within_units: float | None = None) -> float | None:
        """The most units that the video may cost by every cap; None without any."""
        request, caps, ledger = self._request, self.way.caps, self.way.ledger
        day = await ledger.left_of_day(request.new_row, caps.per_day)
        usd = caps.per_task_usd
        if usd is not None:
            unit = await ledger.unit_price(request.new_row)
            usd = usd / unit.usd if unit.usd else None
        most = request.draft.meant.get("max_units", request.arguments.max_units)
        weight = request.new_row.unit_weight
        within, task = (
            None if limit is None else limit / weight for limit in (within_units, caps.per_task)
        )
        pictures = caps.per_task_pictures if request.new_row.unit == "image unit" else None
        limits = (within, most, task, day, usd, pictures)
        return min((n for n in limits if n is not None), default=None)

    async def _nothing_fits(self) -> str:
        """A sentence with the cheapest video of this wish, which costs more than the caps allow, or
        with the longest of unknown length that does not; empty when the day's units are used up."""
        with decoration("the cheapest request"):
            limit = await self._limit()
            if limit and self._request.unknown_length:
                return self._request.longest_within(limit)
            return self._request.nothing_within(limit) if limit else ""
        return ""


def _leaves_sound_open(request: JudgedRequest) -> bool:
    """Whether words of the prompt would not be heard and the caller has not chosen `sound`. For
    another take with the same words it was chosen before."""
    before = text(request.earlier.prompt) if request.earlier else None
    same = before == request.new_row.prompt
    chosen = "sound" in request.arguments.model_fields_set | request.draft.invalid
    return not chosen and not same and speech_warning(request.arguments) is not None


def _refused_with_a_key(warning: Fault) -> Fault:
    """The sandbox's warning about a private URL, which says that a real provider is not asked."""
    if warning.rule != "url_private":
        return warning
    return replace(warning, message=f"{warning.message} With a key this is refused.")


def _for_provider(medium: Medium, provider: Configured) -> Medium:
    """The medium as this provider can get it: a sandbox's address leads nowhere outside of it."""
    own = urlsplit(medium.url).netloc == urlsplit(provider.base_url).netloc
    leads_nowhere = medium.made_here and not (provider.embedded or own)
    return replace(medium, url="") if leads_nowhere else medium


def _lengths_fit(request: JudgedRequest) -> Iterator[Fault]:
    """Faults of the lengths of its media together, where each is open."""
    if len(request.media) == len(request.arguments.media()):
        found = lengths_fit(request.arguments, request.lengths)
        yield from (fault for fault in found if fault.field not in request.draft.invalid)


def _sentences(*parts: str) -> str:
    return " ".join(filter(None, parts))

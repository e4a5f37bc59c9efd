"""A request judged for its provider: its verdict, its price, and the ledger row that it gets."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeVar

from kling_mcp.inputs.media import Medium, Wish
from kling_mcp.inputs.picture import Picture
from kling_mcp.ledger import NewRow, Record
from kling_mcp.ledger.reserving import UnitPrice, differences
from kling_mcp.principal import Principal
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.pool import Clients
from kling_mcp.providers.rows import SANDBOX
from kling_mcp.providers.wires import prompt_text
from kling_mcp.submission.create_body import NO_WATERMARK, CreateBody, render_fields
from kling_tools.faults import Fault, Variant, Verdict
from kling_tools.products import MADE, PRODUCTS, STEPS, Product, StepEntry
from kling_tools.quoting import counted
from kling_tools.requests import normalize
from kling_tools.requests.arguments import AUTO, SpendingChoices, SubmitArguments
from kling_tools.requests.drafts import Draft, read_draft
from kling_tools.requests.host_habits import FILLED_BY_HOSTS
from kling_tools.results import ProviderPrice
from kling_tools.rules.capabilities import (
    Capabilities,
    Estimate,
    ProviderTerms,
    Wire,
    WireRow,
    units_text,
)
from kling_tools.rules.media_limits import MediaLimits
from kling_tools.rules.reviews import Review, review
from kling_tools.rules.variants import ROUNDING, find_cheapest, find_variant

__all__ = ["JudgedRequest", "judge_request", "request_again", "with_cheaper"]

PROVIDER_RULES = frozenset(
    {
        "lost_at_provider",
        "product_of_provider",
        "model_of_product",
        "model_retired",
        "wire_of_model",
        "least_images",
        "documented_length",
    }
)
"""Rules that come from a provider's row, so that another provider may take the request."""

MADE_THERE = "it was made there before"

TEXTS = ("negative_prompt", "multi_prompt")

SAID_IN_PROMPT = frozenset({"negative_prompt", "camera_control"})
"""Arguments that the prompt can say instead, as `find_variant` words it."""

FOR_A_PICTURE: Mapping[Product, str] = {
    "lip-sync": "kling_talking_photo, which takes the picture as image",
    "omni-edit": "kling_image_to_video, which takes the picture as image",
    "motion-control": "kling_image_to_video, which moves the picture by its prompt",
}
"""The tool for a picture that is given as the video of a product."""

AS_BYTES = ("data", "base64")
"""Kinds of pictures that are nowhere but in the call."""


@dataclass(frozen=True)
class JudgedRequest:
    """A judged request. `pictures` and `media` are open, none before they are opened; `earlier` is
    the row of which it is another take, `digest` the one that an earlier version gave the request.
    `steps` are to be paid before its create; it lasts `seconds` where a medium gives its length.
    `paid` is the price of a unit that the account's balance paid last, if that is known.

    `terms` are those of the provider, `other_terms` those of the others. `callback_base` is the
    address at which providers report changes, before a row's callback key; it is empty when this
    server cannot be reached. Where the server chose the provider, `others` is the request as other
    providers would get it, `offers` what they cost, and `chosen_because` the reason.
    """

    draft: Draft[SubmitArguments]
    review: Review
    provider: Configured
    principal: Principal
    capabilities: Capabilities
    terms: ProviderTerms
    other_terms: Sequence[ProviderTerms] = ()
    callback_base: str = ""
    pictures: Sequence[Picture] = ()
    media: Sequence[Medium] = ()
    earlier: Record | None = None
    digest: str = ""
    others: Sequence[JudgedRequest] = ()
    offers: Sequence[ProviderPrice] = ()
    chosen_because: str = ""
    steps: Sequence[StepEntry] = ()
    seconds: int | None = None
    paid: UnitPrice | None = None

    @cached_property
    def arguments(self) -> SubmitArguments:
        """The readable arguments of the call, with the length that a medium gives the video."""
        said = self.draft.arguments
        if self.seconds is None:
            return said
        arguments = said.model_copy(update={"duration": str(self.seconds)})
        if "duration" not in said.model_fields_set:
            arguments.model_fields_set.discard("duration")
        return arguments

    @property
    def retired(self) -> bool:
        """Whether the model has been retired, or may have been."""
        return any(warning.rule == "model_retired" for warning in self.review.verdict.warnings)

    @property
    def is_readable(self) -> bool:
        """Whether its digest is that of the call: every argument was read, and its provider is
        there. Rules may refuse it all the same, unless it was made before they did."""
        return (
            not self.draft.invalid and not self.draft.verdict.faults and not self.names_no_provider
        )

    def variant(self, within_units: float | None, avoid: str = "", **wanted: Any) -> Variant | None:
        """The nearest request that is not refused and costs no more; see `find_variant`. Another
        provider is named only if this one cannot make the whole wish, and none that charges in the
        place of a sandbox."""
        if self._pays_for_play:
            return None
        search = partial(
            find_variant,
            self.draft,
            self.capabilities,
            within_units=within_units,
            avoid=avoid,
            judge=self._judge_variant,
        )
        here = search(self.terms, wanted=wanted)
        if here and not avoid:
            least = search(self.terms, wanted=wanted, same_model=True)
            if least and not here.leave_out and self._says_all(least, here):
                here, least = least, here
            here = with_cheaper(here, least)
            if here.leave_out and least and not least.leave_out:
                return here
        if here and not here.leave_out:
            chosen = self.names_no_provider and self.other_terms
            return _at(here, self.provider.name) if chosen else here
        for terms in self.other_terms:
            if (there := search(terms, wanted=wanted)) and not there.leave_out:
                return _at(there, terms.name)
        return here

    def _judge_variant(self, draft: Draft[Any], found: Review) -> Review:
        """What is known of a request in the place of this one: whether its model takes the media,
        how long it is with them, and what is paid before it."""
        steps = [step for step in self.steps if step.name != "speech"]
        words = draft.arguments.words()
        as_here = self._speech_of(draft.arguments) == self._speech_of(self.arguments)
        kept = as_here and len(steps) == len(self.steps)
        if words and not kept:
            steps.append(STEPS["speech"])
        judged = replace(self, draft=draft, review=found, seconds=None, steps=steps)
        named = {wish.field: wish.limits for wish in judged.wishes()}
        media = [replace(m, limits=named[m.field]) for m in self.media if m.field in named]
        judged = judged.with_media(media)
        if words and as_here:
            judged = judged.lasting(self.seconds)
        faults = [fault for medium in media for fault in medium.faults()]
        verdict = Verdict([*found.verdict.faults, *faults], found.verdict.warnings)
        return replace(judged.review, estimate=judged.price, verdict=verdict)

    @staticmethod
    def _speech_of(arguments: Any) -> tuple[object, ...]:
        """What a speech is made of: the same is spoken, and paid, once."""
        names = ("voice_id", "voice_speed")
        return (arguments.words(), *(getattr(arguments, name, None) for name in names))

    def _says_all(self, variant: Variant, other: Variant) -> bool:
        """Whether a request leaves out nothing but what its prompt says instead, and is made with
        the model that the caller named, as the other one is not."""
        named = "model_name" in self.arguments.model_fields_set and "model_name" in other.change
        spoken = "prompt" in variant.change and SAID_IN_PROMPT.issuperset(variant.leave_out)
        return named and spoken and "model_name" not in variant.change

    def beside_earlier(self, variant: Variant) -> Variant:
        """The variant as arguments of this call. Beside `another_take_of` what the earlier request
        has is not left out but taken away."""
        had = self.earlier.arguments if self.earlier else {}
        cheaper = self.beside_earlier(variant.cheaper) if variant.cheaper else None
        taken = not had.keys().isdisjoint(variant.leave_out)
        change = dict(variant.change)
        if self.names_no_provider and not self.other_terms:
            change["provider"] = ""  # a tool of one provider has no such argument
        return variant.model_copy(
            update={"change": change, "takes_away": taken, "cheaper": cheaper}
        )

    def nothing_within(self, units: float) -> str:
        """A sentence that names the cheapest request with this wish, if even that costs more than
        these units; empty when nothing is known of it."""
        found = find_cheapest(self.draft, self.capabilities, self.terms, self._judge_variant)
        least = found.estimate.units if found else None
        if found is None or least is None or least <= units:
            return ""
        what = (found.model_name, found.mode, replace(found.request.setting, sound="").words())
        unit = found.estimate.unit
        return (
            f"Nothing current costs {units_text(units, unit)} or less; the cheapest is "
            f"{units_text(least, unit)} ({' '.join(part for part in what if part)})."
        )

    @property
    def _pays_for_play(self) -> bool:
        """Whether it was wished from a sandbox that is not there, and this provider charges."""
        wished = self.draft.arguments.provider
        return self.names_no_provider and wished == SANDBOX and not self.provider.sandbox

    @property
    def names_no_provider(self) -> bool:
        """Whether the provider that it names is not configured."""
        return any(fault.rule == "provider_unknown" for fault in self.review.verdict.faults)

    @cached_property
    def body(self) -> CreateBody:
        """The body, rendered once. `<field>` stands for each picture that is not open."""
        named = [*self.arguments.pictures(), *self.arguments.media()]
        shown: dict[str, object] = {name: f"<{name}>" for name, _ in named}
        shown |= {given.field: given for given in self.given}
        fields = render_fields(self.review, shown)
        calls_us = self.provider.row.callbacks and "callback_url" not in fields
        return CreateBody(
            fields,
            self.callback_base if calls_us else "",
            self.review.product,
            self.provider.row.prefix,
            self.wire,
            self._on_wire("new"),
        )

    @property
    def given(self) -> list[Picture | Medium]:
        """All that is open, in the order in which the tool asks for it."""
        order = PRODUCTS[self.review.product].inputs
        places = {name: place for place, name in enumerate(order)}

        def place(given: Picture | Medium) -> int:
            return places.get(given.field.partition("[")[0], len(places))

        return sorted([*self.pictures, *self.media], key=place)

    def wishes(self) -> list[Wish]:
        """The sounds and videos that it names, each with the limits of its model."""
        values = dict(self.arguments)
        limits = partial(
            self.capabilities.media_limits, self.review.model_name, self.review.product
        )
        wishes = [Wish(name, value, limits(name, values)) for name, value in self.arguments.media()]
        ends_ms = values.get("sound_end_time")
        still = FOR_A_PICTURE.get(self.review.product, "")
        return [
            replace(wish, ended_by="sound_end_time", ends_s=ends_ms and ends_ms / 1000)
            if wish.field == "sound_file" and "sound_end_time" in values
            else replace(wish, for_pictures=still)
            for wish in wishes
        ]

    def with_media(self, media: Sequence[Medium]) -> JudgedRequest:
        """The request with its open media, and the price of a video that is as long as one of them:
        as the longest that Kling takes, where the length is not known here."""
        judged = replace(self, media=media)
        decides = self.arguments.lasts_as()
        if not self.arguments.words() and decides not in dict(self.arguments.media()):
            return judged
        return judged.lasting(self.arguments.length_s(judged.lengths))

    @property
    def lengths(self) -> dict[str, float | None]:
        """The seconds of each medium that is open, by its field; None for an unknown length."""
        return {medium.field: medium.seconds for medium in self.media}

    @property
    def length_limits(self) -> MediaLimits:
        """The limits of the medium whose length is the video's."""
        return self.capabilities.media_limits(
            self.review.model_name,
            self.review.product,
            self.arguments.lasts_as(),
            dict(self.arguments),
        )

    @property
    def unknown_length(self) -> Medium | None:
        """The medium that gives the video its length, where Kling alone will know how long it
        is."""
        decides = self.arguments.lasts_as()
        if self.arguments.length_s(self.lengths) is not None:
            return None
        return next((medium for medium in self.media if medium.field == decides), None)

    def longest_within(self, units: float) -> str:
        """A sentence about a medium of unknown length: how long it may be for so many units."""
        medium = self.unknown_length
        assert medium is not None
        least, most = math.ceil(medium.limits.seconds[0]), math.floor(medium.limits.seconds[1])
        prices = {seconds: self.lasting(seconds).price for seconds in range(least, most + 1)}
        fits = [s for s, price in prices.items() if (price.units or 0.0) <= units + ROUNDING]
        unit = self.price.unit
        says = f"{units_text(units, unit)} pay for at most {max(fits, default=0)} s."
        if not fits:
            says = (
                f"even the shortest, {least} s, costs {units_text(prices[least].units or 0, unit)}."
            )
        return (
            "The length is not known here, so it is the price of the longest, "
            f"{self.arguments.setting.duration} s; {says}"
        )

    def lasting(self, length_s: float | None) -> JudgedRequest:
        """The request with the price of so many seconds; None for as many as Kling takes."""
        seconds = self.length_limits.billed_seconds(length_s)
        review = self.review.lasting(seconds, self.capabilities, self.terms)
        return replace(self, seconds=seconds, review=review)

    @property
    def price(self) -> Estimate:
        """What the call costs: its create, and the steps before it that are not made yet."""
        create, paid = self.review.estimate, self.paid
        if create.units is None or not (self.steps or paid):
            return create
        units = round(create.units + sum(step.units for step in self.steps), 4)
        if paid:
            usd = round(units * paid.usd, 4)
            return replace(create, units=units, usd=usd, price_from=paid.price_from)
        public = self.capabilities.usd_per_unit
        weight = PRODUCTS[self.review.product].unit_weight
        return self.terms.price(units, public, create.unit, weight)

    @property
    def wire(self) -> Wire:
        """The standard by which it goes: that of the rules, unless a picture is too large."""
        sizes = [picture.size_bytes or 0 for picture in self.pictures]
        return "new" if max(sizes, default=0) > self._most_bytes("legacy") else self.review.wire

    @property
    def prompt_too_long(self) -> list[Fault]:
        """The fault of a prompt that fits by itself, but not with the marks of its shots and the
        names of its pictures, which the new standard has in the same text."""
        model, fields = self._on_wire("new"), self.body.fields
        over = len(prompt_text(fields)) - model.prompt if self.wire == "new" else 0
        if over <= 0 or self.review.verdict.faults:
            return []
        message = (
            f"with the marks of shots and pictures it is {counted(over, 'character')} too long."
        )
        field = "multi_prompt" if "multi_prompt" in fields else "prompt"
        return [Fault(field, "prompt_of_standard", message, "shorter texts")]

    @property
    def picture_bytes_max(self) -> int:
        """The most bytes of a picture that is sent as it is, on any standard that has a place for
        all of the request."""
        return max(map(self._most_bytes, (self.review.wire, *self._able_wires)))

    @property
    def _able_wires(self) -> tuple[Wire, ...]:
        """The standards on which the model is, and which have a place for each field."""
        review, given = self.review, self.arguments.given()
        known = review.row.wires if review.row else ()
        return tuple(
            wire
            for wire in self.provider.wires
            if wire in known and given.isdisjoint(self._on_wire(wire).lacks)
        )

    def _on_wire(self, wire: Wire) -> WireRow:
        return self.capabilities.on_wire(self.review.model_name, self.review.product, wire)

    def _most_bytes(self, wire: Wire) -> int:
        return self._on_wire(wire).image_mb * 2**20

    @cached_property
    def external_task_id(self) -> str:
        """The id that the caller chose, as it is sent; empty when the caller chose none."""
        return self.principal.external_id(self.arguments.external_task_id)

    @cached_property
    def new_row(self) -> NewRow:
        """What the ledger keeps. The digest covers everything that makes the video what it is,
        and whose it is."""
        return NewRow(
            provider=self.provider.name,
            base_url=self.provider.base_url,
            product=self.review.product,
            digest=self.digest or self._digest({}),
            take=self.arguments.take,
            model_name=self.review.model_name,
            prompt=self.arguments.prompt or self.arguments.words() or _first_shot(self.arguments),
            request=self.body.labelled(),
            arguments=self._repeatable,
            estimate_units=self.review.estimate.units,
            external_task_id=self.external_task_id,
            principal=self.principal.name,
            pictures=tuple(g.label for g in self.given if "mask" not in g.field),
            picture_hashes={p.field: p.bytes_sha256 for p in self.pictures if p.bytes_sha256},
            sandbox=self.provider.sandbox,
            usd_per_unit=self.capabilities.usd_per_unit,
            own_usd_per_unit=self.provider.row.usd_per_unit,
            endpoint=self.body.endpoint,
            named=self.body.named,
            others=tuple(self._with_given_of(other).new_row for other in self.others),
        )

    def as_made(self, record: Record) -> JudgedRequest:
        """The request as the provider of its row got it: another one, where two servers that chose
        apart from each other sent it at the same moment."""
        place = record.provider, record.digest
        if place == (self.new_row.provider, self.new_row.digest):
            return self
        there = map(self._with_given_of, self.others)
        same = (j for j in there if (j.new_row.provider, j.new_row.digest) == place)
        return next((replace(j, chosen_because=MADE_THERE) for j in same), self)

    def _with_given_of(self, other: JudgedRequest) -> JudgedRequest:
        return replace(other, pictures=self.pictures).with_media(self.media)

    def _digest(self, changes: Mapping[str, Any]) -> str:
        whose = [self.principal.name] if self.principal.name else []
        fields = {**self.body.identity(), **changes}
        text = json.dumps([self.review.product, fields, *whose], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def as_in(self, rows: Sequence[Record]) -> JudgedRequest:
        """The request with the digest of the first of these rows that is the same but for blanks
        around its texts, ends of their lines and a watermark that was refused: earlier versions
        gave such requests digests of their own."""
        now = self.body.identity()
        for row in rows:
            then = {
                name: value
                for name, value in row.request.items()
                if name == "prompt"
                or (name in TEXTS and normalize.text(value) == now.get(name, ""))
                or (name == "watermark_info" and value == NO_WATERMARK)
            }
            if self._digest(then) == row.digest:
                return replace(self, digest=row.digest)
        return self

    @property
    def _repeatable(self) -> dict[str, Any]:
        """The arguments with which the request can be made again, with None for each picture that
        was given as bytes."""
        left_out = {*SpendingChoices.model_fields, "external_task_id", *self.arguments.unsent()}
        arguments = self.arguments.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
        named = [*self.arguments.pictures(), *self.arguments.media()]
        addresses = {given.field for given in self.given if given.kind not in AS_BYTES}
        inline = {value for name, value in named if name not in addresses}

        def kept(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: kept(part) for name, part in value.items()}
            if isinstance(value, list):
                return [kept(part) for part in value]
            return None if isinstance(value, str) and value in inline else value

        source = {"another_take_of": self.earlier.id} if self.earlier else {}
        return {name: kept(value) for name, value in arguments.items()} | source

    @property
    def is_same_as_earlier(self) -> bool:
        """Whether it is another take of a request in which nothing differs."""
        return self.earlier is not None and self.earlier.digest == self.new_row.digest

    @property
    def as_of(self) -> str:
        """What differs from the request of which it is another take, and what was taken away from
        it; empty for the same request."""
        if self.earlier is None:
            return ""
        blank = ", ".join(name for name in self.earlier.arguments if name in self.draft.blank)
        taken_away = f"Taken away: {blank}." if blank else ""
        opened = len(self.pictures) + len(self.media)
        named = len(self.arguments.pictures()) + len(self.arguments.media())
        if self.is_same_as_earlier or opened < named:
            return taken_away
        apart = differences(self.earlier, replace(self.new_row, take=self.earlier.take))
        return f"Differs from {self.earlier.handle}: {apart}. {taken_away}".rstrip()


ArgumentsT = TypeVar("ArgumentsT", bound=SubmitArguments)


def request_again(
    draft: Draft[ArgumentsT], earlier: Record | None, free_take: int
) -> Draft[ArgumentsT]:
    """The request of an earlier row, with the arguments of `draft` in place of its own. It raises
    nothing: whatever stands in the way is a fault of the draft. `free_take` is the row's next."""
    arguments, faults = draft.arguments, list(draft.verdict.faults)
    tool = PRODUCTS[arguments.products[0]].tool
    if earlier is None:
        faults.append(
            Fault(
                "another_take_of",
                "task_unknown",
                "this server made no task with that id.",
                "an id of kling_list_tasks, or the whole request with a higher take",
            )
        )
    elif MADE[earlier.product].tool != tool:
        made_by = MADE[earlier.product].tool
        message = f"{earlier.handle} was made with {made_by}."
        faults.append(Fault("another_take_of", "tool_of_task", message, made_by))
    elif not earlier.arguments:
        whole = f"the whole request with take {free_take}"
        message = f"the ledger has no arguments of {earlier.handle}."
        faults.append(Fault("another_take_of", "arguments_unknown", message, whole))
    elif earlier.is_unanswered and "take" not in arguments.model_fields_set:
        message = f"the answer to {earlier.handle} was lost: it may exist, and it may be paid."
        then = f"kling_wait_for_tasks first; take {free_take} makes and pays one more"
        faults.append(Fault("another_take_of", "may_exist", message, then))
    if earlier is None or len(faults) > len(draft.verdict.faults):
        silent = frozenset(type(arguments).model_fields)
        return replace(draft, invalid=silent, verdict=Verdict(faults, draft.verdict.warnings))
    given = {name: getattr(arguments, name) for name in arguments.model_fields_set}
    if given.get("provider") == AUTO:  # takes are compared where the first one was made
        del given["provider"]
    stored = {"provider": earlier.provider, "model_name": earlier.model_name, **earlier.arguments}
    filled = not draft.blank.isdisjoint(FILLED_BY_HOSTS)
    blank = draft.blank & stored.keys()
    taken_away = frozenset() if filled else blank
    left_out = taken_away | arguments.absent
    stored = {name: value for name, value in stored.items() if name not in left_out}
    as_bytes = set(earlier.arguments_as_bytes) - taken_away
    lost = {name for name in as_bytes if name not in given}
    again = read_draft(
        type(arguments),
        {name: value for name, value in stored.items() if name not in lost}
        | given
        | {"another_take_of": earlier.handle},
    )
    faults += again.verdict.faults
    faults += [
        Fault(
            name,
            "picture_not_kept",
            f"the picture of {earlier.handle} came as bytes, which the ledger does not keep.",
            f"the same picture again as {name}, beside another_take_of",
        )
        for name in sorted(lost)
    ]
    warnings = draft.verdict.warnings + again.verdict.warnings
    warnings += [
        Fault(
            name,
            "blank_left_out",
            f"stays as in {earlier.handle}: a host that fills in blanks left take or max_units "
            "blank, too.",
            f"{name} blank without those two to take it away",
        )
        for name in sorted(blank - taken_away - {"provider", "model_name"} - given.keys())
    ]
    if given.get("take") == 1:
        message = f"1 is not a further take of {earlier.handle}: the next free one is meant."
        warnings.append(Fault("take", "take_is_next", message))
    invalid = draft.invalid | again.invalid | lost
    return Draft(again.arguments, frozenset(invalid), Verdict(faults, warnings), taken_away)


def judge_request(
    draft: Draft[SubmitArguments],
    clients: Clients,
    capabilities: Capabilities,
    principal: Principal,
    callback_base: str = "",
    earlier: Record | None = None,
    retired: Mapping[tuple[str, str], Collection[tuple[Product, str]]] = {},
) -> JudgedRequest:
    """Choose the provider and judge the request for it; raises nothing for a bad request. `earlier`
    is the row of which it is another take, `retired` what each provider refused as retired, by name
    and base URL. A model's name in any of its spellings is read as the model."""
    said = draft.arguments.model_name
    model_name = capabilities.canonical(said)
    if model_name and model_name != said:
        named = draft.arguments.model_copy(update={"model_name": model_name})
        draft = replace(draft, arguments=named)
    asked = draft.arguments.provider or clients.default.name
    known = asked in clients.names
    provider = clients.configured(asked) if known else clients.default

    def terms_of(configured: Configured) -> ProviderTerms:
        place = configured.name, configured.base_url
        return replace(configured.terms, retired=retired.get(place, ()))

    terms = terms_of(provider)
    others = (name for name in clients.names if name != provider.name)
    other_terms = [terms_of(clients.configured(name)) for name in others]
    judged = review(draft, capabilities, terms)
    verdict = judged.verdict
    if model_name and model_name != said:
        verdict.faults[:] = _with_spoken_name(verdict.faults, said, model_name)
    if provider.other_wires:
        verdict.faults[:] = [_with_wire(fault, provider.other_wires) for fault in verdict.faults]
    if not known:
        use = (
            " or ".join((*clients.names, AUTO))
            if clients.several
            else "no provider, as there is but one"
        )
        message = f"{asked} is not configured."
        if asked == SANDBOX and not provider.sandbox:
            message = f"{asked} is not configured, and {provider.name} charges for what it makes."
            use = f"{use}, if the person agrees to pay; KLING_MCP_PROVIDER=sandbox charges nothing"
        verdict.faults.append(Fault("provider", "provider_unknown", message, use))
    if any(fault.rule in PROVIDER_RULES for fault in (*verdict.faults, *verdict.warnings)):
        verdicts = {other.name: review(draft, capabilities, other).verdict for other in other_terms}
        verdict.faults[:] = [_with_able_providers(fault, verdicts) for fault in verdict.faults]
        lost = () if clients.default.sandbox else ("lost_at_provider",)
        lacking = [f for f in verdict.faults if f.rule in ("product_of_provider", *lost)]
        if lacking and not any(_is_able(other, lacking[0]) for other in verdicts.values()):
            way = without_key(draft, clients, capabilities)
            verdict.faults[:] = [
                replace(f, use=" or ".join(filter(None, (way, f.use)))) if f in lacking else f
                for f in verdict.faults
            ]
        verdict.warnings[:] = [_with_able_providers(fault, verdicts) for fault in verdict.warnings]
    return JudgedRequest(
        draft=draft,
        review=judged,
        provider=provider,
        principal=principal,
        capabilities=capabilities,
        terms=terms,
        other_terms=other_terms,
        callback_base=callback_base,
        earlier=earlier,
    )


def without_key(draft: Draft[SubmitArguments], clients: Clients, capabilities: Capabilities) -> str:
    """The providers without a key that could make the request, as advice; empty without any. Where
    a sandbox plays the default provider, it could play them, too."""
    played = clients.default.sandbox
    ways: Mapping[str, str] = {
        row.name: f"{row.base_url_setting} is sandbox" if played else f"{row.key_setting} is set"
        for row in clients.without_key
        if not (found := review(draft, capabilities, row.terms).verdict).faults
        and not any(warning.rule in PROVIDER_RULES for warning in found.warnings)
    }
    return " or ".join(f"{name}, once {way}" for name, way in ways.items())


def _with_wire(fault: Fault, way: str) -> Fault:
    """The fault about a standard that is not spoken here, with the setting that changes it."""
    if fault.rule != "wire_of_model":
        return fault
    return replace(fault, message=f"{fault.message.rstrip('.')}: that takes {way}.")


def _with_spoken_name(faults: Sequence[Fault], said: str, model_name: str) -> Iterator[Fault]:
    """The faults; the first one about the model says which model the spoken name means."""
    told = False
    for fault in faults:
        if not told and fault.message.startswith(model_name):
            told = True
            fault = replace(fault, message=f"{said} is {model_name}, and {fault.message}")
        yield fault


def with_cheaper(variant: Variant, other: Variant | None) -> Variant:
    """The variant with the other one beside it where that is known to cost less."""
    if other is None or other.estimate_units is None or variant.estimate_units is None:
        return variant
    less = other.estimate_units < variant.estimate_units
    return variant.model_copy(update={"cheaper": other}) if less else variant


def _at(variant: Variant, provider: str) -> Variant:
    cheaper = _at(variant.cheaper, provider) if variant.cheaper else None
    change = {"provider": provider, **variant.change}
    return variant.model_copy(update={"change": change, "cheaper": cheaper})


def _with_able_providers(fault: Fault, others: Mapping[str, Verdict]) -> Fault:
    """The fault with advice to use a provider that takes the request, if there is one and the
    fault comes from this provider's row."""
    if fault.rule not in PROVIDER_RULES:
        return fault
    able = [f'provider "{name}"' for name, other in others.items() if _is_able(other, fault)]
    return replace(fault, use=" or ".join(part for part in (*able, fault.use) if part))


def _is_able(other: Verdict, fault: Fault) -> bool:
    same = any((w.field, w.rule) == (fault.field, fault.rule) for w in other.warnings)
    return not same and not any(f.rule in PROVIDER_RULES for f in other.faults)


def _first_shot(arguments: SubmitArguments) -> str:
    shots = getattr(arguments, "multi_prompt", [])
    return shots[0].prompt if shots else ""

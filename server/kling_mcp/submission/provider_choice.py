"""Chooses the provider of a request that leaves it open (`provider: "auto"`).

Of the configured providers that can make all of it, the one whose price is known to be the lowest
is taken; the default one when two cost the same. The same request finds what was made before at any
of them: `JudgedRequest.others` has it as each of them would get it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.records import CNY_PER_USD
from kling_mcp.ledger.reserving import UnitPrice
from kling_mcp.principal import Principal
from kling_mcp.providers.pool import Clients
from kling_mcp.submission.judged_request import (
    MADE_THERE,
    PROVIDER_RULES,
    JudgedRequest,
    without_key,
)
from kling_mcp.tasks.library import FIELDS, Library
from kling_tools.faults import Fault
from kling_tools.quoting import clipped
from kling_tools.requests.arguments import AUTO, SubmitArguments
from kling_tools.requests.drafts import Draft
from kling_tools.results import ProviderPrice
from kling_tools.rules.capabilities import Capabilities

__all__ = ["Judge", "ProviderChoice", "is_open"]

SAME_USD = 1e-6
"""US dollars a unit by which two prices may differ and still be the same."""

REASON = 120
"""Characters of the reason why a provider cannot make a request."""

Judge = Callable[[Draft[SubmitArguments]], JudgedRequest]


def is_open(draft: Draft[SubmitArguments], clients: Clients) -> bool:
    """Whether the server chooses the provider: by the call, or by the setting for calls that name
    none. Another take stays with the provider of the first one."""
    named = draft.arguments.provider or (AUTO if clients.chooses else "")
    return named == AUTO and not draft.arguments.another_take_of


def pinned(
    draft: Draft[SubmitArguments], provider: str, model_name: str = ""
) -> Draft[SubmitArguments]:
    """The draft at this provider, with this model unless it is empty."""
    change = {"provider": provider} | ({"model_name": model_name} if model_name else {})
    return replace(draft, arguments=draft.arguments.model_copy(update=change))


@dataclass(frozen=True, slots=True)
class ProviderChoice:
    """The provider and the model that were taken (empty: its default one), and why; `offers` are
    all that were compared. `others` is the request as each of them would get it. `refusal` is the
    fault of a request that none can make; the provider is then the one that lacks the least."""

    provider: str
    model_name: str = ""
    why: str = ""
    offers: Sequence[ProviderPrice] = ()
    others: Sequence[JudgedRequest] = ()
    refusal: Fault | None = None

    @classmethod
    async def of(
        cls,
        draft: Draft[SubmitArguments],
        judge: Judge,
        clients: Clients,
        library: Library,
        ledger: Ledger,
        principal: Principal,
    ) -> ProviderChoice:
        """Compare the providers that charge as the default one does: none that charges stands in
        for a sandbox, nor a sandbox for one that does. Raises NotConfigured (the ledger)."""

        async def at(name: str, model_name: str = "") -> JudgedRequest:
            there = pinned(draft, name, model_name)
            judged = judge(there)
            if judged.review.verdict.faults:
                return judged
            resolved = await library.resolved(there, principal)
            return judged if resolved is there else judge(resolved)

        played = clients.default.sandbox
        names = [name for name in clients.names if clients.configured(name).sandbox is played]
        own = [await at(name) for name in names]
        first = min(own, key=_lacks)  # of equal ones the first
        model = first.review.model_name
        models = dict.fromkeys((model, *(judged.review.model_name for judged in own)))
        by_model = {
            name: [
                judged if judged.review.model_name == name else await at(judged.provider.name, name)
                for judged in own
            ]
            for name in models
            if name or name == model
        }
        compared = by_model[model]
        # another default provider would have led to another model
        others = [judged for there in by_model.values() for judged in there]
        offers = [await _offer(judged, ledger) for judged in compared]
        if not _can(first):
            name = first.provider.name
            refusal = _refusal(compared, clients, draft, first.capabilities)
            return cls(name, offers=offers, others=others, refusal=refusal)
        least = _lacks(first)
        able = [
            offer
            for judged, offer in zip(compared, offers, strict=True)
            if _can(judged) and _lacks(judged) == least
        ]
        for judged, offer in zip(compared, offers, strict=True):
            if offer not in able:
                offer.why_not = _reason(judged)
        taken, why = _cheapest(able)
        if len(names) == 1:
            why = "no other provider is configured"
        taken.taken = True
        unnamed = next(j.review.model_name for j in own if j.provider.name == taken.provider)
        return cls(taken.provider, "" if unnamed == model else model, why, offers, others)

    def pins(self, draft: Draft[SubmitArguments]) -> Draft[SubmitArguments]:
        """The draft at the provider that was taken."""
        return pinned(draft, self.provider, self.model_name)

    def judging(self, judge: Judge) -> Judge:
        """Judges like `judge`, and adds what the choice says of a request."""

        def judged_so(draft: Draft[SubmitArguments]) -> JudgedRequest:
            judged = judge(draft)
            if self.refusal:
                judged.review.verdict.faults.append(self.refusal)
            others = [other for other in self.others if _place(other) != _place(judged)]
            return replace(judged, others=others, offers=self.offers, chosen_because=self.why)

        return judged_so

    def where_made(self, record: Record, why: str = MADE_THERE) -> ProviderChoice:
        """The choice of the provider that has made the request, or what comes before it."""
        offers = [
            o.model_copy(update={"taken": o.provider == record.provider or None})
            for o in self.offers
        ]
        return replace(
            self,
            provider=record.provider,
            model_name=record.model_name,
            why=why,
            offers=offers,
            refusal=None,
        )


def _place(judged: JudgedRequest) -> tuple[str, str]:
    return judged.provider.name, judged.review.model_name


def _doubts(judged: JudgedRequest) -> list[Fault]:
    """Warnings that something of the request may be lost at this provider."""
    assets = tuple(field for field, _ in FIELDS)
    return [
        warning
        for warning in judged.review.verdict.warnings
        if warning.rule in PROVIDER_RULES or warning.field.startswith(assets)
    ]


def _faults(judged: JudgedRequest) -> list[Fault]:
    return [*judged.review.verdict.faults, *judged.prompt_too_long]


def _lacks(judged: JudgedRequest) -> tuple[int, int]:
    """The number of faults of the request at its provider, and how much is in doubt: 2 where it may
    lose something, 1 where its lists do not know an element or a voice."""
    doubts = _doubts(judged)
    lost = any(not doubt.rule.endswith("_unknown") for doubt in doubts)
    return len(_faults(judged)), 2 if lost else min(1, len(doubts))


def _can(judged: JudgedRequest) -> bool:
    return not _faults(judged)


def _reason(judged: JudgedRequest, faults: Sequence[Fault] = ()) -> str:
    """Why a provider is not taken, in a few words."""
    fault = next(iter((*faults, *_faults(judged), *_doubts(judged))))
    told = fault.message.removeprefix(f"{judged.provider.name} ").rstrip(".")
    named = "" if fault.field in ("provider", "model_name") else f"{fault.field}: "
    return clipped(f"{named}{told}", REASON)


async def _offer(judged: JudgedRequest, ledger: Ledger) -> ProviderPrice:
    """What a unit costs at a provider, where that is known: what its balance paid last, else what
    its row says, else Kling's list price where that applies."""
    offer = ProviderPrice(provider=judged.provider.name)
    if not _can(judged) or judged.review.estimate.units is None:
        return offer
    unit: UnitPrice = await ledger.unit_price(judged.new_row)
    if unit.price_from == "list price" and not judged.provider.row.list_price:
        return offer
    rate = CNY_PER_USD if unit.currency == "CNY" else 1
    return offer.priced(unit.usd, unit.currency, rate, unit.price_from)


def _cheapest(able: Sequence[ProviderPrice]) -> tuple[ProviderPrice, str]:
    """The offer that is taken, and why. One whose price is unknown is never the cheapest."""
    if len(able) == 1:
        return able[0], "no other configured provider can make all of it"
    known = [offer for offer in able if offer.usd_per_unit is not None]
    if not known:
        return able[0], "no price is known, so the first of those that can make it"
    taken = min(known, key=lambda offer: round((offer.usd_per_unit or 0) / SAME_USD))
    least = taken.usd_per_unit or 0
    equal = [o for o in known if abs((o.usd_per_unit or 0) - least) <= SAME_USD]
    if len(known) == 1:
        return taken, "the only one whose price is known"
    if len(equal) > 1:
        return taken, "no other costs less, and it comes first"
    return taken, f"the cheapest of {len(known)}"


def _refusal(
    compared: Sequence[JudgedRequest],
    clients: Clients,
    draft: Draft[SubmitArguments],
    capabilities: Capabilities,
) -> Fault | None:
    """The fault that says for each provider why it cannot make the request, and which other one
    could; None where the request itself is at fault, so that no provider can."""
    times = Counter((f.field, f.rule) for judged in compared for f in {*_faults(judged)})
    reasons: dict[str, str] = {}
    for judged in compared:
        faults = _faults(judged)
        own = [f for f in faults if times[f.field, f.rule] < len(compared)]
        of_row = [f for f in faults if f.rule in PROVIDER_RULES]
        if not own and not of_row:
            return None
        reasons[judged.provider.name] = _reason(judged, [*of_row, *own])
    if len(compared) == 1:
        return None
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    use = without_key(draft, clients, capabilities)
    return Fault("provider", "none_can", f"no configured provider can make it ({listed}).", use)

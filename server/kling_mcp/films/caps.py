"""The caps of a film as a whole: what they leave for it, and the plan that fits below them."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from anyio import to_thread

from kling_mcp.films.earlier import Remade
from kling_mcp.films.fitting import Fitting, fitting
from kling_mcp.films.length import length_of
from kling_mcp.films.planning import PlannedShot
from kling_mcp.submission.submission import Submission
from kling_tools.errors import KlingError, SpendCapReached
from kling_tools.quoting import listed_shots
from kling_tools.requests.films import FilmArguments
from kling_tools.rules.capabilities import Estimate, units_text
from kling_tools.rules.variants import ROUNDING

__all__ = ["Capped", "FilmCaps", "price_of", "without_faulty"]

MOST_REPLANNED = 4
"""Plans that are judged again to see that they fit; the next ones leave out more."""


MOST_CHARS = 4_000
"""Characters of a plan that is given as arguments to copy; of a longer one its words are enough."""

SAID_CHARS = 400
"""Characters of a plan whose arguments are said in the words, too."""


@dataclass(frozen=True, slots=True)
class Capped:
    """Why a film is above a cap, the argument (or `price`) that says so, and the best plan that
    fits, as words and as arguments; None without one."""

    error: SpendCapReached
    field: str
    fits: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """The units that a cap leaves, what is said of it, and with what the whole passes."""

    left: float
    field: str
    message: str
    passes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmCaps:
    """The caps that hold for a film, for which so many units and dollars were `spent` before it was
    planned, of real ones (False) and of play money (True): each kind is held against them alone.
    `plan_again` judges a film of other arguments; `remade` says which of its shots are there
    already, and it maybe `is_made_now`."""

    way: Submission
    film: FilmArguments
    spent: Mapping[bool, tuple[float, float]]
    plan_again: Callable[[FilmArguments], Awaitable[Sequence[PlannedShot]]]
    remade: Remade
    is_made_now: bool = False

    async def check(self, plan: Sequence[PlannedShot]) -> Capped | None:
        """Why the whole is above a cap, and the best plan that fits; None where it fits."""
        for played in (False, True):
            if todo := _to_make(plan, played=played):
                capped = await self._check(plan, todo, played=played)
                if capped is not None:
                    return capped
        return None

    async def _check(
        self, plan: Sequence[PlannedShot], todo: Sequence[PlannedShot], *, played: bool
    ) -> Capped | None:
        """As `check`, of the shots of one kind, which have still `todo`."""
        price = price_of(todo)
        limits = sorted(await self._limits(todo, played=played), key=lambda limit: limit.left)
        if limits and price.units is None:
            message = f"The price of a shot is not known, and {limits[0].field} is set."
            error = SpendCapReached(message, advice="A cap takes only models whose price is known.")
            return Capped(error, limits[0].field)
        left = limits[0].left if limits else math.inf
        above = (price.units or 0.0) > left + ROUNDING
        capped = [shot for shot in todo if shot.capped]
        if not above and not capped:
            return None
        message, field, passes = "", "price", ""
        if above:
            message, field, passes = limits[0].message, limits[0].field, limits[0].passes
        elif cap := capped[0].capped:
            alike = [shot.number for shot in capped if str(shot.capped) == str(cap)]
            message = f"{listed_shots(alike).capitalize()}: {cap.message}"
            passes = cap.way or cap.advice.rstrip(".")
        if self.is_made_now:
            advice = "It is being made, and goes on as it was agreed to; kling_cancel_task ends it."
            return Capped(SpendCapReached(message, advice=advice), field)
        fits = await self._fitting(plan, left, played=played)
        arguments = fits.arguments(self.film) if fits else {}
        written = json.dumps(arguments, ensure_ascii=False)
        is_short, copied = len(written) <= MOST_CHARS, ""
        if is_short:
            copied = "dry_run gives that as arguments to copy."
        if len(written) <= SAID_CHARS:
            copied = f"As arguments: {written}."
        error = SpendCapReached(message, advice=_advice(fits, self.remade, passes, copied))
        return Capped(error, field, arguments if fits and is_short else None)

    async def _limits(self, todo: Sequence[PlannedShot], *, played: bool) -> list[Limit]:
        film, ledger, price = self.film, self.way.ledger, price_of(todo)
        units, rows = price.units or 0.0, [shot.new_row for shot in todo if shot.new_row]
        spent, spent_usd = self.spent[played]
        limits = []
        before = f"; {units_text(round(spent, 4))} are spent for this film before" if spent else ""
        if film.max_units is not None:
            left = max(0.0, film.max_units - spent)
            message = (
                f"What is left to make costs {price}; max_units {film.max_units:g} leaves "
                f"{units_text(round(left, 4))}{before}."
            )
            limits.append(
                Limit(left, "max_units", message, f"with max_units: {_up(spent + units):g}")
            )
        places = {(row.provider, row.base_url): row for row in rows}
        prices = {place: await ledger.unit_price(row) for place, row in places.items()}
        each = [
            (shot.price.units or 0.0) * prices[row.provider, row.base_url].usd
            for shot, row in zip(todo, rows, strict=True)
        ]
        of_one = sum(each) / units if units else 0.0
        if film.max_usd is not None and of_one:
            left = max(0.0, film.max_usd - spent_usd)
            costs = f"about {units * of_one:.2f} USD"
            if len(set(prices.values())) == 1:
                costs = next(iter(prices.values())).text(units)
            message = (
                f"What is left to make costs {costs}; max_usd {film.max_usd:g} "
                f"leaves {left:.2f} USD{before}."
            )
            passes = (
                f"with max_usd: {math.ceil(100 * (spent_usd + units * of_one) - ROUNDING) / 100:g}"
            )
            limits.append(Limit(left / of_one, "max_usd", message, passes))
        day = self.way.caps.per_day
        left_of_day = await ledger.left_of_day(rows[0], day)
        if left_of_day is not None and left_of_day != math.inf:
            message, passes = "", ""
            try:
                await ledger.check_day(replace(rows[0], estimate_units=price.units), day)
            except SpendCapReached as error:
                message = error.message.replace("this video", "what is left to make")
                passes = error.advice.rstrip(".")
            limits.append(Limit(left_of_day, "price", message, passes))
        return limits

    async def _fitting(
        self, plan: Sequence[PlannedShot], left: float, *, played: bool
    ) -> Fitting | None:
        """The best plan that is seen to fit when it is planned: other shots of this kind."""
        others = {shot.number for shot in _to_make(plan, played=not played)}
        plans = fitting(plan, left, others)
        first = await to_thread.run_sync(next, plans, None)
        if self.remade.ways and (first is None or first.leave_out):
            plans = chain(await self._restoring(left, others), [first] if first else [], plans)
        elif first:
            plans = chain([first], plans)
        for _ in range(MOST_REPLANNED):
            found = await to_thread.run_sync(next, plans, None)
            if found is None:
                return None
            film = self.film.model_copy(update=found.arguments(self.film))
            planned = await self.plan_again(film)
            todo = _to_make(planned, played=played)
            units = price_of(todo).units
            refused = any(shot.faults for shot in planned) or any(shot.capped for shot in todo)
            limits = await self._limits(todo, played=played) if todo else []
            left = min((limit.left for limit in limits), default=math.inf)
            if not refused and units is not None and units <= left + ROUNDING:
                seconds = None
                with suppress(KlingError):  # cheaper shots may be too short for the crossfade
                    seconds = length_of(planned, film)
                return replace(found, units=units, seconds=seconds)
        return None

    async def _restoring(self, left: float, others: Set[int]) -> Iterator[Fitting]:
        """Plans that fit and have each shot that is there already as it is."""
        ways = self.remade.ways
        restored = Fitting(ways, (), 0.0).arguments(self.film)
        planned = await self.plan_again(self.film.model_copy(update=restored))
        return (
            replace(found, changes=_both(ways, found)) for found in fitting(planned, left, others)
        )


def _both(ways: Mapping[str, list[int]], found: Fitting) -> dict[str, list[int]]:
    """The changes of both, of the shots that are not left out."""
    both: dict[str, list[int]] = {}
    for changes in (ways, found.changes):
        for change, numbers in changes.items():
            both.setdefault(change, []).extend(n for n in numbers if n not in found.leave_out)
    return {change: sorted(numbers) for change, numbers in both.items() if numbers}


def _advice(fits: Fitting | None, remade: Remade, passes: str, copied: str) -> str:
    way = passes.startswith(("with ", "after "))
    as_it_is = f"As it is, it passes {passes}." if way else f"{passes}."
    others = listed_shots(remade.others) if remade.others else ""
    restored = f"Left as before, {others} cost nothing." if others else ""
    if fits is None:
        return " ".join(filter(None, ("Not even one shot fits.", restored, as_it_is)))
    plan = f"It fits so: {fits.words()}"
    return " ".join(filter(None, ("Ask the person.", plan, copied, restored, as_it_is)))


def _up(units: float) -> float:
    """Units as an argument that holds them, rounded up to hundredths."""
    return math.ceil(100 * units - ROUNDING) / 100


def _to_make(plan: Sequence[PlannedShot], *, played: bool) -> list[PlannedShot]:
    """The shots that are not paid, of those that the sandbox plays or of the others."""
    return [
        shot
        for shot in plan
        if not shot.is_paid and shot.new_row is not None and shot.new_row.sandbox == played
    ]


def price_of(plan: Sequence[PlannedShot]) -> Estimate:
    """What is left to make costs in all; beside real shots those of a sandbox are not counted."""
    able = [shot for shot in plan if not shot.faults]
    todo = _to_make(able, played=False) or _to_make(able, played=True)
    resellers = dict.fromkeys(shot.price.reseller for shot in todo if shot.price.reseller)
    sources = {shot.price.price_from or "list price" for shot in todo if shot.price.usd}
    units = [shot.price.units for shot in todo]
    usd = [shot.price.usd for shot in todo]
    first = todo[0].price if todo else Estimate(0.0, 0.0)
    return Estimate(
        None if None in units else sum(filter(None, units)),
        None if None in usd else sum(filter(None, usd)),
        " and ".join(resellers),
        first.sandbox,
        price_from="several prices" if len(sources) > 1 else next(iter(sources), None),
    )


def without_faulty(plan: Sequence[PlannedShot]) -> str:
    """What the shots cost that can be made without those that cannot; empty where none is left."""
    lost: set[int] = set()
    for shot in plan:
        if shot.faults or (shot.continues and shot.number - 1 in lost):
            lost.add(shot.number)
    rest = [shot for shot in plan if shot.number not in lost]
    if not lost or not rest:
        return ""
    units = price_of(rest).units
    price = "an unknown price" if units is None else units_text(round(units, 4))
    return f"Without {listed_shots(sorted(lost))} it costs {price}."

"""The best plan of a film that fits where the whole is above a cap."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from kling_mcp.films.planning import PlannedShot
from kling_tools.faults import Variant
from kling_tools.quoting import listed_shots
from kling_tools.requests.films import FilmArguments, shot_arguments
from kling_tools.rules.capabilities import units_text
from kling_tools.rules.variants import ROUNDING

__all__ = ["OF_ITS_OWN", "Fitting", "changed_words", "fitting"]


@dataclass(frozen=True, slots=True)
class Fitting:
    """A plan within a cap: what to change in which shots, by the change as JSON; which to leave
    out; its units; those that all shots cost at least, None where some cannot be made below any
    cap; and the seconds of the film, None where they are not known."""

    changes: Mapping[str, list[int]]
    leave_out: Sequence[int]
    units: float
    least: float | None = None
    seconds: float | None = None

    def arguments(self, film: FilmArguments) -> dict[str, Any]:
        """The plan as arguments: `defaults` where no shot says otherwise itself, else the whole
        list of `shots`."""
        changed = {n: json.loads(c) for c, numbers in self.changes.items() for n in numbers}
        kept = [n for n in range(1, len(film.shots) + 1) if n not in self.leave_out]
        alike = len(self.changes) == 1 and all(n in changed for n in kept)
        alike = alike and not any("video" in change for change in changed.values())
        one: dict[str, Any] = next(iter(changed.values()), {})
        said = any(film.shots[n - 1].keys() & one.keys() for n in kept)
        found: dict[str, Any] = {}
        if alike and not said:
            together = {**film.defaults, **one}
            found["defaults"] = {name: value for name, value in together.items() if value != ""}
        if self.leave_out or (changed and "defaults" not in found):
            own = changed if "defaults" not in found else {}
            blank = {name for change in own.values() for name in change if change[name] == ""}
            moved = {name: film.defaults[name] for name in film.defaults.keys() & blank}
            if moved:  # no longer a default: a shot that keeps it says so itself
                found["defaults"] = {n: v for n, v in film.defaults.items() if n not in moved}
            found["shots"] = [
                _changed(shot_arguments(film.shots[n - 1], moved), own.get(n, {})) for n in kept
            ]
        return found

    def words(self) -> str:
        """The plan in a sentence: with its length and its price, and why shots are left out."""
        parts = [*changed_words(self.changes)]
        parts += [f"without {listed_shots(self.leave_out)}"] if self.leave_out else []
        length = f" for {self.seconds:g} s" if self.seconds else ""
        said = f"{'; '.join(parts)}; {units_text(round(self.units, 4))}{length}."
        if self.leave_out and self.least is not None:
            said += f" All shots cost {units_text(round(self.least, 4))} at least."
        return said


def _changed(shot: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A shot with a change, without what that leaves out; a video is the whole shot."""
    whole = change if "video" in change else {**shot, **change}
    return {name: value for name, value in whole.items() if change.get(name) != ""}


def changed_words(changes: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """The shots that are changed, with what is changed in them."""
    for change, numbers in changes.items():
        yield f"{listed_shots(sorted(numbers))} {_in_words(json.loads(change))}"


def _in_words(change: Mapping[str, Any]) -> str:
    given = ", ".join(f"{name}: {value}" for name, value in change.items() if value != "")
    left_out = " and ".join(name for name, value in change.items() if value == "")
    parts = (f"with {given}" if given else "", f"without {left_out}" if left_out else "")
    return " and ".join(filter(None, parts))


def fitting(
    plan: Sequence[PlannedShot], within: float, others: Set[int] = frozenset()
) -> Iterator[Fitting]:
    """Plans that cost at most so many units, the best one first: cheaper shots, each in the same
    measure, and fewer only where that is not enough. What is paid stays as it is, and so do the
    `others`, which do not count. Each is to be
    planned again before it is told: other pictures may make other requests of the shots that
    stay."""
    search = _Searches()
    twins: dict[int, list[int]] = {}
    for shot in plan:
        if shot.made is None and shot.same_as:
            twins.setdefault(shot.same_as, []).append(shot.number)
    costing = {shot.number: shot for shot in plan if not shot.is_paid and shot.number not in others}
    least = {number: search.least(shot) for number, shot in costing.items()}
    hopeless = {n for n, units in least.items() if units is None or units > costing[n].most}
    whole = None if hopeless else sum(filter(None, least.values()))
    order = sorted(costing, key=lambda number: (number in hopeless, number), reverse=True)
    left_out: set[int] = set()
    for number in [0, *order]:
        if number in left_out:
            continue
        _leave_out(left_out, number, plan, twins)
        if len(left_out) == len(plan):
            return
        kept = {n: shot for n, shot in costing.items() if n not in left_out}
        sums = [least[n] for n in kept]
        if hopeless & kept.keys() or sum(filter(None, sums)) > within + ROUNDING:
            continue
        if (found := _spread([*kept.values()], within, search)) is not None:
            changes, units = found
            for numbers in changes.values():
                numbers += [twin for n in [*numbers] for twin in twins.get(n, []) if twin != n]
            yield Fitting(changes, sorted(left_out), units, whole)


def _leave_out(
    left_out: set[int], number: int, plan: Sequence[PlannedShot], twins: Mapping[int, Sequence[int]]
) -> None:
    """Leave out a shot (0: none), with what would cost in its place: those that are the same, and
    those that continue one of these."""
    more = {number, *twins.get(number, ())} - {0}
    while more - left_out:
        left_out |= more
        more = {
            shot.number for shot in plan if shot.continues and shot.number - 1 in left_out
        } | more
        more |= {twin for n in more for twin in twins.get(n, ())}


class _Searches:
    """Searches for cheaper requests, each made once for shots that differ in words and pictures
    alone."""

    def __init__(self) -> None:
        self._least: dict[str, float | None] = {}
        self._nearest: dict[tuple[str, float], Variant | None] = {}

    def least(self, shot: PlannedShot) -> float | None:
        """The units of the cheapest request with this wish."""
        key = self._key(shot)
        if key not in self._least:
            assert shot.create is not None
            self._least[key] = shot.create.cheapest()
        return self._least[key]

    def nearest(self, shot: PlannedShot, within: float) -> Variant | None:
        """The nearest request that costs no more."""
        assert shot.create is not None
        key = self._key(shot), round(within, 6)
        if key in self._nearest:
            return self._nearest[key]
        found = shot.create.variant(within)
        if found is None or "prompt" not in found.change:
            self._nearest[key] = found
        return found

    @staticmethod
    def _key(shot: PlannedShot) -> str:
        assert shot.create is not None
        request = shot.create.request
        own = request.arguments.model_dump(mode="json", exclude=OF_ITS_OWN)
        given = sorted(request.arguments.given())
        return json.dumps([type(request.arguments).__name__, request.provider.name, given, own])


OF_ITS_OWN = {"prompt", "negative_prompt", "image", "image_tail", "image_list", "take"}
"""Arguments that tell one shot from another and change no price."""


def _spread(
    plan: Sequence[PlannedShot], within: float, search: _Searches
) -> tuple[dict[str, list[int]], float] | None:
    """The changes with which these shots cost at most so many units, and what they cost then."""
    changes: dict[str, list[int]] = {}
    open_shots = [shot for shot in plan if not shot.is_paid]
    left, total = within, 0.0
    while open_shots:
        asked = sum(shot.units or 0.0 for shot in open_shots)
        each = all((shot.units or 0.0) <= shot.most for shot in open_shots)
        if each and asked <= left + ROUNDING:
            return changes, total + asked
        share = min(1.0, left / asked) if asked else 1.0
        found = [
            (shot, search.nearest(shot, min(share * (shot.units or 0.0), shot.most)))
            for shot in open_shots
        ]
        lacking = [shot for shot, variant in found if variant is None]
        if not lacking:
            for shot, variant in found:
                total += _add(changes, shot, variant)
            return changes, total
        for shot in lacking:
            cheapest = search.least(shot)
            variant = None if cheapest is None else search.nearest(shot, cheapest + ROUNDING)
            if variant is None:
                return None
            spent = _add(changes, shot, variant)
            left, total = left - spent, total + spent
            open_shots = [other for other in open_shots if other is not shot]
        if left < -ROUNDING:
            return None
    return changes, total


def _add(changes: dict[str, list[int]], shot: PlannedShot, variant: Variant | None) -> float:
    """Note the change of a shot; returns its units then."""
    assert variant is not None
    if variant.change:
        change = json.dumps(variant.change, ensure_ascii=False, sort_keys=True)
        changes.setdefault(change, []).append(shot.number)
    return variant.estimate_units or 0.0

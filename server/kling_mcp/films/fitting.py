"""The best plan of a film that fits where the whole is above a cap."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kling_mcp.films.planning import PlannedShot, listed_shots
from kling_tools.faults import Variant
from kling_tools.requests.films import FilmArguments

__all__ = ["Fitting", "fitting"]

ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Fitting:
    """A plan within a cap: what to change in which shots, by the change as JSON; which to leave
    out; and its units."""

    changes: Mapping[str, list[int]]
    leave_out: Sequence[int]
    units: float

    def arguments(self, film: FilmArguments) -> dict[str, Any]:
        """The plan as arguments: `defaults` where no shot says otherwise itself, else the whole
        list of `shots`."""
        changed = {n: json.loads(c) for c, numbers in self.changes.items() for n in numbers}
        kept = [n for n in range(1, len(film.shots) + 1) if n not in self.leave_out]
        alike = len(self.changes) == 1 and all(n in changed for n in kept)
        one: dict[str, Any] = next(iter(changed.values()), {})
        said = any(film.shots[n - 1].keys() & one.keys() for n in kept)
        found: dict[str, Any] = {}
        if alike and not said:
            found["defaults"] = {**film.defaults, **one}
        if self.leave_out or (changed and "defaults" not in found):
            own = changed if "defaults" not in found else {}
            found["shots"] = [
                {
                    name: value
                    for name, value in {**film.shots[n - 1], **own.get(n, {})}.items()
                    if value != ""
                }
                for n in kept
            ]
        return found

    def words(self) -> str:
        """The plan in a sentence."""
        parts = [
            f"{listed_shots(numbers)} with "
            + ", ".join(f"{name}: {value}" for name, value in json.loads(change).items())
            for change, numbers in self.changes.items()
        ]
        parts += [f"without {listed_shots(self.leave_out)}"] if self.leave_out else []
        return "; ".join(parts)


def fitting(plan: Sequence[PlannedShot], within: float) -> Fitting | None:
    """The best plan that costs at most so many units: cheaper shots, each in the same measure, and
    fewer only where that is not enough. None where not even one shot fits."""
    search = _Searches()
    least = {shot.number: search.least(shot) for shot in plan if not shot.is_paid}
    for count in range(len(plan), 0, -1):
        kept = plan[:count]
        sums = [least[shot.number] for shot in kept if not shot.is_paid]
        if None in sums or sum(filter(None, sums)) > within + ROUNDING:
            continue
        if (found := _spread(kept, within, search)) is not None:
            changes, units = found
            return Fitting(changes, [shot.number for shot in plan[count:]], units)
    return None


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
        if asked <= left + ROUNDING:
            return changes, total + asked
        found = [
            (shot, search.nearest(shot, left * (shot.units or 0.0) / asked)) for shot in open_shots
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

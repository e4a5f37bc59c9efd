"""Films as an agent sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.films import FilmRow, ShotRow
from kling_mcp.tasks.views import Files
from kling_tools.errors import KlingError
from kling_tools.quoting import counted
from kling_tools.results import ENDED, ShotView, TaskView
from kling_tools.rules.capabilities import units_text

__all__ = ["FilmViews", "without_file"]


@dataclass(frozen=True)
class FilmViews:
    """Shows the films of a ledger, whose `files` may be there. `share` says how much of a film is
    joined, from 0 to 1, or None where this server does not make it."""

    ledger: Ledger
    files: Files
    share: Callable[[str], float | None]

    async def described(self, view: TaskView, *, shots: bool = True) -> TaskView:
        """The view of a film's row with its shots, and what to do next; any other view as it is."""
        film = await self.ledger.films.with_id(view.task_id)
        if film is None:
            return view
        rows = await self.rows(film)
        made = [row for row in rows.values() if row.status == "succeed"]
        costs = [row.counted_units for row in rows.values() if not row.is_gone or row.units]
        view = view.model_copy()
        view.sandbox = (bool(rows) and all(row.sandbox for row in rows.values())) or None
        if view.status in ENDED:
            view.units = round(sum(costs), 4) or None
        if shots:
            view.shots = _shots(film, rows)
        record = (await self.ledger.several([film.id])).get(film.id)
        failed = failed_shots(film, rows)
        share = self.share(film.id)
        if view.status not in ENDED:
            view.file = None
            parts = [f"{len(made)} of {counted(len(film.shots), 'shot')} made"]
            parts += [f"{len(failed)} failed"] if failed else []
            if share:
                parts = [f"Joining, {share:.0%}"]
            elif share is None and not film.is_leased(self.ledger.now()):
                parts += ["no server makes it now: call kling_film again with the same shots"]
            view.next = f"{', '.join(parts)}."
        elif view.status == "failed":
            view.next = (
                f"{(await self._message(film.id)).rstrip('.')}. kling_film with the same name and "
                "shots makes only what is missing; what is made is kept and not paid again."
            )
        elif view.status == "cancelled":
            view.next = "Withdrawn. kling_film with the same name and shots goes on."
        elif not film.request.get("join", True):
            view.next = "A batch: each shot is a task with a file of its own."
        elif view.path or view.url:
            view.next = _measured(film.facts)
        else:
            view.file = "gone"
            view.next = "Its file is gone: kling_film with the same name and shots joins it again."
        if record is not None:
            view.next = " ".join([view.next, *_before(record, self.files)])
        return view

    async def _message(self, film_id: str) -> str:
        row = (await self.ledger.several([film_id])).get(film_id)
        return row.message if row else ""

    async def rows(self, film: FilmRow) -> dict[str, Record]:
        """The rows of its shots, by their ids."""
        ids = [shot.record_id for shot in film.shots if shot.record_id]
        return await self.ledger.several(ids) if ids else {}


async def without_file(film: Record, ledger: Ledger, files: Files) -> KlingError:
    """The error about a film that has no file now: why, what to do, and where that of before is."""
    row = await ledger.films.of_row(film.id)
    ids = f'["{film.handle}"]'
    again = "kling_film with the same name and shots"
    if film.status == "processing":
        told = f"is being made now{': ' if film.message else ''}{film.message}"
        advice = f"Wait for it: kling_wait_for_tasks with task_ids {ids}; then call this again."
    elif film.status == "cancelled":
        told, advice = "was stopped before it was joined", f"{again} goes on."
    elif film.status == "failed":
        told = f"was not made: {film.message.rstrip('.')}"
        advice = f"{again} makes what is missing; what is made is kept and not paid again."
    elif not row.request.get("join", True):
        shots = await ledger.several([shot.record_id for shot in row.shots])
        named = [f'{n}: "{shots[s.record_id].handle}"' for n, s in _numbered(row, shots)]
        told = "is a batch: each shot is a task with a file of its own"
        advice = f"Give the task_id of a shot ({', '.join(named)})."
    else:
        told, advice = "has no file now: it was moved or deleted", f"{again} joins it again, free."
    before = _before(film, files)
    return KlingError(f'The film "{film.prompt}" {told}.', advice=" ".join([advice, *before]))


def _numbered(film: FilmRow, rows: Mapping[str, Record]) -> list[tuple[int, ShotRow]]:
    return [(shot.number, shot) for shot in film.shots if shot.record_id in rows]


def _before(film: Record, files: Files) -> list[str]:
    """Where the file of before is, while a film is made anew."""
    if not film.is_outdated or not files.seems_there(film):
        return []
    link = files.link(film)
    where = (link.url if link else "on the server") if files.private else film.path
    return [f"The film as it was before is still there: {where}."]


def failed_shots(film: FilmRow, rows: Mapping[str, Record]) -> list[ShotRow]:
    """The shots that were refused, or whose tasks failed."""
    return [
        shot
        for shot in film.shots
        if shot.fault or ((row := rows.get(shot.record_id)) is not None and row.is_gone)
    ]


def _shots(film: FilmRow, rows: Mapping[str, Record]) -> list[ShotView]:
    """The shots as they are now."""
    views = []
    for shot in film.shots:
        row = rows.get(shot.record_id)
        failed = row is not None and row.is_gone
        view = ShotView(
            shot=shot.number,
            status="failed" if shot.fault else row.status if row else None,
            task_id=row.handle if row else None,
            units=row.counted_units if row else None,
            next=shot.fault or None,
        )
        if failed and row is not None:
            again = "" if row.estimate_units is None else f" for {units_text(row.estimate_units)}"
            cost = units_text(row.counted_units) if row.counted_units else "nothing"
            view.next = f"cost {cost}; made again{again} when called again"
            view.units = None
        elif not shot.fault and row is None and film.shots:
            view.next = "waits"
        views.append(view)
    return views


def _measured(facts: Mapping[str, Any]) -> str:
    """What was read back from a finished film."""
    if not facts:
        return ""
    heard = f", {facts['lufs']:g} LUFS" if "lufs" in facts else ", no sound"
    found = " ".join(facts.get("faults", [])) or "checked: nothing amiss"
    return (
        f"{facts['width']}x{facts['height']}, {facts['seconds']:g} s ({facts['frames']} frames at "
        f"{facts['fps']:g} fps){heard}; {found}."
    )

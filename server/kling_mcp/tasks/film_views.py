"""Films as an agent sees them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.films import FilmRow, ShotRow, cost_of
from kling_mcp.providers.error_codes import of_content
from kling_mcp.tasks.views import Files
from kling_tools.errors import KlingError
from kling_tools.quoting import clipped, counted, listed_shots
from kling_tools.results import CLOCKED, ENDED, PER_TASK, ShotView, TaskView
from kling_tools.rules.capabilities import units_text

__all__ = ["FilmViews", "shot_of", "without_file"]

LOOK = ' kling_look with at ["shot 1"] shows a shot.'

AGAIN = "kling_film with the same name and shots"

UNKNOWN = "is unknown"
"""In the words about a film of which it is not known what was charged."""

NAMED = 12
"""Shots whose task ids an error names."""

WORDS_SHOWN = 24
"""Characters of a prompt by which a shot is known."""


@dataclass(frozen=True)
class FilmViews:
    """Shows the films of a ledger, whose `files` may be there. `makes` says whether this server
    makes a film, `takes_up` whether it would make one that nobody makes."""

    ledger: Ledger
    files: Files
    makes: Callable[[str], bool]
    takes_up: Callable[[FilmRow], bool]

    async def described(
        self, view: TaskView, *, shots: bool = True, listed: bool = False
    ) -> TaskView:
        """The view of a film's row with its shots, and what to do next; any other view as it is.
        One that is `listed` says of an end that is well nothing more."""
        film = await self.ledger.films.with_id(view.task_id)
        if film is None:
            return view
        paid = await self.ledger.films.paid_for(film.id)
        rows = await self.ledger.several([film.id, *_row_ids(film), *paid])
        found = {row.id: row for row in rows.values()}
        record = found.pop(film.id)
        own = {row_id: found[row_id] for row_id in _row_ids(film) if row_id in found}
        view = view.model_copy()
        joins = film.request.get("join", True)
        view.kind, view.provider = "film" if joins else "batch", None
        view.sandbox = (bool(own) and all(row.sandbox for row in own.values())) or None
        if view.status in ENDED:
            view.units = cost_of(row for row_id in paid if (row := found.get(row_id))) or None
        if shots:
            folder = _folder(record, [*own.values()], self.files)
            view.shots_in = str(folder) if folder else None
            view.shots = [self._shot(record, shot, own, folder) for shot in film.shots]
            counted_for = {*paid}  # each clip costs something once, and one of before nothing
            for shot, kept in zip(view.shots, film.shots, strict=True):
                if shot.units is not None and kept.record_id not in counted_for:
                    shot.units = 0.0
                counted_for.discard(kept.record_id)
            for shot in view.shots if len(view.shots) > CLOCKED else ():
                if shot.file and shot.task_id:
                    shot.file = shot.file.replace(shot.task_id, PER_TASK)
        if view.status not in ENDED:
            view.file = None
            view.next = self._running(film, record, own)
        elif view.status == "failed":
            first = "looks for what has no answer, and " if UNKNOWN in record.message else ""
            gone = [s for s in film.shots if (r := own.get(s.record_id)) and r.is_gone]
            lost = [s.number for s in gone if "video" in s.request]
            changed = [
                s.number for s in gone if "video" not in s.request and _is_refused(own[s.record_id])
            ]
            if lost:
                first = f"and another video for {listed_shots(lost)} {first}"
            if changed:
                first = f"and another prompt or picture for {listed_shots(changed)} {first}"
            view.next = (
                f"{record.message.rstrip('.')}. {AGAIN} {first}makes only what is missing; what is "
                "made is kept and not paid again."
            )
        elif view.status == "cancelled":
            view.next = " ".join(_stopped(film, own))
        elif not joins:
            view.path = view.url = None  # what it had when it was joined
            view.next = "kling_save_video with a folder as path puts all its clips there."
            if self.files.private:
                view.next = "kling_save_video gives a link to each clip."
            view.next += LOOK if shots else ""
        elif self.files.seems_there(record):
            view.next = _measured(film.facts)
            sidecar = film.facts.get("sidecar")
            if sidecar and shots and not self.files.private and Path(sidecar).exists():
                beside = Path(sidecar).parent == Path(record.path or "").parent
                where = f"{Path(sidecar).name} beside it" if beside else sidecar
                view.next += f" {where} says what it was made of."
            replaced = film.facts.get("replaced")
            if replaced and shots and not self.files.private and Path(replaced).exists():
                view.next += f" The version before it stays: {replaced}."
            view.next += LOOK if shots else ""
        else:
            view.file = "gone"
            view.next = f"Its file is gone: {AGAIN} joins it again."
        if listed and _is_well(view, film):
            view.next = None
        else:
            reused = [
                n.number for n in film.shots if n.record_id in own and n.record_id not in paid
            ]
            told = [view.next, *_before(record, self.files)]
            if reused and shots and view.status in ENDED:
                told.append(f"{_shots(reused)} {_were(reused)} there before, and not paid again.")
            played = [
                n.number
                for n in film.shots
                if (r := own.get(n.record_id)) is not None and r.sandbox
            ]
            if played and shots and not view.sandbox and view.status in ENDED:
                told.append(f"{_shots(played)} {_were(played)} made by the sandbox.")
            view.next = " ".join(filter(None, told))
        return view

    def _running(self, film: FilmRow, record: Record, own: Mapping[str, Record]) -> str:
        """How far a film is that has not ended, and whether it goes on."""
        of = counted(len(film.shots), "shot")
        failed = [s for s in film.shots if s.fault or ((r := own.get(s.record_id)) and r.is_gone)]
        parts = [record.message or f"0 of {of} made"]
        parts += [f"{len(failed)} failed"] if failed else []
        if not self.makes(film.id) and not film.is_leased(self.ledger.now()):
            goes_on = "it goes on here in some seconds"
            parts += [goes_on if self.takes_up(film) else f"no server makes it now: call {AGAIN}"]
        return f"{', '.join(parts)}."

    async def clips(self, film_id: str) -> dict[int, Record]:
        """The rows of a finished batch by the number of their shot, each clip once; none for any
        other id."""
        film = await self.ledger.films.with_id(film_id)
        if film is None or film.request.get("join", True):
            return {}
        found = await self.ledger.several([film.id, *_row_ids(film)])
        if found.pop(film.id).status != "succeed":
            return {}
        return {shot.number: row for shot in film.shots if (row := found.pop(shot.record_id, None))}

    async def is_left(self, record: Record) -> bool:
        """Whether no server makes a film that has not ended, and this one will not."""
        if not record.is_film or record.status in ENDED:
            return False
        film = await self.ledger.films.of_row(record.id)
        return not film.is_leased(self.ledger.now()) and not self.takes_up(film)

    def _shot(
        self,
        record: Record,
        shot: ShotRow,
        rows: Mapping[str, Record],
        folder: Path | None,
    ) -> ShotView:
        """A shot as it is now. What it is made of is told where its file's name does not say it."""
        row = rows.get(shot.record_id)
        fault = "" if record.status == "cancelled" and row is None else shot.fault
        view = ShotView(
            shot=shot.number,
            status=row.status if row else "failed" if fault else None,
            task_id=row.handle if row else None,
            units=row.counted_units if row else None,
            next=fault.rstrip(".") or None,
        )
        if row is not None and row.path and not self.files.private and self.files.seems_there(row):
            path = Path(row.path)
            view.file = path.name if path.parent == folder else row.path
        if row is None or not view.file or row.handle not in view.file:
            view.what = _made_of(shot, row)
        if row is not None and row.status == "cancelled":
            view.next, view.units = None, None
        elif row is not None and row.is_gone and not fault:
            again = "" if row.estimate_units is None else f" for {units_text(row.estimate_units)}"
            cost = units_text(row.counted_units) if row.counted_units else "nothing"
            view.next = f"cost {cost}; made again{again} when called again"
            if "video" in shot.request:
                view.next = "there is no video of this task; requires another one"
            elif _is_refused(row):
                view.next = f"cost {cost}; requires another prompt or picture{again}"
            view.units = None
        elif row is None and not fault:
            view.next = "not made" if record.status == "cancelled" else "waits"
        return view


def _is_refused(row: Record | None) -> bool:
    """Whether a shot was refused for what it shows, as it would be each time."""
    return row is not None and row.status == "failed" and bool(of_content(row.message))


def _is_well(view: TaskView, film: FilmRow) -> bool:
    """Whether there is nothing to do about a film: it is as it was wished, or was stopped."""
    as_wished = view.status == "succeed" and not view.file and not film.facts.get("faults")
    return as_wished or view.status == "cancelled"


def _row_ids(film: FilmRow) -> list[str]:
    """The ids of the rows that make its shots."""
    return [shot.record_id for shot in film.shots if shot.record_id]


def _folder(film: Record, rows: Sequence[Record], files: Files) -> Path | None:
    """The folder in which the first of its clips lies, or else the film's file; said once."""
    if files.private:
        return None
    return next((Path(row.path).parent for row in [*rows, film] if row.path), None)


def _made_of(shot: ShotRow, row: Record | None) -> str | None:
    """A few words by which a shot is known: of its prompt, else of its picture."""
    given = shot.request.get("prompt") or shot.request.get("image") or ""
    pictures = row.pictures if row else ()
    named = given if shot.request.get("prompt") else next(iter(pictures), Path(str(given)).name)
    return clipped(" ".join(str(named).split()), WORDS_SHOWN) or None


SHOT = re.compile(r"shot\s*#?\s*(\d{1,3})", re.IGNORECASE)


async def shot_of(text: str, film: Record, ledger: Ledger) -> Record | None:
    """The row of the shot that a text such as `shot 5` names; None for other texts. Raises
    KlingError for a shot that the film has not, or that is not asked for yet."""
    named = SHOT.fullmatch(text.strip())
    if named is None:
        return None
    number = named[1]
    row = await ledger.films.of_row(film.id)
    shot = next((s for s in row.shots if s.number == int(number)), None)
    if shot is None:
        raise KlingError(
            f'"{film.prompt}" has {counted(len(row.shots), "shot")}, none with the number {number}.'
        )
    found = (await ledger.several([shot.record_id])).get(shot.record_id)
    if found is None:
        why = shot.fault.rstrip(".") or "it waits"
        raise KlingError(f'Shot {number} of "{film.prompt}" is not made: {why}.')
    return found


async def without_file(film: Record, ledger: Ledger, files: Files) -> KlingError:
    """The error about a film that has no file now: why, what to do, and where that of before is."""
    row = await ledger.films.of_row(film.id)
    ids = f'["{film.handle}"]'
    if film.status == "processing":
        told = f"is being made now{': ' if film.message else ''}{film.message}"
        advice = f"Wait for it: kling_wait_for_tasks with task_ids {ids}; then call this again."
    elif film.status == "cancelled":
        told, advice = "was stopped before it was joined", f"{AGAIN} goes on."
    elif film.status == "failed":
        told = f"is not there: {film.message.rstrip('.')}"
        advice = f"{AGAIN} makes what is missing; what is made is kept and not paid again."
    elif not row.request.get("join", True):
        shots = await ledger.several(_row_ids(row))
        named = [
            f"{s.number}: {shots[s.record_id].handle}" for s in row.shots if s.record_id in shots
        ]
        named[NAMED:] = ["kling_get_task has the others"] if named[NAMED:] else []
        told = "has no file: it is a batch, whose shots are tasks with files of their own"
        advice = f"Give the task_id of a shot ({', '.join(named)}).{LOOK}"
    else:
        told, advice = (
            "has no file now: it was moved or deleted",
            f"{AGAIN} joins it again, for free.",
        )
    before = _before(film, files)
    return KlingError(f'The film "{film.prompt}" {told}.', advice=" ".join([advice, *before]))


def _before(film: Record, files: Files) -> list[str]:
    """Where the file of before is, while a film is made anew."""
    if not film.is_outdated or not files.seems_there(film):
        return []
    link = files.link(film)
    where = (link.url if link else "on the server") if files.private else film.path
    return [f"The film as it was before is still there: {where}."]


def _stopped(film: FilmRow, rows: Mapping[str, Record]) -> Iterator[str]:
    """What came of each shot of a film that was stopped, and what that cost."""
    of = {shot.number: rows.get(shot.record_id) for shot in film.shots}
    made = [n for n, row in of.items() if row and row.status == "succeed"]
    runs = [
        n for n, row in of.items() if row and row.status not in ENDED and row.status != "queued"
    ]
    queued = [n for n, row in of.items() if row and row.status == "queued"]
    failed = [n for n, row in of.items() if row and row.status == "failed"]
    never = [n for n, row in of.items() if row is None or row.status == "cancelled"]
    yield "Stopped."
    if runs:
        verb = "runs on and is" if len(runs) == 1 else "run on and are"
        yield f"{_shots(runs)} {verb} paid{_paid(of, runs)}: nothing can stop that."
    if made:
        yield f"{_shots(made)} {'is' if len(made) == 1 else 'are'} made and kept{_paid(of, made)}."
    if queued:
        verb = "waits" if len(queued) == 1 else "wait"
        yield f"{_shots(queued)} {verb} here still, as others asked for the same."
    if failed:
        yield f"{_shots(failed)} failed{_paid(of, failed)}."
    if never:
        verb = "was never sent and costs" if len(never) == 1 else "were never sent and cost"
        yield f"{_shots(never)} {verb} nothing."
    yield f"{AGAIN} goes on; what is paid is not paid again."


def _were(numbers: Sequence[int]) -> str:
    return "was" if len(numbers) == 1 else "were"


def _shots(numbers: Sequence[int]) -> str:
    return listed_shots(numbers).capitalize()


def _paid(of: Mapping[int, Record | None], numbers: Sequence[int]) -> str:
    """What these shots cost, in brackets; each clip once."""
    rows = {row.id: row for n in numbers if (row := of[n])}
    about = "" if all(row.units is not None for row in rows.values()) else "about "
    units = math.fsum(row.counted_units or 0.0 for row in rows.values())
    played = " of the sandbox" if all(row.sandbox for row in rows.values()) else ""
    return f" ({about}{units_text(units)}{played})" if units else " (nothing)"


def _measured(facts: Mapping[str, Any]) -> str:
    """What was read back from a finished film."""
    if not facts:
        return ""
    heard = f", {facts['lufs']:g} LUFS" if "lufs" in facts else ", no sound"
    found = " ".join(facts.get("faults", [])).rstrip(".") or "checked: nothing amiss"
    return (
        f"{facts['width']}x{facts['height']}, {facts['seconds']:g} s ({facts['frames']} frames at "
        f"{facts['fps']:g} fps){heard}; {found}."
    )

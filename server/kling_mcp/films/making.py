"""A film is made: its shots are asked for, waited for and saved; then they are joined.

One server at a time makes a film, under the lease of its row. Nothing here remembers what was paid:
a shot whose row is not known yet is asked for again, and the same request is the same video. So
whoever takes a film up goes on where the last one was ended: with the providers, the models and the
prices that were agreed to, or not at all.

The states of a shot. Each arrow is a method here or in `ledger.films`. What stands in the way of
one shot is its fault, and the others go on:

    open    ──_asked_for──> asked    it is as agreed, and what it continues is made; or its row runs
    open    ──_asked_for──> ended    its row is known, and has ended
    open    ──_asked_for──> refused  it is not, or a cap, its provider or its pictures refuse it
    asked   ──_waited_for─> ended    its task has ended: made, or failed
    asked   ──_waited_for─> unknown  its task cannot be asked for here
    ended   ──_saved──────> made     its file is there
    ended   ──_saved──────> unsaved  it is paid, and its file cannot be fetched
    any     ──_shot───────> broken   the ledger cannot be used, or this server made a mistake
    any     ──put─────────> open     the film is called again; what is made stays made
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from kling_mcp.films.joining import FilmJoining
from kling_mcp.films.planning import GO_ON, ShotCreate, frame_of
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.films import FilmRow, ShotRow
from kling_mcp.ledger.records import ShotOf
from kling_mcp.outputs.downloads import Downloads, leads_nowhere
from kling_mcp.outputs.storage import VideoStorage
from kling_mcp.principal import Principal
from kling_mcp.submission.submission import Submission
from kling_mcp.tasks.reader import TaskReader
from kling_mcp.tasks.views import DELETED
from kling_tools.errors import KlingError, ProviderError, SaveFailed
from kling_tools.quoting import counted, listed_shots, spans
from kling_tools.requests.films import continues, shot_draft
from kling_tools.results import ENDED
from kling_tools.rules.capabilities import units_text
from kling_tools.rules.variants import ROUNDING

if TYPE_CHECKING:
    from kling_mcp.background import Background
    from kling_mcp.polling.scheduler import Scheduler
    from kling_mcp.submission.recovery import Recovery

__all__ = ["FilmMaking", "Means"]

logger = logging.getLogger(__name__)

TRIES = 4
"""Times that a shot is asked for, or its file fetched, where that fails."""

LOST_TRIES = 2
"""Times that a shot is looked for whose answer was lost, each for a while."""

BETWEEN_TRIES_S, LONGEST_PAUSE_S = 5.0, 120.0
"""Seconds between two tries: more after each."""

OUTAGE_S = 1_800.0
"""Seconds for which a provider that cannot be reached is tried again."""

MOST_REASONS = 3
"""Reasons that the end of a film tells; it counts the others."""

UNKNOWN = "Whether it was charged is unknown."


@dataclass
class Patience:
    """Waits before something is tried again: some times, and for long where it fails because its
    provider cannot be reached now."""

    sleep: Callable[[float], Awaitable[None]]
    tries: int = 0
    waited_s: float = 0.0

    async def waits(self, error: KlingError) -> bool:
        """Wait after this error. Returns False, and waits no more, where trying is no use."""
        passing = isinstance(error, ProviderError) and error.retryable
        again = passing or error.charged == "unknown" or not isinstance(error, ProviderError)
        self.tries += 1
        most = LOST_TRIES if error.charged == "unknown" else TRIES
        if not again or (self.waited_s >= OUTAGE_S if passing else self.tries >= most):
            return False
        pause_s = min(BETWEEN_TRIES_S * 2 ** min(self.tries - 1, 10), LONGEST_PAUSE_S)
        if isinstance(error, ProviderError) and error.retry_after_s:
            pause_s = max(pause_s, min(error.retry_after_s, LONGEST_PAUSE_S))
        self.waited_s += pause_s
        await self.sleep(pause_s)
        return True


async def agreed(question: str, setting: str) -> bool:
    """The person has agreed to the film as a whole."""
    return True


@dataclass(frozen=True, kw_only=True)
class Means:
    """What films are made with. `pictures` are those that a principal may name, `rows` those of
    their own; `music` is the folder where a film's music is kept."""

    ledger: Ledger
    submission: Submission
    scheduler: Scheduler
    downloads: Downloads
    storage: VideoStorage
    recovery: Recovery
    background: Background
    pictures: Callable[[Principal], PicturePolicy]
    rows: Callable[[Principal], TaskReader]
    music: Path
    sleep: Callable[[float], Awaitable[None]]


@dataclass
class FilmMaking:
    """The making of one film by this server, which holds its lease as `owner`; cancelling the
    `scope` ends the making."""

    means: Means
    principal: Principal
    film: FilmRow
    owner: str
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _rows: dict[int, Record | None] = field(default_factory=dict)
    _why: dict[int, str] = field(default_factory=dict)
    _ended: dict[int, anyio.Event] = field(default_factory=dict)

    async def go(self) -> None:
        """Make what is not made yet, join it, and write the end down; begin again where the film
        was asked for once more meanwhile. Raises KlingError where the ledger cannot be used."""
        films = self.means.ledger.films
        with self.scope:
            while True:
                end = await self._made()
                if await films.finish(self.film, self.owner, **end):
                    return
                film = await films.with_id(self.film.id)
                if film is None or film.lease_owner != self.owner:
                    return
                self.film = film

    async def broke(self) -> None:
        """Write down that this server made a mistake, so that nothing waits for this film."""
        message = "This server made a mistake, which its log shows."
        film = await self.means.ledger.films.with_id(self.film.id)
        if film is not None:
            await self.means.ledger.films.finish(film, self.owner, "failed", message)

    async def _made(self) -> dict[str, Any]:
        """Make the film; its end, as `Films.finish` takes it."""
        self._rows, self._why = {}, {}
        self._ended = {shot.number: anyio.Event() for shot in self.film.shots}
        await self._tell()
        turn, stopped = anyio.Lock(), self._not_confirmed()
        async with anyio.create_task_group() as group:
            for shot in self.film.shots:
                group.start_soon(self._shot, shot, turn, stopped)
        rows = [self._rows.get(shot.number) for shot in self.film.shots]
        made = [row for row in rows if row and row.status == "succeed" and row.path]
        sandbox = bool(made) and all(row.sandbox for row in made)
        if len(made) < len(rows):
            return {"status": "failed", "message": self._lacking(), "sandbox": sandbox}
        if not self.film.request.get("join", True):
            return {"status": "succeed", "sandbox": sandbox}
        try:
            done = await self._joined(made)
        except KlingError as error:
            message = f"Every shot is made; they could not be joined: {error.reason()}"
            return {"status": "failed", "message": message, "sandbox": sandbox}
        return {"status": "succeed", "sandbox": sandbox, **done}

    def _not_confirmed(self) -> str:
        """Why nothing may be paid for the film here: a setting of this server would have asked
        the person, whom nobody asked. Empty where nothing stands against it."""
        above, film = self.means.submission.caps.confirm_above, self.film
        played = all(shot.agreed.sandbox for shot in film.shots if shot.agreed)
        todo = {
            shot.agreed.digest or str(shot.number): shot.agreed.units
            for shot in film.shots
            if shot.agreed and not shot.record_id and not shot.fault
            if shot.agreed.sandbox == played
        }
        units = math.inf if None in todo.values() else sum(filter(None, todo.values()))
        if above is None or units <= max(above, film.confirmed or 0.0) + ROUNDING:
            return ""
        return f"KLING_MCP_CONFIRM_ABOVE_UNITS ({above:g}) requires that the person agrees. {GO_ON}"

    async def _shot(self, shot: ShotRow, turn: anyio.Lock, stopped: str) -> None:
        """Have one shot made and saved. Raises nothing: what stands in the way is written down, and
        the other shots go on."""
        number, row, why = shot.number, None, shot.fault
        try:
            row = await self._asked_for(shot, turn, stopped)
            if row is not None and row.status not in ENDED:
                row, why = await self._waited_for(row)
            if row is not None and row.status == "succeed":
                self._rows[number] = row
                await self._tell()
                row, why = await self._saved(shot, row)
        except KlingError as error:
            why = error.reason()
        except Exception:
            logger.exception("Shot %s of %s broke.", number, self.film.id)
            why = "This server made a mistake, which its log shows."
        finally:
            self._rows[number], self._why[number] = row, why
            self._ended[number].set()
        films = self.means.ledger.films
        if why != shot.fault or (row is not None and row.id != shot.record_id):
            known = row.id if row is not None else shot.record_id
            await films.shot(self.film.id, self.owner, number, known, why)

    async def _tell(self, then: str = "") -> None:
        """Write down how many shots are made, and what is done `then`."""
        of = counted(len(self.film.shots), "shot")
        made = sum(row is not None and row.status == "succeed" for row in self._rows.values())
        await self.means.ledger.films.goes_on(self.film.id, f"{made} of {of} made{then}")

    async def _asked_for(self, shot: ShotRow, turn: anyio.Lock, stopped: str) -> Record | None:
        """The row that makes a shot; it is asked for where there is none yet. None where it was
        refused. Raises KlingError where it is now, and where the shot that it continues was not
        made."""
        known = None
        if shot.record_id:
            known = (await self.means.ledger.several([shot.record_id])).get(shot.record_id)
            if known is not None and not known.is_unanswered:
                return known  # one without an answer is looked for, and sent where it is not found
        if shot.fault:
            return None
        if "video" in shot.request:
            raise KlingError("Its video is not known here any more.")
        agreed = shot.agreed
        if agreed is None:
            raise KlingError("Nobody agreed to it.", advice=GO_ON)
        if agreed.provider not in self.means.submission.clients.names:
            what = f"It was agreed to at {agreed.provider}, which is not configured on this server."
            if known is not None:
                what = f"It was sent to {agreed.provider}, which is not configured on this server."
            raise KlingError(what, charged="unknown" if known else "no", advice=GO_ON)
        if stopped and known is None:
            raise KlingError(stopped)
        frame = ""
        if continues(shot.request):
            await self._ended[shot.number - 1].wait()
            before = self._rows.get(shot.number - 1)
            if before is None or before.status != "succeed":
                raise KlingError(f"It continues shot {shot.number - 1}, which is not made.")
            frame = frame_of(before)
        draft, _ = shot_draft(shot.number, shot.request, frame)
        create = ShotCreate(
            self.means.submission,
            self.principal,
            self.means.pictures(self.principal),
            draft,
            ShotOf(self.film.id, shot.number, self.owner),
            agreed,
        )
        async with turn:
            row = await self._submitted(create)
        await self.means.ledger.films.shot(self.film.id, self.owner, shot.number, row.id)
        return row

    async def _submitted(self, create: ShotCreate) -> Record:
        """The row of a request that was sent, or that waits here for a slot. Raises KlingError."""
        patience = Patience(self.means.sleep)
        while create.record is None:
            try:
                await self.means.submission.submit(create, agreed)
            except ProviderError as error:
                if not await patience.waits(error):
                    raise
        if create.record.status == "queued":
            self.means.background.start_soon(self.means.recovery.run)
        return create.record

    async def _waited_for(self, row: Record) -> tuple[Record, str]:
        """The row once its task has ended, or cannot be asked for any more; and why that is."""
        self.means.submission.sender.want(row.id)
        async with self.means.scheduler.watch([row.id]) as watch:
            while not watch.over:
                await watch.changed.wait()
            error = watch.last_error
        row = (await self.means.ledger.several([row.id])).get(row.id) or row
        if row.status in ENDED:
            return row, ""
        return row, error.reason() if error else "It cannot be asked for."

    async def _saved(self, shot: ShotRow, row: Record) -> tuple[Record, str]:
        """The row with its file, which is fetched where it is not there; and why it has none."""
        patience = Patience(self.means.sleep)
        while True:
            try:
                if row.path and await self.means.storage.file(row) is None:
                    _, found = await self.means.downloads.fetch(row.id, "", math.inf)
                    row = found.record or row
                saved = await self.means.downloads.save_row(row, math.inf)
                if not isinstance(saved, KlingError):
                    return saved, ""
                error = saved
            except KlingError as raised:
                error = raised
            if not await patience.waits(error):
                break
        why, gone = error.reason(), error.advice == DELETED
        may_be_lost = (
            gone
            or bool(error.anew)
            or leads_nowhere(error)
            or (isinstance(error, SaveFailed) and error.of_file)
        )
        if may_be_lost and "video" not in shot.request:
            anew = "" if row.estimate_units is None else f" for {units_text(row.estimate_units)}"
            anew += " a shot" if anew else ""
            behind = takewhile(lambda s: continues(s.request), self.film.shots[shot.number :])
            if numbers := [s.number for s in behind]:
                verb = "continues it and is" if len(numbers) == 1 else "continue it and are"
                anew += f"; {listed_shots(numbers)} {verb} made anew, too"
            taken = [row.take]
            with suppress(KlingError):
                taken += await self.means.ledger.takes(row)
            take = f"take: {max(taken) + 1} of the shot makes it anew{anew}."
            why += f" {take.capitalize()}" if gone else f" If it cannot be had, {take}"
            why += " Sandbox: nothing is charged." if row.sandbox else ""
        return replace(row, path=None), why

    def _lacking(self) -> str:
        """Which shots have no file, what is known of them, and why."""
        of = len(self.film.shots)
        parts: dict[tuple[str, str], list[int]] = {}
        for shot in self.film.shots:
            row, why = self._rows.get(shot.number), self._why.get(shot.number, "")
            if row is not None and row.status == "succeed":
                if row.path:
                    continue
                what = "made, and not saved"
            elif row is not None and row.status not in ENDED:
                what = "not done yet"
            elif UNKNOWN in why:
                what = "without an answer"
            else:
                what = "not made"
                if row is not None and not why and row.message:
                    why = f'its task failed ("{row.message.rstrip(".")}").'
            parts.setdefault((what, why), []).append(shot.number)
        alike: dict[str, list[int]] = {}
        for (what, _), numbers in parts.items():
            alike.setdefault(what, []).extend(numbers)
        sentences = [
            f"{counted(len(numbers), 'shot')} of {of} {what}: {spans(sorted(numbers))}."
            for what, numbers in alike.items()
        ]
        reasons = [
            f"{listed_shots(numbers).capitalize()}: {why}"
            for (_, why), numbers in parts.items()
            if why
        ]
        more = len(reasons) - MOST_REASONS
        told = [*reasons[:MOST_REASONS], f"{more} more reasons."] if more > 0 else reasons
        return " ".join([*sentences, *told])

    async def _joined(self, rows: Sequence[Record]) -> dict[str, Any]:
        """The film of the saved clips, as `Films.finish` takes it. Raises KlingError."""
        means = self.means
        joining = FilmJoining(means.ledger, means.storage, means.music, self.film, self._tell)
        return await joining.join(rows)

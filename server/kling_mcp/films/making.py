"""A film is made: its shots are asked for, waited for and saved; then they are joined.

One server at a time makes a film, under the lease of its row. Nothing here remembers what was paid:
a shot whose row is not known yet is asked for again, and the same request is the same video. So
whoever takes a film up goes on where the last one was ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from kling_mcp.films.planning import ShotCreate, frame_of
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.films import FilmRow, ShotRow
from kling_mcp.outputs.downloads import Downloads
from kling_mcp.outputs.storage import VideoStorage
from kling_mcp.principal import Principal
from kling_mcp.submission.submission import Submission
from kling_mcp.tasks.reader import TaskReader
from kling_tools.errors import KlingError, ProviderError
from kling_tools.quoting import counted
from kling_tools.requests.films import continues, shot_draft
from kling_tools.results import ENDED

if TYPE_CHECKING:
    from kling_mcp.background import Background
    from kling_mcp.polling.scheduler import Scheduler
    from kling_mcp.submission.waiting import Recovery

__all__ = ["FilmMaking", "Means"]

logger = logging.getLogger(__name__)

TRIES = 4
"""Times that a shot is asked for, or its file fetched, where that fails for a passing reason."""

BETWEEN_TRIES_S = 5.0


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
    """The making of one film by this server, which holds its lease as `owner`. `share` is how much
    of the joining is done, 0 before it begins."""

    means: Means
    principal: Principal
    film: FilmRow
    owner: str
    share: float = 0.0
    _rows: dict[int, Record | None] = field(default_factory=dict)
    _ended: dict[int, anyio.Event] = field(default_factory=dict)

    async def go(self) -> None:
        """Make what is not made yet, join it, and write the end down. Raises KlingError where the
        ledger cannot be used."""
        self._ended = {shot.number: anyio.Event() for shot in self.film.shots}
        turn = anyio.Lock()
        async with anyio.create_task_group() as group:
            for shot in self.film.shots:
                group.start_soon(self._shot, shot, turn)
        rows = [self._rows.get(shot.number) for shot in self.film.shots]
        made = [row for row in rows if row and row.status == "succeed" and row.path]
        sandbox = bool(made) and all(row.sandbox for row in made)
        films = self.means.ledger.films
        if len(made) < len(rows):
            lacking = [n for n, row in enumerate(rows, start=1) if row not in made]
            named = ", ".join(map(str, lacking))
            message = f"{counted(len(lacking), 'shot')} of {len(rows)} not made: {named}."
            await films.finish(
                self.film.id, self.owner, "failed", message, sandbox=sandbox, joined=""
            )
            return
        if not self.film.request.get("join", True):
            await films.finish(self.film.id, self.owner, "succeed", sandbox=sandbox)
            return
        try:
            done = await self._joined(made)
        except KlingError as error:
            message = f"It could not be joined: {error}"
            await films.finish(self.film.id, self.owner, "failed", message, sandbox=sandbox)
            return
        await films.finish(self.film.id, self.owner, "succeed", sandbox=sandbox, **done)

    async def _shot(self, shot: ShotRow, turn: anyio.Lock) -> None:
        """Have one shot made and saved."""
        try:
            row = await self._asked_for(shot, turn)
            if row is not None and row.status not in ENDED:
                row = await self._waited_for(row)
            if row is not None and row.status == "succeed":
                row = await self._saved(shot, row)
            self._rows[shot.number] = row
        finally:
            self._ended[shot.number].set()
        of = counted(len(self.film.shots), "shot")
        made = sum(row is not None and row.status == "succeed" for row in self._rows.values())
        await self.means.ledger.films.goes_on(self.film.id, f"{made} of {of} made")

    async def _asked_for(self, shot: ShotRow, turn: anyio.Lock) -> Record | None:
        """The row that makes a shot; it is asked for where there is none yet. None where that is
        refused, or where the shot that it continues was not made."""
        if shot.fault:
            return None
        ledger = self.means.ledger
        if shot.record_id:
            known = (await ledger.several([shot.record_id])).get(shot.record_id)
            if known is not None and not known.is_unanswered:
                return known  # one without an answer is looked for, and sent where it is not found
        if "video" in shot.request:
            fault = "Its video is not known here any more."
            await ledger.films.shot(self.film.id, shot.number, fault=fault)
            return None
        frame = ""
        if continues(shot.request):
            await self._ended[shot.number - 1].wait()
            before = self._rows.get(shot.number - 1)
            if before is None or before.status != "succeed":
                return None
            frame = frame_of(before)
        draft, _ = shot_draft(shot.number, shot.request, frame)
        create = ShotCreate(
            self.means.submission,
            self.principal,
            self.means.pictures(self.principal),
            draft,
            self.film.id,
        )
        try:
            async with turn:
                row = await self._submitted(create)
        except KlingError as error:
            await ledger.films.shot(self.film.id, shot.number, fault=str(error))
            return None
        await ledger.films.shot(self.film.id, shot.number, row.id)
        return row

    async def _submitted(self, create: ShotCreate) -> Record:
        """The row of a request that was sent, or that waits here for a slot. Raises KlingError."""
        tries = 1
        while create.record is None:
            try:
                await self.means.submission.submit(create, agreed)
            except ProviderError as error:
                goes_on = error.charged == "unknown" or error.retryable
                if not goes_on or tries >= TRIES:
                    raise
                tries += 1
                await self.means.sleep(error.retry_after_s or BETWEEN_TRIES_S)
        if create.record.status == "queued":
            self.means.background.start_soon(self.means.recovery.run)
        return create.record

    async def _waited_for(self, row: Record) -> Record:
        """The row once its task has ended, or cannot be asked for any more."""
        self.means.submission.sender.want(row.id)
        async with self.means.scheduler.watch([row.id]) as watch:
            while not watch.over:
                await watch.changed.wait()
        return (await self.means.ledger.several([row.id])).get(row.id) or row

    async def _saved(self, shot: ShotRow, row: Record) -> Record:
        """The row with its file, which is fetched where it is not there."""
        for _ in range(TRIES):
            if row.path and await self.means.storage.file(row) is None:
                _, found = await self.means.downloads.fetch(row.id, "", math.inf)
                row = found.record or row
            saved = await self.means.downloads.save_row(row, math.inf)
            if not isinstance(saved, KlingError):
                return saved
            error = saved
            await self.means.sleep(BETWEEN_TRIES_S)
        await self.means.ledger.films.shot(self.film.id, shot.number, row.id, str(error))
        return row

    async def _joined(self, rows: Sequence[Record]) -> dict[str, Any]:
        """Join the saved clips, and look at what came of it; what the ledger keeps of that. Raises
        KlingError and SaveFailed."""
        from kling_mcp.outputs import VideoFile
        from kling_mcp.outputs.film_check import Shot, check, describe
        from kling_mcp.outputs.film_plan import Film, fps_for, size_for
        from kling_mcp.outputs.film_tracks import JOINING, read_clip, read_music
        from kling_mcp.outputs.films import join

        means, how = self.means, self.film.request
        of_what = _identity(rows, how)
        ledger_row = (await means.ledger.several([self.film.id]))[self.film.id]
        if self.film.joined == of_what and await means.storage.file(ledger_row):
            kept = (ledger_row.path or "", ledger_row.bytes or 0, ledger_row.sha256 or "")
            facts = self.film.facts
            return {"file": kept, "joined": of_what, "facts": facts, "request": ledger_row.request}
        paths = []
        for row in rows:
            path = await means.storage.file(row)
            if path is None:
                raise KlingError(f"The clip of {row.handle} is gone.")
            paths.append(path)

        def plan() -> Film:
            clips = [read_clip(path, number) for number, path in enumerate(paths, start=1)]
            given: dict[str, Any] = how.get("music") or {}
            music = None
            if given:
                music = read_music(
                    means.music / given["file"], volume=given["volume"], loops=given["loop"]
                )
            film = Film(
                clips=clips,
                size=size_for(how["aspect_ratio"], clips),
                fps=fps_for(clips),
                fit=how["fit"],
                crossfade_s=how["crossfade_s"],
                music=music,
            )
            return film if music is None else _faded(film, given["fade_s"])

        film = await JOINING.run(plan, wait_s=math.inf)
        target = means.storage.target("", self.film.id, ledger_row)

        async def progress(share: float) -> None:
            if int(10 * share) > int(10 * self.share):
                await means.ledger.films.goes_on(self.film.id, f"joining, {share:.0%}")
            self.share = share

        joined = await join(film, target, progress=progress)
        checked = await JOINING.run(lambda: check(film, joined), wait_s=math.inf)
        facts = {
            "frames": checked.frames,
            "fps": float(film.fps),
            "width": film.size[0],
            "height": film.size[1],
            "seconds": round(float(film.seconds), 3),
            "joints": len(checked.joints),
            "faults": [*checked.faults],
        }
        if checked.loudness:
            facts["lufs"] = round(checked.loudness.lufs, 1)
        if not means.storage.private:
            shots = [
                Shot(
                    task_id=row.handle,
                    prompt=row.prompt,
                    model_name=row.model_name,
                    units=row.units if row.units is not None else row.estimate_units,
                )
                for row in rows
            ]
            beside, _ = await JOINING.run(
                lambda: describe(self.film.name, film, joined, checked, shots), wait_s=math.inf
            )
            facts["sidecar"] = str(beside)
        file = VideoFile(
            joined.path, joined.bytes, joined.sha256, joined.facts, joined.already_there
        )
        place = await means.storage.store(file, ledger_row)
        request = {"duration": str(round(film.seconds)), "multi_shot": True}
        if film.sounds:
            request["sound"] = "on"
        return {
            "file": (place, joined.bytes, joined.sha256),
            "joined": of_what,
            "facts": facts,
            "request": request,
        }


def _faded(film: Any, fade_s: float) -> Any:
    """The film with its music faded in and out; in half of its length at most."""

    fade = min(fade_s, float(film.music_s) / 2)
    return replace(film, music=replace(film.music, fade_in_s=fade, fade_out_s=fade))


def _identity(rows: Sequence[Record], how: Mapping[str, Any]) -> str:
    """Identifies what a file is joined of: the clips in their order, and how."""
    if music := how.get("music"):
        how = {**how, "music": {name: music[name] for name in music if name != "given"}}
    text = json.dumps([[row.sha256 for row in rows], how], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()

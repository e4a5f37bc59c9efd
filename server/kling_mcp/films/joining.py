"""The clips of a film become its file: joined, read back, described, and kept."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.films import FilmRow, cost_of
from kling_mcp.outputs.storage import VideoStorage
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from kling_mcp.outputs.film_check import Checked
    from kling_mcp.outputs.film_plan import Film
    from kling_mcp.outputs.films import Joined

__all__ = ["FilmJoining", "identity_of"]

LEARNED_PX = 100e6
"""Pixels of the smallest film from which it is learned how fast this server joins."""


@dataclass
class FilmJoining:
    """The joining of one film, of which each step is told with `tell`; its music lies in that
    folder."""

    ledger: Ledger
    storage: VideoStorage
    music: Path
    film: FilmRow
    tell: Callable[[str], Awaitable[None]]

    async def join(self, rows: Sequence[Record]) -> dict[str, Any]:
        """Join the saved clips, and look at what came of it; what the ledger keeps of that. Raises
        KlingError and SaveFailed."""
        from kling_mcp.outputs import VideoFile
        from kling_mcp.outputs.film_check import check
        from kling_mcp.outputs.film_tracks import JOINING
        from kling_mcp.outputs.films import join

        of_what = identity_of(rows, self.film.request)
        row = (await self.ledger.several([self.film.id]))[self.film.id]
        if self.film.joined == of_what and await self.storage.file(row):
            kept = (row.path or "", row.bytes or 0, row.sha256 or "")
            facts = self.film.facts
            return {"file": kept, "joined": of_what, "facts": facts, "request": row.request}
        paths = [await self._clip(each) for each in rows]
        await self.tell(", waiting to be joined")
        film = await JOINING.run(lambda: self._plan(paths), wait_s=math.inf)
        target = self.storage.target("", self.film.id, row)
        await JOINING.run(partial(_remove_parts, target), wait_s=math.inf)
        began, pixels = time.monotonic(), film.frames * math.prod(film.size)
        joined = await join(film, target, progress=self._progress)
        await self.tell(", joined, being looked at")
        prompts = [each.prompt for each in rows]
        checked = await JOINING.run(lambda: check(film, joined, prompts), wait_s=math.inf)
        facts = _facts(film, checked)
        if pixels >= LEARNED_PX:
            facts["joined_px_s"] = round(pixels / max(0.001, time.monotonic() - began))
        if row.path and row.path != str(joined.path):
            facts["replaced"] = row.path
        if not self.storage.private:
            facts["sidecar"] = str(await self._described(film, joined, checked, rows))
        file = VideoFile(
            joined.path, joined.bytes, joined.sha256, joined.facts, joined.already_there
        )
        place = await self.storage.store(file, row)
        request = {"duration": str(round(film.seconds)), "multi_shot": True}
        if film.sounds:
            request["sound"] = "on"
        return {
            "file": (place, joined.bytes, joined.sha256),
            "joined": of_what,
            "facts": facts,
            "request": request,
        }

    async def _clip(self, row: Record) -> Path:
        path = await self.storage.file(row)
        if path is None:
            raise KlingError(f"The clip of {row.handle} is gone.")
        return path

    def _plan(self, paths: Sequence[Path]) -> Film:
        """What is joined. Blocks: each clip is read."""
        from kling_mcp.outputs.film_plan import Film, fps_for, size_for
        from kling_mcp.outputs.film_tracks import read_clip, read_music

        how = self.film.request
        clips = [read_clip(path, number) for number, path in enumerate(paths, start=1)]
        given: dict[str, Any] = how.get("music") or {}
        music = None
        if given:
            file = self.music / given["file"]
            music = read_music(file, volume=given["volume"], loops=given["loop"])
        film = Film(
            clips=clips,
            size=size_for(how["aspect_ratio"], clips),
            fps=fps_for(clips),
            fit=how["fit"],
            crossfade_s=how["crossfade_s"],
            music=music,
        )
        return film if music is None else _faded(film, given["fade_s"])

    async def _progress(self, share: float) -> None:
        await self.tell(f", joining, {share:.0%}")

    async def _described(
        self, film: Film, joined: Joined, checked: Checked, rows: Sequence[Record]
    ) -> Path:
        """The file beside the film that says what it was made of."""
        from kling_mcp.outputs.film_check import Shot, describe
        from kling_mcp.outputs.film_tracks import JOINING

        shots = [
            Shot(
                task_id=row.handle,
                prompt=row.prompt,
                model_name=row.model_name,
                units=row.units if row.units is not None else row.estimate_units,
            )
            for row in rows
        ]
        paid = await self.ledger.several(await self.ledger.films.paid_for(self.film.id))
        music = self.film.request.get("music") or {}
        beside, _ = await JOINING.run(
            lambda: describe(
                self.film.name,
                film,
                joined,
                checked,
                shots,
                paid=cost_of(paid.values()),
                music_name=Path(music.get("given", "")).name,
                sandbox=all(row.sandbox for row in rows),
            ),
            wait_s=math.inf,
        )
        return beside


def _facts(film: Film, checked: Checked) -> dict[str, Any]:
    """What was measured in the file."""
    facts = {
        "frames": checked.frames,
        "fps": float(film.fps),
        "width": film.size[0],
        "height": film.size[1],
        "seconds": round(float(film.seconds), 3),
        "joints": len(checked.joints),
        "faults": [*checked.faults, *checked.unasked],
    }
    if checked.loudness:
        facts["lufs"] = round(checked.loudness.lufs, 1)
    return facts


def _remove_parts(target: Path) -> None:
    """Remove what a server left that was killed while it joined this film."""
    for part in target.parent.glob(f".{glob.escape(target.stem)}*.part"):
        with suppress(OSError):
            part.unlink()


def _faded(film: Film, fade_s: float) -> Film:
    """The film with its music faded in and out; in half of its length at most."""
    assert film.music is not None
    fade = min(fade_s, float(film.music_s) / 2)
    return replace(film, music=replace(film.music, fade_in_s=fade, fade_out_s=fade))


def identity_of(rows: Sequence[Record], how: Mapping[str, Any]) -> str:
    """Identifies what a file is joined of: the clips in their order, and how."""
    if music := how.get("music"):
        how = {**how, "music": {name: music[name] for name in music if name != "given"}}
    text = json.dumps([[row.sha256 for row in rows], how], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()

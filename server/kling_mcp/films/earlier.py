"""What a film of this name was before: whether it is made already, and what takes its place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kling_mcp.films.fitting import OF_ITS_OWN, changed_words
from kling_mcp.films.joining import identity_of
from kling_mcp.films.planning import PlannedShot
from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.films import FilmRow, ShotRow, digest_of
from kling_mcp.outputs.storage import VideoStorage
from kling_tools.quoting import counted, listed_shots, spans
from kling_tools.requests.films import FilmArguments, Music

__all__ = ["Earlier", "Remade", "wished_before"]


@dataclass(frozen=True, slots=True)
class Earlier:
    """The film of a name as the ledger has it, and its row in `tasks`."""

    film: FilmRow
    record: Record
    files: VideoStorage

    @classmethod
    async def of(cls, film: FilmRow, ledger: Ledger, files: VideoStorage) -> Earlier:
        """The film with its row."""
        return cls(film, (await ledger.several([film.id]))[film.id], files)

    def made(
        self, plan: Sequence[PlannedShot], shots: Sequence[ShotRow], how: Mapping[str, Any]
    ) -> str:
        """Where the very film that is asked for lies; empty where something is left to do."""
        ids = [shot.record_id for shot in shots]
        same = self.film.has_shots(shots) and [shot.record_id for shot in self.film.shots] == ids
        if self.record.status != "succeed" or not same or _wish(how) != _wish(self.film.request):
            return ""
        files = self.files
        if not how.get("join", True):
            there = (shot.made is not None and files.seems_there(shot.made) for shot in plan)
            return "each shot has its file" if all(there) else ""
        rows = [shot.made for shot in plan if shot.made is not None]
        if not files.seems_there(self.record) or identity_of(rows, how) != self.film.joined:
            return ""
        return "on the server" if files.private else str(self.record.path)

    def replaced(self, shots: Sequence[ShotRow], how: Mapping[str, Any]) -> str:
        """What is to be said before another version takes its place; empty for the same one, and
        where nothing of it is made."""
        of = len(self.film.shots)
        begun = any(shot.record_id for shot in self.film.shots)
        same = self.film.has_shots(shots) and _wish(how) == _wish(self.film.request)
        clips = [shot.record_id for shot in shots if shot.record_id]
        gone = [
            shot.number
            for shot in self.film.shots
            if shot.record_id not in clips and not any(shot.is_same(s) for s in shots)
        ]
        was = _wish(self.film.request)
        joins = how.get("join", True), was.get("join", True)
        alike = len(clips) == len(shots) and clips == [s.record_id for s in self.film.shots]
        kept = alike and {**_wish(how), "words_in": ""} == {**was, "words_in": ""}
        if same or not begun or kept or (joins[0] != joins[1] and not gone):
            return ""
        at = f" ({self.record.path})" if self.record.path and not self.files.private else ""
        stays = "; that file stays, and another name keeps both films" if at else ""
        told = (
            f'Takes the place of "{self.film.name}" of {counted(of, "shot")}{at}'
            f"{stays or ': give another name to keep both'}."
        )
        if (ratio := was.get("aspect_ratio")) and how.get("aspect_ratio") == "":
            told += f" It was {ratio}: aspect_ratio: {ratio} keeps that."
        if len(shots) < of and gone:
            told += f" It had {counted(of, 'shot')}: without {spans(gone)}."
        return told


def _wish(how: Mapping[str, Any]) -> dict[str, Any]:
    """How a film is joined, without where its music came from."""
    music = {name: value for name, value in (how.get("music") or {}).items() if name != "given"}
    return {**how, "music": music}


@dataclass(frozen=True, slots=True)
class Remade:
    """The shots that cost something now and are there already: with other settings (`changes`, as
    JSON, with the shots that they lead to), or with the frame of another shot before them
    (`frames`, each with the video that it is). In the place of `others` another clip is there."""

    changes: Mapping[str, list[int]] = field(default_factory=dict)
    frames: Mapping[str, list[int]] = field(default_factory=dict)
    others: Sequence[int] = ()

    @classmethod
    async def of(
        cls, plan: Sequence[PlannedShot], before: FilmRow | None, ledger: Ledger
    ) -> Remade:
        """Those of a plan, by the film as it was before."""
        known = [shot for shot in before.shots if shot.record_id] if before else []
        rows = await ledger.several([shot.record_id for shot in known]) if known else {}
        clips = [
            (s, row) for s in known if (row := rows.get(s.record_id)) and row.status == "succeed"
        ]
        changes: dict[str, list[int]] = {}
        frames: dict[str, list[int]] = {}
        todo = [shot for shot in plan if not (shot.is_paid or shot.faults)]
        for shot in todo:
            alike = [
                clip
                for clip in clips
                if _story(clip[0].request) == _story(shot.request) and _counts(clip[1], shot)
            ]
            asked = digest_of(shot.request)
            same = [row for was, row in alike if was.digest == asked]
            if same and shot.continues:
                change = json.dumps({"video": same[0].handle})
                frames.setdefault(change, []).append(shot.number)
            elif alike and not same:
                change = json.dumps(_back(shot.request, *alike[0]), sort_keys=True)
                changes.setdefault(change, []).append(shot.number)
        told = {n for numbers in (*changes.values(), *frames.values()) for n in numbers}
        asked_for = {digest_of(shot.request) for shot in plan}
        places = {shot.number: shot for shot in todo}
        free = {
            s.number
            for s, row in clips
            if s.digest not in asked_for and s.number in places and _counts(row, places[s.number])
        }
        is_long = before is not None and len(plan) == len(before.shots)
        return cls(changes, frames, sorted(free - told) if is_long else ())

    @property
    def ways(self) -> dict[str, list[int]]:
        """The changes after which each shot that is there costs nothing."""
        return {**self.changes, **self.frames}

    def words(self) -> str:
        """What is there, and how it costs nothing."""
        told = []
        if self.frames:
            numbers = sorted(n for shots in self.frames.values() for n in shots)
            one = len(numbers) == 1
            told.append(
                f"{listed_shots(numbers).capitalize()}: the frame before {'it' if one else 'them'} "
                f"has changed, so {'it is' if one else 'they are'} made anew."
            )
        if self.ways:
            told.append(f"Nothing is paid for {'; '.join(changed_words(self.ways))}.")
        return " ".join(told)


def _story(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a shot shows, without its settings."""
    return {name: request[name] for name in OF_ITS_OWN if request.get(name)}


def _counts(row: Record, shot: PlannedShot) -> bool:
    """Whether a clip of before would be taken for this shot: none of a sandbox is where a provider
    charges, nor one of that provider itself where a sandbox is in its place."""
    now = shot.new_row
    if now is None or now.sandbox == row.sandbox:
        return True
    return now.sandbox and now.provider != row.provider


def _back(now: Mapping[str, Any], was: ShotRow, row: Record) -> dict[str, Any]:
    """The settings with which a request is again what it was; blank where it had none."""
    names = sorted((now.keys() | was.request.keys()) - OF_ITS_OWN)
    change = {n: was.request.get(n, "") for n in names if now.get(n) != was.request.get(n)}
    if change.get("aspect_ratio") == "":  # else that of the film is its own
        change["aspect_ratio"] = row.request.get("aspect_ratio") or ""
    return change


async def wished_before(
    film: FilmArguments, before: FilmRow, ledger: Ledger, *, sandbox: bool
) -> FilmArguments:
    """What is asked for by the name alone: the film as it was asked for last, with what is said
    now. As it is where a picture or the music of before came as bytes, which are not kept; the clip
    of such a picture takes its place where it, too, is one of a `sandbox`, or of none."""
    rows = await ledger.several([shot.record_id for shot in before.shots if shot.record_id])
    shots = []
    for shot in before.shots:
        row = rows.get(shot.record_id)
        lacks = None in shot.request.values() or None in (shot.request.get("image_list") or ())
        if lacks and (row is None or row.status != "succeed" or row.sandbox != sandbox):
            return film
        shots.append({"video": row.handle} if lacks and row else dict(shot.request))
    how = HOW if film.join else ("aspect_ratio",)
    wish = {name: before.request[name] for name in how if name in before.request}
    if film.join and (music := before.request.get("music")):
        if not music.get("given"):
            return film
        own = {name: value for name, value in music.items() if name != "given"}
        wish["music"] = Music(**{**own, "file": music["given"]})
    caps = {"max_units": before.max_units, "max_usd": before.max_usd}
    kept = {name: v for name, v in {**wish, **caps}.items() if name not in film.model_fields_set}
    return film.model_copy(update={**kept, "shots": shots})


HOW = ("join", "crossfade_s", "aspect_ratio", "fit")

"""What a film of this name was before: whether it is made already, and what takes its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kling_mcp.films.planning import PlannedShot
from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.films import FilmRow, ShotRow
from kling_mcp.outputs.storage import VideoStorage
from kling_tools.quoting import counted, spans

__all__ = ["Earlier"]


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
        if not files.seems_there(self.record):
            return ""
        return "on the server" if files.private else str(self.record.path)

    def replaced(self, shots: Sequence[ShotRow], how: Mapping[str, Any]) -> str:
        """What is to be said before another version takes its place; empty for the same one, and
        where nothing of it is made."""
        of = len(self.film.shots)
        begun = any(shot.record_id for shot in self.film.shots)
        same = self.film.has_shots(shots) and _wish(how) == _wish(self.film.request)
        if same or not begun:
            return ""
        at = f" ({self.record.path})" if self.record.path and not self.files.private else ""
        told = (
            f'Takes the place of "{self.film.name}" of {counted(of, "shot")}{at}: give another '
            "name to keep both."
        )
        gone = [shot.number for shot in self.film.shots if not any(shot.is_same(s) for s in shots)]
        if len(shots) < of and gone:
            told += f" It had {counted(of, 'shot')}: without {spans(gone)}."
        return told


def _wish(how: Mapping[str, Any]) -> dict[str, Any]:
    """How a film is joined, without where its music came from."""
    music = {name: value for name, value in (how.get("music") or {}).items() if name != "given"}
    return {**how, "music": music}

"""A shot goes the way that is drawn in `films.making`."""

from pathlib import Path
from typing import Any

import pytest
from tests.drawings import drawn
from tests.server.films.filming import made, serving, words_shots
from tests.server.serving import virtual_time

from kling_mcp.films import making
from kling_mcp.films.making import FilmMaking
from kling_mcp.ledger import Record
from kling_mcp.ledger.films import ShotRow
from kling_tools.errors import KlingError
from kling_tools.results import ENDED

pytestmark = [pytest.mark.anyio, virtual_time]

DRAWN = [arrow[:3] for arrow in drawn(making.__doc__)]


class Seen:
    """The arrows by which shots went, each from `open`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrows: set[tuple[str, str, str]] = set()
        for name in ("_asked_for", "_waited_for", "_saved"):
            monkeypatch.setattr(FilmMaking, name, self._noting(name, getattr(FilmMaking, name)))

    def _noting(self, name: str, method: Any) -> Any:
        starts = {start for start, by, _ in DRAWN if by == name}

        async def called(film: FilmMaking, *args: Any) -> Any:
            (start,) = starts
            try:
                result = await method(film, *args)
            except KlingError:
                self.arrows.add((start, name, "refused"))
                raise
            self.arrows.add((start, name, getattr(self, f"{name}_as")(result)))
            return result

        return called

    def _asked_for_as(self, row: Record | None) -> str:
        if row is None:
            return "refused"
        return "ended" if row.status in ENDED else "asked"

    def _waited_for_as(self, result: tuple[Record, str]) -> str:
        return "ended" if result[0].status in ENDED else "unknown"

    def _saved_as(self, result: tuple[Record, str]) -> str:
        return "made" if result[0].path else "unsaved"


async def test_shots_go_as_they_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    shots = words_shots(2)
    async with serving(tmp_path, sandbox_faults="task-fails:1") as client:
        assert (await made(client, shots=shots))["status"] == "failed"
        assert (await made(client, shots=shots))["status"] == "succeed"

    assert seen.arrows <= {*DRAWN}
    assert seen.arrows == {
        ("open", "_asked_for", "asked"),
        ("open", "_asked_for", "ended"),
        ("asked", "_waited_for", "ended"),
        ("ended", "_saved", "made"),
    }


async def test_a_shot_that_continues_a_refused_one_is_refused_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(monkeypatch)
    shots = [{"prompt": "A harbour"}, {"prompt": "A ship leaves", "image": "previous"}]
    async with serving(tmp_path, sandbox_faults="task-fails:1") as client:
        assert (await made(client, shots=shots))["status"] == "failed"

    assert seen.arrows <= {*DRAWN}
    assert ("open", "_asked_for", "refused") in seen.arrows


async def test_a_mistake_of_this_server_breaks_one_shot_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saved = FilmMaking._saved

    async def broken(film: FilmMaking, shot: ShotRow, row: Record) -> Any:
        if shot.number == 1:
            raise RuntimeError("a mistake")
        return await saved(film, shot, row)

    monkeypatch.setattr(FilmMaking, "_saved", broken)
    async with serving(tmp_path) as client:
        film = await made(client, shots=words_shots(2))

    assert ("any", "_shot", "broken") in DRAWN
    assert film["status"] == "failed"
    assert "1 shot of 2" in film["next"]
    assert "Shot 1 of" in caplog.text

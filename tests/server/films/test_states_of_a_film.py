"""A call for a film, and the film's row, go as the drawing in `films.desk` says."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from mcp_types import ElicitResult
from tests.drawings import Arrow, drawn
from tests.made_sounds import tone
from tests.server.films import filming
from tests.server.films.filming import serving, words_shots

from kling_mcp.films import desk
from kling_mcp.films.desk import FilmDesk
from kling_mcp.films.music import FilmMusic
from kling_mcp.ledger import Ledger
from kling_mcp.ledger.films import FilmRow, Films, ShotRow
from kling_tools.errors import KlingError
from kling_tools.results import TaskStatus

pytestmark = pytest.mark.anyio

STATES = ("making", "left", "succeed", "failed", "cancelled")
"""Those of the drawing that a film's row can be in."""

OF_THE_LEDGER = [arrow for arrow in drawn(desk.__doc__) if {arrow.start, arrow.end} & {*STATES}]

ME, OTHER = "this server", "another one"


@pytest.fixture
async def ledger(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Ledger]:
    opened = Ledger(tmp_path)
    yield opened
    await opened.close()


def wished(prompt: str = "waves") -> FilmRow:
    shots = [ShotRow.of(1, {"prompt": prompt})]
    return FilmRow(id="", principal="", name="Sea", request={}, shots=shots)


async def put(ledger: Ledger, state: str) -> FilmRow:
    """A film that is in this state of the drawing."""
    films = ledger.films
    film = await films.put(wished(), ME)
    if state == "left":
        await films.release(film.id, ME)
    elif state == "cancelled":
        await films.withdraw(film.id, "stopped")
    elif state in ("succeed", "failed"):
        assert await films.finish(film, ME, state)
    return await films.of_row(film.id)


async def state_of(ledger: Ledger, film_id: str) -> str:
    film, row = await ledger.films.of_row(film_id), await ledger.find(film_id)
    assert row is not None
    leased = film.is_leased(ledger.now())
    if row.status == "processing":
        return "making" if leased else "left"
    assert not leased
    return row.status


def test_every_state_of_a_row_is_drawn() -> None:
    ends = {arrow.end for arrow in drawn(desk.__doc__)}

    assert {*STATES} <= ends
    assert {*STATES} - {"making", "left"} <= {*get_args(TaskStatus)}


@pytest.mark.parametrize("arrow", OF_THE_LEDGER, ids=lambda arrow: " ".join(arrow[:3]))
async def test_the_ledger_moves_a_film_as_it_is_drawn(arrow: Arrow, ledger: Ledger) -> None:
    start, by, end, _ = arrow
    films = ledger.films
    film = FilmRow(id="", principal="", name="", request={})
    if start != "kept":
        film = await put(ledger, start)
    moves: dict[str, Callable[[], Awaitable[object]]] = {
        "put": lambda: films.put(wished(), ME if start == "kept" else OTHER),
        "_make": lambda: films.finish(film, ME, end),
        "withdraw": lambda: films.withdraw(film.id, "stopped"),
        "release": lambda: films.release(film.id, ME),
        "...": lambda: films.release(film.id, ME),
        "take_up": lambda: films.claim(film.id, OTHER),
    }

    await moves[by]()

    found = await films.find("Sea", "")
    assert found is not None
    assert await state_of(ledger, found.id) == end
    keeps = start in ("kept", "making")
    assert found.lease_owner == ("" if end != "making" else ME if keeps else OTHER)


async def test_other_shots_are_refused_while_a_film_is_made(ledger: Ledger) -> None:
    await put(ledger, "making")

    with pytest.raises(KlingError, match="of other shots is being made"):
        await ledger.films.put(wished("a storm"), OTHER)


@pytest.mark.parametrize("state", ["succeed", "failed", "cancelled"])
async def test_a_film_that_has_ended_is_neither_taken_up_nor_withdrawn(
    state: str, ledger: Ledger
) -> None:
    film = await put(ledger, state)

    assert not await ledger.films.claim(film.id, OTHER)
    assert not await ledger.films.withdraw(film.id, "stopped")


class Call:
    """The methods that led a call for a film from state to state."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.methods = list[str]()
        self.state = "asked"
        places: dict[str, Any] = {"film_faults": desk, "planned": desk, "_dry": desk}
        places |= {"film": FilmDesk, "_agree": FilmDesk, "keep": FilmMusic, "put": Films}
        for name, place in places.items():
            monkeypatch.setattr(place, name, self._noting(name, getattr(place, name)))

    def _noting(self, name: str, method: Any) -> Any:
        async def awaited(result: Awaitable[Any]) -> Any:
            try:
                found = await result
            except KlingError:
                self._go(name, ok=False)
                raise
            self._go(name, ok=True)
            return found

        def called(*args: Any, **more: Any) -> Any:
            result = method(*args, **more)
            if inspect.isawaitable(result):
                return awaited(result)
            if name == "_dry" or result:  # the faults of a call that has some
                self._go(name, ok=True)
            return result

        return called

    def _go(self, by: str, *, ok: bool) -> None:
        if self.state == "agreed" and by == "put":  # without music
            self.state = "kept"
        ends = [
            end for start, name, end, _ in drawn(desk.__doc__) if (start, name) == (self.state, by)
        ]
        if ends:
            self.methods.append(by)
            self.state = ends[0] if ok else "answered"


@pytest.mark.parametrize(
    ("asked", "way", "end"),
    [
        ({}, ["planned", "_agree", "put"], "making"),
        ({"music": "song.wav"}, ["planned", "_agree", "keep", "put"], "making"),
        ({"dry_run": True}, ["planned", "_dry"], "answered"),
        ({"name": ""}, ["film_faults"], "answered"),
        ({"max_units": 0.1}, ["planned", "film"], "answered"),
        ({"shots": words_shots(2, duration="99")}, ["planned", "film"], "answered"),
    ],
)
async def test_a_call_for_a_film_goes_as_it_is_drawn(
    asked: dict[str, Any], way: list[str], end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "music" in asked:
        asked = asked | {"music": tone(tmp_path / asked["music"], 1)}
    call = Call(monkeypatch)
    async with serving(tmp_path) as client:
        await filming.film(client, **{"shots": words_shots(2), **asked})
        assert (call.methods, call.state) == (way, end)


async def test_a_person_who_says_no_ends_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="decline")

    call = Call(monkeypatch)
    async with serving(tmp_path, answer=answer, confirm_above_units=1.0) as client:
        await filming.film(client, shots=words_shots(2))

    assert (call.methods, call.state) == (["planned", "_agree"], "answered")

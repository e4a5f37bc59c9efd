"""All waiting of films is over at once, in its order; and each film of the same clips is joined
once, as the tests of `kling_mcp.outputs.films` show that its bytes are the same each time."""

import hashlib
import pickle
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.virtual_time import VirtualTimeLoop

from kling_mcp.outputs import film_check
from kling_mcp.outputs import films as joining
from kling_mcp.outputs.film_check import Checked
from kling_mcp.outputs.film_plan import Film
from kling_mcp.outputs.films import Joined, Loudness

measured, write, check = joining._measured, joining._write, film_check.check


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.fixture(autouse=True)
def joined_once(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding a film and looking at it takes a tenth of a second."""

    def once(kind: str, film: Film, more: object, make: Callable[[], Any]) -> Any:
        key = repr((kind, _identity(film), more))
        kept = films / hashlib.sha256(key.encode()).hexdigest()
        if not kept.exists():
            copy = kept.with_suffix(f".{secrets.token_hex(4)}")
            copy.write_bytes(pickle.dumps(make()))
            copy.replace(kept)
        return pickle.loads(kept.read_bytes())

    def measured_once(film: Film, heard: joining.Heard, *more: Any) -> Loudness | None:
        found: Loudness | None = once("loudness", film, (), lambda: measured(film, heard, *more))
        return found

    def written_once(
        film: Film, path: Path, loudness: Loudness | None, heard: joining.Heard, *more: Any
    ) -> None:
        def written() -> bytes:
            write(film, path, loudness, heard, *more)
            return path.read_bytes()

        path.write_bytes(once("file", film, loudness, written))
        for tenth in range(1, 11):
            heard(tenth / 10)

    def checked_once(film: Film, made: Joined, prompts: Any = (), *more: Any) -> Checked:
        of_what = (made.sha256, made.aims_lufs, prompts)
        found: Checked = once("facts", film, of_what, lambda: check(film, made, prompts, *more))
        return found

    monkeypatch.setattr(joining, "X264", {**joining.X264, "preset": "ultrafast"})
    monkeypatch.setattr(joining, "_measured", measured_once)
    monkeypatch.setattr(joining, "_write", written_once)
    monkeypatch.setattr(film_check, "check", checked_once)


def _identity(film: Film) -> object:
    """What a film is joined of, wherever its files lie."""
    music = film.music and (
        _content(film.music.path),
        film.music.volume,
        film.music.fade_in_s,
        film.music.fade_out_s,
        film.music.loops,
    )
    clips = [(clip.number, _content(clip.path)) for clip in film.clips]
    return clips, film.size, film.fps, film.fit, film.crossfade_s, music


def _content(path: Path) -> str:
    """A file that is gone is found out by what reads it."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else secrets.token_hex()

"""A film whose server is killed forty times is made whole, and each of its clips is paid once."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from tests.made_sounds import tone
from tests.server.loopback import served_sandbox, settings_of
from tests.server.scripted import facts
from tests.server.serving import picture

from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import load_settings
from kling_sandbox import SandboxStore

LIFE = Path(__file__).with_name("killed_films.py")
ROOT = LIFE.parents[3]
FILMS, KILLS_OF_EACH, SHOTS = 4, 10, 4
MOST_S = 3.0
"""Seconds that a server works on a film before it is killed, at most."""


def lived(settings: dict[str, Any], film: dict[str, Any], asks: bool, dies_after_s: float) -> bool:
    """Whether a life came to its end before it was killed: the film is there."""
    given = {"settings": settings, "film": film, "asks": asks, "dies_after_s": dies_after_s}
    done = subprocess.run(
        [sys.executable, str(LIFE)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-3000:]
    return done.returncode == 0


def phase(folder: Path, name: str, number: int) -> str:
    """How far a film had come when its server was killed."""
    ledger = folder / "home" / "ledger.sqlite3"
    if not ledger.exists():
        return "not asked for"
    with closing(sqlite3.connect(ledger)) as db:
        film = db.execute("SELECT id FROM films WHERE name = ?", (name,)).fetchone()
        known = db.execute(
            "SELECT status, path FROM tasks WHERE prompt LIKE ?", (f"Film {number},%",)
        ).fetchall()
    if film is None:
        return "not asked for"
    if len(known) < SHOTS:
        return "shots asked for"
    if any(path is None for _, path in known):
        return "shots made"
    return "joining"


@pytest.mark.campaign
def test_killed_forty_times_films_are_whole_and_each_clip_is_paid_once(tmp_path: Path) -> None:
    chance, phases = random.Random(18), Counter[str]()
    image, song = picture(tmp_path), tone(tmp_path / "song.wav", 1)
    with served_sandbox(tmp_path / "sandbox") as url:
        settings = settings_of(tmp_path, url)
        for number in range(FILMS):
            shots = [{"image": image, "prompt": f"Film {number}, shot {n}"} for n in range(SHOTS)]
            shots[-1]["image"] = "previous"
            name = f"Killed {number}"
            film = {"name": name, "shots": shots, "music": {"file": song, "loop": True}}
            kills, asks = 0, True
            while kills < KILLS_OF_EACH:
                if lived(settings, film, asks, MOST_S * chance.random() ** 2):
                    film["crossfade_s"] = 0.1 + kills / 50  # joined anew, and killed meanwhile
                    asks = True
                    continue
                kills += 1
                phases[phase(tmp_path, name, number)] += 1
                asks = phase(tmp_path, name, number) == "not asked for" or not asks
            assert lived(settings, film, True, 0)

        async def looked() -> list[dict[str, Any]]:
            async with Client(build_server(load_settings(**settings))) as client:
                listed = await client.call_tool("kling_list_tasks", {"product": "film"})
                return [
                    facts(await client.call_tool("kling_get_task", {"task_id": task["task_id"]}))
                    for task in facts(listed)["tasks"]
                ]

        films = anyio.run(looked)

    assert SandboxStore(tmp_path / "sandbox").counts().accepted == FILMS * SHOTS
    assert [film["status"] for film in films] == ["succeed"] * FILMS
    assert all("nothing amiss" in film["next"] for film in films)
    assert len({shot["task_id"] for film in films for shot in film["shots"]}) == FILMS * SHOTS
    print(dict(phases))

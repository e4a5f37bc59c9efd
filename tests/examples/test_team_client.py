"""The client of a team's server, against one with a login."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.server.hosting.team import give_token, served_team

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PHOTO = EXAMPLES / "pictures" / "astronaut.png"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server's address, and the token of somebody who may use it."""
    folder = tmp_path_factory.mktemp("team")
    token = give_token(folder / "tokens", "ada")
    with served_team(folder, tokens=folder / "tokens") as team:
        yield team.url, token


def run(folder: Path, url: str, token: str, photo: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "team" / "client.py"), url, str(photo)],
        cwd=folder,
        env={**os.environ, "KLING_MCP_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_photograph_goes_there_and_a_video_comes_back(
    server: tuple[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "at-home"
    folder.mkdir()

    ran = run(folder, *server, PHOTO)

    assert ran.returncode == 0, ran.stderr
    video = Path(ran.stdout.splitlines()[-1])
    assert video.parent == folder
    assert video.read_bytes()[4:8] == b"ftyp"


def test_what_is_no_picture_is_refused_in_one_line(server: tuple[str, str], tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not a picture")

    ran = run(tmp_path, *server, notes)

    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1

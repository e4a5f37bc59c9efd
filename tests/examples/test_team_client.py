"""The client of a team's server, against one with a login."""

import runpy
import sys
from collections.abc import Callable, Iterator
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


Run = Callable[[Path, str, str, Path], tuple[object, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the client in this process; its exit code, and what it said."""

    def ran(folder: Path, url: str, token: str, photo: Path) -> tuple[object, str, str]:
        program = str(EXAMPLES / "team" / "client.py")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("KLING_MCP_TOKEN", token)
        monkeypatch.setattr(sys, "argv", [program, url, str(photo)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(program, run_name="__main__")
        return end.value.code, *capsys.readouterr()

    return ran


def test_a_photograph_goes_there_and_a_video_comes_back(
    server: tuple[str, str], run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "at-home"
    folder.mkdir()

    code, said, complaints = run(folder, *server, PHOTO)

    assert code == 0, complaints
    video = Path(said.splitlines()[-1])
    assert video.parent == folder
    assert video.read_bytes()[4:8] == b"ftyp"


def test_what_is_no_picture_is_refused_in_one_line(
    server: tuple[str, str], run: Run, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not a picture")

    code, _, complaints = run(tmp_path, *server, notes)

    assert code == 1
    assert len(complaints.splitlines()) == 1


def test_a_public_name_that_cannot_be_reached_is_told_in_one_line(run: Run, tmp_path: Path) -> None:
    token = give_token(tmp_path / "tokens", "ada")
    elsewhere = "http://127.0.0.1:9"
    with served_team(tmp_path, tokens=tmp_path / "tokens", public_url=elsewhere) as team:
        code, _, complaints = run(tmp_path, team.url, token, PHOTO)

    assert code == 1
    served, line = complaints.splitlines()
    assert team.base in served
    assert line.startswith("127.0.0.1 did not answer as it should: ")

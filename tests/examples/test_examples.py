"""Every program in examples/ runs to its end against the sandbox."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mcp
import pytest
from tests.made_sounds import tone
from tests.server.serving import SIDE_PX, SMALL_PX

from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import load_settings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
stdio_client = mcp.stdio_client


class Ran(NamedTuple):
    """What a program said, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Runs a program without a key; everything that it writes lies below `tmp_path`. The program
    runs in this process, and so does its server, but for that of `animate_photo.py`, which is a
    process of its own."""
    for name in [name for name in os.environ if name.startswith("KLING_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "HOME": str(tmp_path / "home"),
        "OUTPUT_DIR": str(tmp_path / "videos"),
        "SANDBOX_QUEUE_S": "0",
        "SANDBOX_SIDE_PX": str(SMALL_PX),
        "SANDBOX_RENDER_S": "0",
    }.items():
        monkeypatch.setenv(f"KLING_MCP_{name}", value)
    monkeypatch.chdir(tmp_path)

    def in_this_process(server: mcp.StdioServerParameters) -> Any:
        for name, value in (server.env or {}).items():
            monkeypatch.setenv(name, value)
        return build_server(load_settings())

    def ran(program: Path, *arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", [str(program), *arguments])
        apart = program.name == "animate_photo.py"
        monkeypatch.setattr(mcp, "stdio_client", stdio_client if apart else in_this_process)
        code: object = 0
        try:
            runpy.run_path(str(program), run_name="__main__")
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        if isinstance(code, str):
            return Ran(1, out, f"{err}{code}\n")
        assert code is None or isinstance(code, int)
        return Ran(code or 0, out, err)

    return ran


BUDGETED = EXAMPLES / "batch_within_budget.py"
STORY, ELEMENT = EXAMPLES / "continue_story.py", EXAMPLES / "use_element.py"
DUBBED, FILM = EXAMPLES / "dub_clip.py", EXAMPLES / "film.py"


@pytest.mark.parametrize(
    "program",
    [
        *sorted({*EXAMPLES.glob("*.py")} - {BUDGETED, STORY, ELEMENT, DUBBED, FILM}),
        *(pytest.param(each, marks=pytest.mark.campaign) for each in (BUDGETED, STORY, ELEMENT)),
    ],
    ids=lambda path: path.name,
)
def test_an_example_makes_and_names_its_videos_without_a_key(
    program: Path, run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program == STORY:  # frames of its clips are given on
        monkeypatch.setenv("KLING_MCP_SANDBOX_SIDE_PX", str(SIDE_PX))
    ran = run(program)
    assert ran.returncode == 0, ran.stderr
    *lines, last = ran.stdout.splitlines()
    made = {str(path) for path in (tmp_path / "videos").glob("*.mp4")}
    assert last in made
    assert made <= {*lines, last}


@pytest.mark.campaign
def test_words_become_a_picture_a_clip_and_an_edited_clip(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_SANDBOX_SIDE_PX", "720")
    ran = run(EXAMPLES / "from_words.py", "A boat", "It drifts", "Snow instead of rain")

    assert ran.returncode == 0, ran.stderr
    prices, files = ran.stdout.splitlines()[::2], ran.stdout.splitlines()[1::2]
    assert [line.partition(": ")[2] for line in prices] == [
        "8 image units",
        "1.5 units",
        "4.5 units",
    ]
    assert [Path(file).suffix for file in files] == [".png", ".mp4", ".mp4"]
    assert all(Path(file).is_file() for file in files)


def test_the_figure_of_a_clip_speaks(run: Callable[..., Ran]) -> None:
    ran = run(DUBBED)

    assert ran.returncode == 0, ran.stderr
    clip, price, spoken = ran.stdout.splitlines()
    assert price == "to speak: 0.6 units at most"
    assert clip != spoken
    assert [Path(file).read_bytes()[4:8] for file in (clip, spoken)] == [b"ftyp"] * 2


@pytest.mark.campaign
def test_a_voice_that_speaks_no_texts_is_told_before_it_is_paid(run: Callable[..., Ran]) -> None:
    ran = run(DUBBED, "", "Hello there, all of you", "Nobody")

    assert ran.returncode == 1
    assert ran.stderr.startswith("voice_id: ")


def test_an_element_is_made_of_pictures_and_used(run: Callable[..., Ran], tmp_path: Path) -> None:
    pictures = EXAMPLES / "pictures"
    cats = [str(pictures / "cat.jpg"), str(pictures / "astronaut.png")]
    ran = run(
        EXAMPLES / "use_element.py",
        str(pictures / "coffee.jpg"),
        "<<<element_1>>> looks up",
        "Tom",
        *cats,
    )
    assert ran.returncode == 0, ran.stderr
    absent = run(EXAMPLES / "use_element.py", str(pictures / "coffee.jpg"), "Run", "Nobody")
    assert absent.returncode == 1
    assert "There is no element 'Nobody'" in absent.stderr


@pytest.mark.parametrize(
    "name", [pytest.param("animate_photo.py", marks=pytest.mark.campaign), "continue_story.py"]
)
def test_the_client_says_in_one_line_why_it_made_nothing(
    name: str, run: Callable[..., Ran], tmp_path: Path
) -> None:
    ran = run(EXAMPLES / name, str(tmp_path / "missing.png"))
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert line.startswith("Refused, nothing was sent or charged.")


def test_the_batch_spends_no_more_than_it_may_and_pays_for_nothing_twice(
    run: Callable[..., Ran], tmp_path: Path
) -> None:
    pictures = EXAMPLES / "pictures"
    ran = run(BUDGETED, str(pictures), "3.2")
    assert "for 3 of 3.2 units" in ran.stdout, ran.stderr
    first = set((tmp_path / "videos").glob("*.mp4"))
    assert len(first) == 2

    again = run(BUDGETED, str(pictures), "4.5")
    assert again.stdout.count("made before, not paid again") == 2
    assert len(set((tmp_path / "videos").glob("*.mp4")) - first) == 1


def test_a_film_is_the_plan_that_fits_and_is_not_paid_twice(
    run: Callable[..., Ran], tmp_path: Path
) -> None:
    music = tone(tmp_path / "song.wav", 1)
    ran = run(FILM, str(EXAMPLES / "pictures"), "3.2", music)
    again = run(FILM, str(EXAMPLES / "pictures"), "3.2", music)

    *told, film = ran.stdout.splitlines()
    assert Path(film).is_file(), ran.stderr
    assert "It fits so: without shots 3-" in told[0]
    assert told[1].startswith("2 shots, 10 s: 3 units")
    assert "checked: nothing amiss" in told[-1]
    assert again.stdout.splitlines()[-1] == film
    assert "2 shots, 10 s: 0 units" in again.stdout


def test_the_storyboard_tells_the_price_and_every_fault_before_it_is_shot(
    run: Callable[..., Ran], tmp_path: Path
) -> None:
    photo = str(EXAMPLES / "pictures" / "astronaut.png")
    ran = run(EXAMPLES / "storyboard.py", photo, "9:She waits", "9:She waits on")

    assert ran.returncode == 1
    assert ran.stderr.startswith("duration: ")
    assert not (tmp_path / "videos").exists()

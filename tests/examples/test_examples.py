"""Every program in examples/ runs to its end against the sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LIMIT_S = 120


def run(program: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program without a key; everything that it writes lies below `folder`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("KLING_")}
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        cwd=folder,
        env={
            **inherited,
            "KLING_MCP_HOME": str(folder / "home"),
            "KLING_MCP_OUTPUT_DIR": str(folder / "videos"),
            "KLING_MCP_SANDBOX_QUEUE_S": "0",
            "KLING_MCP_SANDBOX_SIDE_PX": "300",
            "KLING_MCP_SANDBOX_RENDER_S": "0",
        },
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


BUDGETED = EXAMPLES / "batch_within_budget.py"


@pytest.mark.parametrize(
    "program",
    [
        *sorted({*EXAMPLES.glob("*.py")} - {BUDGETED}),
        pytest.param(BUDGETED, marks=pytest.mark.campaign),  # runs below
    ],
    ids=lambda path: path.name,
)
def test_an_example_makes_and_names_its_videos_without_a_key(program: Path, tmp_path: Path) -> None:
    ran = run(program, tmp_path)
    assert ran.returncode == 0, ran.stderr
    *lines, last = ran.stdout.splitlines()
    made = {str(path) for path in (tmp_path / "videos").glob("*.mp4")}
    assert last in made
    assert made <= {*lines, last}


@pytest.mark.parametrize(
    "name", ["animate_photo.py", pytest.param("continue_story.py", marks=pytest.mark.campaign)]
)
def test_the_client_says_in_one_line_why_it_made_nothing(name: str, tmp_path: Path) -> None:
    ran = run(EXAMPLES / name, tmp_path, str(tmp_path / "missing.png"))
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert line.startswith("Refused, nothing was sent or charged.")


def test_the_batch_spends_no_more_than_it_may_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    pictures = EXAMPLES / "pictures"
    ran = run(BUDGETED, tmp_path, str(pictures), "3.2")
    assert "for 3 of 3.2 units" in ran.stdout, ran.stderr
    first = set((tmp_path / "videos").glob("*.mp4"))
    assert len(first) == 2

    again = run(BUDGETED, tmp_path, str(pictures), "4.5")
    assert again.stdout.count("made before, not paid again") == 2
    assert len(set((tmp_path / "videos").glob("*.mp4")) - first) == 1


def test_the_storyboard_tells_the_price_and_every_fault_before_it_is_shot(tmp_path: Path) -> None:
    photo = str(EXAMPLES / "pictures" / "astronaut.png")
    ran = run(EXAMPLES / "storyboard.py", tmp_path, photo, "9:She waits", "9:She waits on")

    assert ran.returncode == 1
    assert ran.stderr.startswith("duration: ")
    assert not (tmp_path / "videos").exists()

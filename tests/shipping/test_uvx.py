"""`uvx` starts the built wheel without a network, once its packages were downloaded."""

from pathlib import Path

import pytest
from tests.shipping.uv_offline import run

from kling_mcp.version import __version__

pytestmark = pytest.mark.campaign

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_says_its_version(wheel: Path, tmp_path: Path) -> None:
    ran = run(tmp_path, "tool", "run", "--from", str(wheel), "kling-mcp", "--version")

    assert (ran.returncode, ran.stdout) == (0, f"kling-mcp {__version__}\n"), ran.stderr


def test_the_wheel_makes_its_video(wheel: Path, tmp_path: Path) -> None:
    ran = run(tmp_path, "tool", "run", "--from", str(wheel), "kling-mcp", "demo")

    assert ran.returncode == 0, ran.stderr
    (video,) = (tmp_path / "videos").glob("*.mp4")
    assert video.read_bytes()[4:8] == b"ftyp"


def test_a_clone_is_built_and_started(tmp_path: Path) -> None:
    ran = run(tmp_path, "tool", "run", "--from", str(ROOT), "kling-mcp", "--version")

    assert (ran.returncode, ran.stdout) == (0, f"kling-mcp {__version__}\n"), ran.stderr

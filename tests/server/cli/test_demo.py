"""The demo is an MCP client of the real server, from a photograph to an MP4 on disk."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import mcp
import pytest
from mcp.server import MCPServer
from PIL import Image

from kling_mcp.cli.demo import shipped_picture
from kling_mcp.cli.main import main
from kling_mcp.inputs.mp4 import check
from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import load_settings

QUICK = {
    "KLING_MCP_SANDBOX_QUEUE_S": "0.1",
    "KLING_MCP_SANDBOX_RENDER_S": "0.2",
    "KLING_MCP_SANDBOX_SIDE_PX": "48",
}
SLOW = {"KLING_MCP_SANDBOX_QUEUE_S": "60"}
OWN_SETTINGS = ("KLING", "COMETAPI", "ANYFAST", "POWERTOKENS", "NEWAPI")


def start(folder: Path, *arguments: str, settings: dict[str, str]) -> subprocess.Popen[str]:
    """The demo as a process of its own, in an empty folder and without the user's settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(OWN_SETTINGS)}
    return subprocess.Popen(
        [sys.executable, "-m", "kling_mcp", "demo", *arguments],
        cwd=folder,
        env=environment | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def settle(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """This process works in the folder, without the user's settings."""
    for name in [name for name in os.environ if name.startswith(OWN_SETTINGS)]:
        patch.delenv(name)
    for name, value in QUICK.items():
        patch.setenv(name, value)
    patch.chdir(folder)


def labelled(output: str) -> dict[str, str]:
    """The last line under each label."""
    lines = [line.split(maxsplit=1) for line in output.splitlines() if line[:1].strip()]
    return {label: rest[0] if rest else "" for label, *rest in lines}


def test_the_shipped_photograph_is_one_that_kling_takes() -> None:
    with Image.open(shipped_picture()) as picture:
        assert min(picture.size) >= 300


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a demo, and what it said; its server is a process of its own."""
    folder = tmp_path_factory.mktemp("demo")
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
        settle(folder, patch)
        assert main(["demo", "--output", "videos"]) == 0
    return folder, output.getvalue()


def test_the_video_and_its_contact_sheet_stand_where_the_demo_says(
    finished: tuple[Path, str],
) -> None:
    folder, output = finished
    said = labelled(output)

    video, sheet = Path(said["Video"]), Path(said["Frames"])
    assert sorted((folder / "videos").iterdir()) == sorted([video, sheet])
    facts = check(video)
    assert facts.duration_s == pytest.approx(5, abs=0.1)
    assert f"{facts.width}x{facts.height}" in output
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"


def test_the_demo_says_what_was_offered_and_what_it_would_cost(
    finished: tuple[Path, str],
) -> None:
    _, output = finished

    for tool in ("kling_image_to_video", "kling_wait_for_tasks", "kling_save_video"):
        assert tool in output
    assert "units" in labelled(output)["Price"]
    assert "kling-mcp install" in labelled(output)["Next"]
    assert "kling-mcp tasks does not list this video" in output
    assert "the video is made" in labelled(output)["Wait"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run the demo in, in this process."""
    settle(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of the demo runs in this process, too."""

    def in_this_process(server: mcp.StdioServerParameters, **_: Any) -> MCPServer[Any]:
        for name, value in (server.env or {}).items():
            monkeypatch.setenv(name, value)
        return build_server(load_settings())

    monkeypatch.setattr(mcp, "stdio_client", in_this_process)


@pytest.mark.usefixtures("in_one_process")
def test_a_picture_that_is_refused_ends_the_demo_with_the_servers_reason(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "notes.png").write_text("no picture at all")

    assert main(["demo", "notes.png"]) == 1

    errors = capfd.readouterr().err
    assert "image" in errors
    assert "notes.png" in errors
    assert "Traceback" not in errors


@pytest.mark.usefixtures("here")
@pytest.mark.campaign
def test_a_server_that_cannot_start_is_told_in_its_own_words(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo", "--provider", "nobody"]) == 1

    errors = capfd.readouterr().err
    assert "nobody" in errors or "must be one of" in errors
    assert "Traceback" not in errors


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = start(tmp_path, settings=SLOW)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Wait"):
            break
    yield process
    process.kill()
    process.communicate()


@pytest.mark.campaign
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_ends_the_demo_without_a_traceback(waiting: subprocess.Popen[str]) -> None:
    waiting.send_signal(signal.SIGINT)
    _, errors = waiting.communicate(timeout=60)

    assert waiting.returncode == 130
    assert errors.strip() == "Interrupted."

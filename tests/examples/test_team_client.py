"""The client of a team's server, against one with a login."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kling_sandbox.app import bound_socket

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PHOTO = EXAMPLES / "pictures" / "astronaut.png"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A server's address, and the token of somebody who may use it."""
    with closing(bound_socket("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("KLING_")}
    environment = {
        **inherited,
        "KLING_MCP_HOME": str(tmp_path / "home"),
        "KLING_MCP_OUTPUT_DIR": str(tmp_path / "kept"),
        "KLING_MCP_SANDBOX_QUEUE_S": "0",
        "KLING_MCP_SANDBOX_SIDE_PX": "300",
        "KLING_MCP_SANDBOX_RENDER_S": "0",
        "KLING_MCP_TOKENS": str(tmp_path / "tokens"),
        "KLING_MCP_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }
    command = [sys.executable, "-m", "kling_mcp"]
    added = subprocess.run(
        [*command, "tokens", "add", "ada"], env=environment, capture_output=True, text=True
    )
    process = subprocess.Popen(
        [*command, "serve", "--http", "--port", str(port)],
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        assert "serves MCP at" in process.stderr.readline()
        yield f"http://127.0.0.1:{port}/mcp", added.stdout.strip()
    finally:
        process.terminate()
        process.communicate(timeout=20)


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

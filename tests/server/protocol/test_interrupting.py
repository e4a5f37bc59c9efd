"""Ctrl-C ends every command at once. What serves until then ends with 0 once it is ready."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")
PROGRAM = [sys.executable, "-m", "kling_mcp"]
LIMIT_S = 30
INTERRUPTED = 130
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")


def started(folder: Path, *words: str, **streams: Any) -> subprocess.Popen[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "KLING_MCP_HOME": str(folder / "home"),
    }
    return subprocess.Popen([*PROGRAM, *words], cwd=folder, env=environment, text=True, **streams)


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code after Ctrl-C, and what is then on standard error."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=LIMIT_S)
    return process.returncode, said or ""


def test_the_server_over_stdio_ends_though_its_input_stays_open(tmp_path: Path) -> None:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = started(tmp_path, **pipes)
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(HELLO) + "\n")
    process.stdin.flush()
    assert "serverInfo" in process.stdout.readline()

    assert interrupted(process) == (INTERRUPTED, "")


@pytest.mark.parametrize(
    "words",
    [("serve", "--http"), pytest.param(("sandbox",), marks=pytest.mark.campaign)],
    ids=lambda words: words[0],
)
def test_what_serves_http_ends_as_it_was_told_to(words: tuple[str, ...], tmp_path: Path) -> None:
    process = started(tmp_path, *words, "--port", "0", stderr=subprocess.PIPE)
    assert process.stderr
    for line in process.stderr:
        if "http://127.0.0.1" in line:
            break

    code, said = interrupted(process)
    assert code in (0, INTERRUPTED)
    assert "Traceback" not in said


@pytest.mark.campaign
def test_the_sandbox_does_not_wait_for_an_answer_that_it_holds_back(tmp_path: Path) -> None:
    process = started(
        tmp_path, "sandbox", "--port", "0", "--fault", "slow:600", stderr=subprocess.PIPE
    )
    assert process.stderr
    port = next(int(found[1]) for line in process.stderr if (found := ADDRESS.search(line)))
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /v1/videos/image2video HTTP/1.1\r\nHost: sandbox\r\n\r\n")
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            client.recv(1)

        code, said = interrupted(process)
    assert code in (0, INTERRUPTED)
    assert "Traceback" not in said


def test_a_question_that_is_not_answered_changes_nothing(tmp_path: Path) -> None:
    person, terminal = os.openpty()
    process = started(
        tmp_path, "install", "cursor", stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(person, 1024)

    process.send_signal(signal.SIGINT)
    # A signal between the prompt and the read that follows it is seen by Python after the read.
    with suppress(OSError):
        os.write(person, b"\n")
    assert process.wait(timeout=LIMIT_S) == INTERRUPTED
    os.close(person)
    assert not (tmp_path / ".cursor").exists()

"""The server over HTTP, as a process: both eras, strangers, large bodies, being told to stop."""

import base64
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client
from tests.server.loopback import served_sandbox
from tests.server.protocol.raw_client import MODERN
from tests.server.serving import ERAS_WITH_CLIPS, picture

from kling_mcp.cli.main import main
from kling_mcp.hosting.http_app import MAX_BODY_BYTES
from kling_sandbox import SandboxStore

ERAS = ("legacy", "2026-07-28")
PICTURE_BYTES = 10 * 1000 * 1000
ACCEPT = {"accept": "application/json, text/event-stream"}
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def post(url: str, method: str, headers: dict[str, str], **params: Any) -> httpx.Response:
    """One request of the 2026-07-28 protocol."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}
    named = {"mcp-name": params["name"]} if "name" in params else {}
    standard = {**ACCEPT, "mcp-protocol-version": MODERN, "mcp-method": method, **named}
    all_headers = {**standard, **headers}
    return httpx.post(url, json=message, headers=all_headers, timeout=60, verify=False)


@contextmanager
def served(folder: Path, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`kling-mcp serve --http` on a free port; the process and its URL."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "KLING_MCP_HOME": str(folder / "home"),
        "KLING_MCP_OUTPUT_DIR": str(folder / "videos"),
        "KLING_MCP_SANDBOX_QUEUE_S": "0",
        "KLING_MCP_SANDBOX_SIDE_PX": "48",
        "KLING_MCP_SANDBOX_RENDER_S": "0",
        **more,
    }
    command = [sys.executable, "-m", "kling_mcp", "serve", "--http", "--port", "0"]
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "serves MCP at" in line, line
        yield process, line.split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("http")


@pytest.fixture(scope="module")
def url(place: Path) -> Iterator[str]:
    with served(place) as (_, url):
        yield url


async def facts(client: Client, tool: str, given: dict[str, Any]) -> dict[str, Any]:
    result = await client.call_tool(tool, given)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS_WITH_CLIPS)
async def test_a_picture_becomes_a_video_that_is_saved_when_asked_for(
    era: str, url: str, place: Path
) -> None:
    wish = {"image": picture(place), "prompt": f"Slow zoom, {era}"}
    async with Client(url, mode=era) as client:
        receipt = await facts(client, "kling_image_to_video", wish)
        waited = await facts(client, "kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})
        unsaved = list(place.glob(f"videos/*{receipt['task_id']}*"))
        saved = await facts(client, "kling_save_video", {"task_id": receipt["task_id"]})

    assert waited["done"] is True
    assert unsaved == []
    assert Path(saved["path"]).read_bytes()[4:8] == b"ftyp"


@pytest.mark.anyio
async def test_a_picture_from_the_chat_is_sent_to_the_server_s_own_address(
    url: str, place: Path
) -> None:
    async with Client(url) as client:
        address = await facts(client, "kling_upload_picture", {})
        data = Path(picture(place)).read_bytes()
        async with httpx.AsyncClient() as http:
            statuses = [
                (await http.put(address["upload_url"], content=data, headers=headers)).status_code
                for headers in ({"origin": "https://evil.example"}, {}, {})
            ]
        wish = {"image": address["image"], "prompt": "From the chat", "dry_run": True}
        priced = await facts(client, "kling_image_to_video", wish)

    assert address["upload_url"].startswith(f"{url.removesuffix('/mcp')}/uploads/")
    assert statuses == [403, 201, 409]
    assert "faults" not in priced


@pytest.mark.anyio
async def test_ten_clients_that_ask_for_the_same_video_pay_once(url: str, place: Path) -> None:
    wish = {"image": picture(place), "prompt": "All at once"}
    ids: list[str] = []

    async def ask(era: str) -> None:
        async with Client(url, mode=era) as client:
            ids.append((await facts(client, "kling_image_to_video", wish))["task_id"])

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(ask, ERAS[number % 2])

    assert len(ids) == 10
    assert len(set(ids)) == 1


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("host", "evil.example", 421),
        ("host", "evil.example:8000", 421),
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://localhost:3000", 200),
    ],
)
def test_a_page_of_another_site_cannot_use_the_server(
    url: str, header: str, value: str, status: int
) -> None:
    answer = post(url, "server/discover", {header: value})

    assert answer.status_code == status


def test_four_pictures_of_the_largest_size_fit_and_nothing_larger(url: str, place: Path) -> None:
    small = Path(picture(place)).read_bytes()
    large = base64.b64encode(small.ljust(PICTURE_BYTES, b"\0")).decode()
    wish = {"image_list": [f"data:image/png;base64,{large}"] * 4, "prompt": "All", "dry_run": True}
    fits = post(url, "tools/call", {}, name="kling_multi_image_to_video", arguments=wish)
    body = b" " * (MAX_BODY_BYTES + 1)
    too_large = httpx.post(url, content=body, headers=ACCEPT, timeout=60)

    assert 4 * len(large) > 0.9 * MAX_BODY_BYTES
    assert "nothing sent" in fits.text
    assert '"faults"' not in fits.text
    assert too_large.status_code == 413


def test_other_paths_are_not_there(url: str) -> None:
    assert httpx.get(url.removesuffix("/mcp")).status_code == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
def test_an_address_that_others_reach_is_refused_before_anything_starts(
    host: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert main(["serve", "--http", "--host", host]) == 1

    told = capsys.readouterr().err
    assert f"Other machines can reach this server at {host}, and it has no login" in told
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--http", "--port", port]) == 1

    told = capsys.readouterr().err
    assert "cannot be used" in told
    assert "--port" in told


@pytest.mark.campaign
def test_a_submit_under_way_is_finished_when_the_server_is_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Slow zoom"}
    with served_sandbox(tmp_path / "kling", "slow@creates:1.5") as kling:
        keys = {"KLING_API_KEY": "sandbox-key", "KLING_BASE_URL": kling}
        with served(tmp_path, **keys) as (process, url):
            thread = threading.Thread(target=_submit, args=(url, wish))
            thread.start()
            _wait_for_row(tmp_path / "home", thread)
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
            thread.join(timeout=60)
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    assert main(["tasks", "--json"]) == 0
    assert SandboxStore(tmp_path / "kling").counts().accepted == 1
    assert '"status": "submitted"' in capsys.readouterr().out


def _submit(url: str, wish: dict[str, Any]) -> None:
    with suppress(httpx.TransportError):
        post(url, "tools/call", {}, name="kling_image_to_video", arguments=wish)


def _wait_for_row(home: Path, submitting: threading.Thread) -> None:
    """Until the row is there, which is before the create is sent."""
    rows = 0
    while not rows:
        submitting.join(0.02)
        assert submitting.is_alive()
        ledger = f"file:{home / 'ledger.sqlite3'}?mode=ro"  # else an empty one would be made
        with suppress(sqlite3.Error), closing(sqlite3.connect(ledger, uri=True)) as db:
            (rows,) = db.execute("SELECT count(*) FROM tasks").fetchone()

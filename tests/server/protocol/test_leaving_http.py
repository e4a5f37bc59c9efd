"""Over HTTP, a client that goes away takes its subscriptions with it."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from tests.server.protocol.raw_client import HANDSHAKE, MODERN
from tests.server.scripted import CREATE, Scripted, task
from tests.server.serving import picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_sandbox.app import bound_socket

ACCEPT = {"accept": "application/json, text/event-stream"}
URI = "kling://tasks/t-1"
QUIET_S = 0.3
"""Without a look after which no more are expected."""
MOST_LOOKS = 1000
"""That may come after the client has left."""


class Looks:
    """A provider whose task never ends; counts how often it was asked."""

    def __init__(self) -> None:
        self.count = 0
        self._looked = threading.Condition()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            with self._looked:
                self.count += 1
                self._looked.notify_all()
        if request.url.path.endswith("/image2video") and request.method == "GET":
            data = [{"task_id": "t-1", "task_status": "processing"}]
            return httpx.Response(200, json={"code": 0, "message": "SUCCEED", "data": data})
        return task(task_status="processing")

    def go_on(self) -> None:
        """Raises unless more looks come."""
        with self._looked:
            enough = self.count + 3
            assert self._looked.wait_for(lambda: self.count >= enough, timeout=60)

    def stop(self) -> None:
        """Raises unless the looks come to an end."""
        with self._looked:
            for _ in range(MOST_LOOKS):
                if not self._looked.wait(timeout=QUIET_S):
                    return
        raise AssertionError("it is still looked at")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """The one provider of the server."""
    provider = Looks()
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(provider).connect)
    return provider


@pytest.fixture
def http(tmp_path: Path, looks: Looks) -> Iterator[httpx.Client]:
    """A client of a server on this machine that looks at its tasks without a pause."""

    async def soon(_seconds: float) -> None:
        await anyio.sleep(0.005)

    settings = sandbox_settings(
        tmp_path, provider="kling", kling_api_key="k", kling_base_url="https://kling.example"
    )
    listener = bound_socket("127.0.0.1", 0)
    listener.listen()
    app = build_server(settings, sleep=soon).streamable_http_app()
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
        yield client
    server.should_exit = True
    thread.join(timeout=60)
    listener.close()


def message(method: str, params: dict[str, Any], modern: bool = False) -> dict[str, Any]:
    if modern:
        params = params | {
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        }
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def modern_headers(method: str, name: str = "") -> dict[str, str]:
    named = {"mcp-name": name} if name else {}
    return ACCEPT | {"mcp-protocol-version": MODERN, "mcp-method": method} | named


def make(http: httpx.Client, folder: Path) -> None:
    call = {"name": CREATE, "arguments": {"image": picture(folder), "prompt": "Zoom"}}
    answer = http.post(
        "/mcp",
        json=message("tools/call", call, modern=True),
        headers=modern_headers("tools/call", CREATE),
    )
    assert "t-1" in answer.text


def test_closing_the_stream_of_the_newer_protocol_ends_the_watching(
    http: httpx.Client, looks: Looks, tmp_path: Path
) -> None:
    make(http, tmp_path)
    wanted = {"notifications": {"resourceSubscriptions": [URI]}}
    with http.stream(
        "POST",
        "/mcp",
        json=message("subscriptions/listen", wanted, modern=True),
        headers=modern_headers("subscriptions/listen"),
    ) as stream:
        lines = stream.iter_lines()
        first = next(line for line in lines if line.startswith("data:") and "{" in line)
        assert json.loads(first[5:])["method"] == "notifications/subscriptions/acknowledged"
        looks.go_on()
    looks.stop()


def test_ending_the_session_of_the_older_protocol_ends_the_watching(
    http: httpx.Client, looks: Looks, tmp_path: Path
) -> None:
    make(http, tmp_path)
    hello = {
        "protocolVersion": HANDSHAKE,
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    }
    opened = http.post("/mcp", json=message("initialize", hello), headers=ACCEPT)
    session = ACCEPT | {
        "mcp-session-id": opened.headers["mcp-session-id"],
        "mcp-protocol-version": HANDSHAKE,
    }
    begun = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    http.post("/mcp", json=begun, headers=session)
    subscribed = http.post(
        "/mcp", json=message("resources/subscribe", {"uri": URI}), headers=session
    )
    assert subscribed.status_code == 200
    looks.go_on()
    assert http.delete("/mcp", headers=session).status_code == 200
    looks.stop()

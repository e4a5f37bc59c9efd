"""The sandbox over a real socket: connections that break, and the command that serves it."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from kling_sandbox import SandboxConfig, SandboxStore, create_app, parse_faults
from kling_sandbox.app import bound_socket, server_of
from kling_sandbox.cli import add_arguments, run_from
from kling_sandbox.orders import SHORT_SIDE_PX

Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve a sandbox whose tasks succeed at once; the answer is a client of it."""
    running = []

    def started(*faults: str) -> httpx.Client:
        listener = bound_socket("127.0.0.1", 0)
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = SandboxConfig(
            home=tmp_path, queue_s=0, render_s=0, faults=parse_faults(faults), public_url=url
        )
        server = server_of(create_app(config))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        client = httpx.Client(
            base_url=url, headers={"Authorization": "Bearer sandbox-key"}, timeout=20
        )
        running.append((server, thread, listener, client))
        return client

    yield started
    for server, thread, listener, client in running:
        client.close()
        server.should_exit = True
        thread.join(timeout=60)
        listener.close()


def body(image: str, **fields: str) -> dict[str, str]:
    return {"model_name": "kling-v3", "image": image, "prompt": "wind", "duration": "3"} | fields


@pytest.mark.parametrize(("fault", "made"), [("drop-after-accept", 1), ("drop-before-accept", 0)])
def test_a_dropped_create_ends_without_an_answer(
    serve: Serve,
    tmp_path: Path,
    image: str,
    fault: str,
    made: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    client = serve(f"{fault}@creates:1")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        client.post("/v1/videos/image2video", json=body(image, external_task_id="x"))
    assert SandboxStore(tmp_path).counts().accepted == made
    found = client.get("/v1/videos/image2video/x")
    assert found.status_code == (200 if made else 400)
    assert capfd.readouterr().err == ""


def test_a_video_cut_short_can_be_resumed(
    serve: Serve, image: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SHORT_SIDE_PX, "std", 144)
    client = serve("video-cut-short:1")
    created = client.post("/v1/videos/image2video", json=body(image)).json()["data"]
    task = client.get(f"/v1/videos/image2video/{created['task_id']}").json()["data"]
    url = task["task_result"]["videos"][0]["url"]
    got = b""
    with client.stream("GET", url) as answer:
        promised = int(answer.headers["content-length"])
        with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012
            for piece in answer.iter_raw():
                got += piece
    assert len(got) == promised // 2
    rest = client.get(url, headers={"Range": f"bytes={len(got)}-"})
    assert rest.status_code == 206
    assert client.get(url).content == got + rest.content
    assert capfd.readouterr().err == ""


def test_a_refused_caller_reads_the_answer_though_it_sends_megabytes(serve: Serve) -> None:
    client = serve()
    answer = client.post(
        "/v1/videos/image2video",
        content=(b"A" * 65_536 for _ in range(200)),
        headers={"Authorization": "Bearer wrong"},
    )
    assert (answer.status_code, answer.json()["code"]) == (401, 1002)


def parsed(*switches: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(switches)


def test_the_faults_are_listed_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_from(parsed("--fault", "help")) == 0
    assert "drop-after-accept" in capsys.readouterr().out


def test_an_unknown_fault_is_said_and_nothing_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_from(parsed("--fault=nothing", f"--home={tmp_path / 'home'}")) == 2
    assert "unknown fault 'nothing'" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_a_taken_port_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bound_socket("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        assert run_from(parsed(f"--port={port}", f"--home={tmp_path / 'home'}")) == 2
    assert "in use" in capsys.readouterr().err.lower()


@pytest.mark.parametrize("switch", ["--port=-1", "--port=65536", "--queue=-1", "--render=nan"])
def test_a_number_out_of_range_is_wrong_use(switch: str) -> None:
    with pytest.raises(SystemExit):
        parsed(switch)


COMMAND = """
import argparse, sys
from kling_sandbox.cli import add_arguments, run_from
parser = argparse.ArgumentParser()
add_arguments(parser)
sys.exit(run_from(parser.parse_args()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl+C cannot be sent to one process there")
def test_the_command_says_where_it_serves_and_ends_on_ctrl_c(tmp_path: Path, image: str) -> None:
    switches = ["--port=0", f"--home={tmp_path}", "--queue=0", "--render=0", "--fault=internal:1"]
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *switches], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = ""
        while "Ctrl+C" not in said:
            said += process.stderr.readline()
        url = said.split()[3]
        for base in ("", "/cometapi", "/anyfast", "/powertokens", "/newapi", "/newapi-old"):
            assert f" {url}{base}\n" in said
        with httpx.Client(base_url=url, headers={"Authorization": "Bearer sandbox-key"}) as client:
            codes = [
                client.post("/v1/videos/image2video", json=body(image)).status_code
                for _ in range(2)
            ]
            assert codes == [500, 200]
            task = client.get("/v1/videos/image2video").json()["data"][0]
            assert task["task_result"]["videos"][0]["url"].startswith(url + "/videos/")
            stats = client.get("/sandbox/stats").json()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""
    assert stats["strikes"] == {"internal:1": 1}
    for word in (url, "sandbox-key", "/sandbox/stats", "internal:1", str(tmp_path)):
        assert word in said

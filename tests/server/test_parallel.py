"""Fifty equal calls in four processes: one create, and everybody gets the same task."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import picture

from kling_mcp.sandbox import SandboxConfig, SandboxStore, create_app, parse_faults
from kling_mcp.sandbox.serving import bound_socket, server_of

CALLS = (13, 13, 12, 12)

PROCESS = """
import json, sys
import anyio
from mcp import Client
from kling_mcp.server import build_server
from kling_mcp.settings import load_settings

settings, arguments, calls = json.loads(sys.argv[1])
answers = []

async def main():
    async def call():
        result = await client.call_tool("kling_image_to_video", arguments)
        answers.append(result.structured_content)

    async with Client(build_server(load_settings(**settings))) as client:
        await client.list_tools()
        print("ready", flush=True)
        sys.stdin.readline()
        async with anyio.create_task_group() as group:
            for _ in range(calls):
                group.start_soon(call)
    print(json.dumps(answers), flush=True)

anyio.run(main)
"""

Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve a sandbox over HTTP with these faults; the answer is its URL."""
    running = []

    def started(*faults: str) -> str:
        listener = bound_socket("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = SandboxConfig(
            home=tmp_path / "sandbox", faults=parse_faults(faults), public_url=url
        )
        server = server_of(create_app(config))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread, listener))
        return url

    yield started
    for server, thread, listener in running:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


def fifty_calls(folder: Path, provider: str, base_url: str) -> list[dict[str, Any]]:
    """What fifty calls that begin together are answered."""
    settings = {
        "provider": provider,
        f"{provider}_api_key": "sandbox-key",
        f"{provider}_base_url": base_url,
        "home": str(folder / "home"),
        "output_dir": str(folder / "videos"),
        "image_roots": [str(folder)],
    }
    arguments = {"image": picture(folder, size=(320, 320)), "prompt": "Zoom"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, json.dumps([settings, arguments, calls])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for calls in CALLS
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = []
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        answers += json.loads(output)
    return answers


@pytest.mark.parametrize(("provider", "base"), [("kling", ""), ("newapi", "/newapi")])
def test_fifty_equal_calls_in_four_processes_make_one_create(
    provider: str, base: str, serve: Serve, tmp_path: Path
) -> None:
    answers = fifty_calls(tmp_path, provider, serve("slow@creates:0.5") + base)

    assert len(answers) == sum(CALLS)
    assert len({answer["task_id"] for answer in answers}) == 1
    assert [answer.get("repeated", False) for answer in answers].count(False) == 1
    counts = SandboxStore(tmp_path / "sandbox").counts()
    assert counts.requests["creates"] == counts.accepted == 1


def test_a_lost_answer_among_them_changes_nothing(serve: Serve, tmp_path: Path) -> None:
    answers = fifty_calls(tmp_path, "kling", serve("drop-after-accept:1"))

    assert len({answer["task_id"] for answer in answers}) == 1
    counts = SandboxStore(tmp_path / "sandbox").counts()
    assert counts.requests["creates"] == counts.accepted == 1


def test_fifty_calls_into_a_full_house_wait_as_one(serve: Serve, tmp_path: Path) -> None:
    answers = fifty_calls(tmp_path, "kling", serve("concurrency"))

    assert {answer["status"] for answer in answers} == {"queued"}
    assert len({answer["task_id"] for answer in answers}) == 1
    assert SandboxStore(tmp_path / "sandbox").counts().accepted == 0


def test_at_a_gateway_that_lost_the_answer_nobody_sends_it_again(
    serve: Serve, tmp_path: Path
) -> None:
    answers = fifty_calls(tmp_path, "newapi", serve("drop-after-accept:1") + "/newapi")

    assert {answer["charged"] for answer in answers} == {"unknown"}
    counts = SandboxStore(tmp_path / "sandbox").counts()
    assert counts.requests["creates"] == counts.accepted == 1

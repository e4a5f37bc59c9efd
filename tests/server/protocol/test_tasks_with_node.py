"""The extension as others judge it: the official conformance scenarios and TypeScript client."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from tests.outside_suites import node, node_modules
from tests.server.serving import picture
from tests.server.task_fixtures import fixture_server

from kling_sandbox.app import bound_socket

pytestmark = pytest.mark.campaign

CLIENT = Path(__file__).parents[2] / "clients" / "tasks_extension.mjs"
SUITE = "@modelcontextprotocol/conformance/dist/index.js"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server with the fixtures on this machine."""
    listener = bound_socket("127.0.0.1", 0)
    listener.listen()
    app = fixture_server(tmp_path).streamable_http_app()
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    server.should_exit = True
    thread.join(timeout=60)
    listener.close()


def run_node(*arguments: str, cwd: Path) -> str:
    """What the program writes; raises with all of it when the program fails."""
    done = subprocess.run(
        [node(), *arguments], cwd=cwd, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "scenario",
    [
        "tasks-lifecycle",
        "tasks-capability-negotiation",
        "tasks-wire-fields",
        "tasks-request-state-removal",
        "tasks-mrtr-input",
        "tasks-request-headers",
        "tasks-dispatch-and-envelope",
        "tasks-required-task-error",
        "tasks-mrtr-composition",
    ],
)
def test_the_official_scenario_has_nothing_to_object_to(
    url: str, tmp_path: Path, scenario: str
) -> None:
    said = run_node(
        str(node_modules() / SUITE), "server", "--url", url, "--scenario", scenario, cwd=tmp_path
    )
    assert " 0 failed" in said
    assert "Passed: 0/0" not in said


def test_the_typescript_client_gets_its_video(url: str, tmp_path: Path) -> None:
    program = Path(shutil.copy(CLIENT, tmp_path))
    (tmp_path / "node_modules").symlink_to(node_modules().resolve(), target_is_directory=True)
    got: dict[str, Any] = json.loads(run_node(str(program), url, picture(tmp_path), cwd=tmp_path))
    assert got["statuses"][0] == "working"
    assert got["statuses"][-1] == "completed"
    for result in (got["video"], got["repeated"]):
        assert result["structuredContent"]["status"] == "succeed"
        assert result["structuredContent"]["videos"][0]["url"]
    assert "Dry run" in got["dryRun"]["content"][0]["text"]

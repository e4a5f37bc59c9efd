"""The official conformance suite, in both eras, against our own server."""

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from tests.conformance.everything import conformance_server
from tests.nginx import behind_nginx
from tests.outside_suites import node, node_modules

from kling_mcp.hosting.http_app import http_app
from kling_sandbox.app import bound_socket

pytestmark = pytest.mark.campaign

SUITE = "@modelcontextprotocol/conformance/dist/index.js"
NOT_APPLICABLE = json.loads(Path(__file__).with_name("not_applicable.json").read_text())
LINE = re.compile(r"^([✓✗]) ([a-z0-9-]+): (\d+) passed, (\d+) failed", re.MULTILINE)
LEAST_CHECKS = {"2025-11-25": 70, "2026-07-28": 175}
SKILLS = {"sep-2640-skills-enumeration": 32, "sep-2640-skills-manifest": 6}
"""The scenarios of the skills extension, and the checks that each makes."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Our server over HTTP, as `serve --http` makes it, with the suite's fixtures."""
    listener = bound_socket("127.0.0.1", 0)
    app = http_app(conformance_server(tmp_path), "127.0.0.1")
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    server.should_exit = True
    thread.join(timeout=60)
    listener.close()


@pytest.fixture
def url_at_nginx(url: str, tmp_path: Path) -> Iterator[str]:
    """The same behind nginx."""
    with behind_nginx([urlsplit(url).port or 0], tmp_path / "nginx") as proxied:
        yield f"{proxied}/mcp"


@pytest.mark.filterwarnings("ignore:The sampling capability is deprecated")
@pytest.mark.filterwarnings("ignore:.*deprecated as of 2026-07-28")
@pytest.mark.parametrize("era", ["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize("way", ["url", "url_at_nginx"])
def test_the_suite_objects_to_nothing_but_what_does_not_apply(
    era: str, way: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url: str = request.getfixturevalue(way)
    suite = str(node_modules() / SUITE)
    done = subprocess.run(
        [node(), suite, "server", "--url", url, "--requirements", era, "-o", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    scenarios = {name: (mark, int(ok)) for mark, name, ok, _ in LINE.findall(done.stdout)}
    failed = {name for name, (mark, _) in scenarios.items() if mark == "✗"}

    assert failed == set(NOT_APPLICABLE[era]), done.stdout[-3000:]
    assert sum(passed for _, passed in scenarios.values()) >= LEAST_CHECKS[era]


@pytest.mark.parametrize("scenario", SKILLS)
def test_the_suite_objects_to_nothing_about_the_skill(
    scenario: str, url: str, tmp_path: Path
) -> None:
    suite = str(node_modules() / SUITE)
    out = str(tmp_path / "out")
    done = subprocess.run(
        [node(), suite, "server", "--url", url, "--scenario", scenario, "-o", out],
        capture_output=True,
        text=True,
        timeout=120,
    )
    checks = SKILLS[scenario]

    assert f"Passed: {checks}/{checks}, 0 failed, 0 warnings" in done.stdout, done.stdout[-3000:]

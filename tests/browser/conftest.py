"""Chromium around the official host library around the player, on a server with the sandbox."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from tests.browser.player_stage import Stage
from tests.outside_suites import chromium, node_modules
from tests.server.serving import sandbox_settings

from kling_mcp.hosting.http_app import http_app
from kling_mcp.hosting.team import Hosting
from kling_mcp.hosting.team_settings import load_host_settings
from kling_mcp.protocol.server import build_server
from kling_sandbox.app import bound_socket

HERE = Path(__file__).parent
LONGEST_MS = 20_000


@pytest.fixture(scope="session")
def host_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host page's script with the official libraries inside."""
    script = tmp_path_factory.mktemp("host") / "host.js"
    modules = node_modules()
    esbuild = modules / ".bin" / "esbuild"
    command = [str(esbuild), str(HERE / "host.mjs"), "--bundle", "--format=iife"]
    done = subprocess.run(
        [*command, f"--outfile={script}", "--log-level=error"],
        env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return script


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium; Playwright keeps an event loop running for as long as it is there."""
    executable = chromium()
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=LONGEST_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield running
        running.close()


@pytest.fixture
def stage(browser: Any, host_script: Path, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Makes a stage with settings of the server and options of the browser's context. The host page
    is of the server that has the `name`; pages of the `origins` may use the server, too. A
    `public` server is one for a team."""
    with ExitStack() as stack:

        def make(
            context: dict[str, Any] | None = None,
            *,
            name: str = "127.0.0.1",
            origins: str = "",
            public: bool = False,
            **more: Any,
        ) -> Stage:
            served = _served(tmp_path, host_script, origins, public, **more)
            url = stack.enter_context(served).replace("127.0.0.1", name)
            page = stack.enter_context(
                browser.new_context(viewport={"width": 760, "height": 900}, **(context or {}))
            ).new_page()
            page.set_default_timeout(LONGEST_MS)
            broken: list[str] = []
            page.on("pageerror", lambda error: broken.append(str(error)))
            complaints: list[str] = []
            page.on(
                "console",
                lambda said: complaints.append(said.text) if said.type == "error" else None,
            )
            page.goto(url)
            return Stage(page, tmp_path, broken, complaints)

        yield make


@contextmanager
def _served(folder: Path, script: Path, origins: str, public: bool, **more: Any) -> Iterator[str]:
    settings = sandbox_settings(folder, **{"save": True, **more})
    listener = bound_socket("127.0.0.1", 0)
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    hosting = Hosting.create(
        settings, load_host_settings(allowed_origins=origins, public_url=base if public else "")
    ).reached_at(base, settings)
    server = build_server(settings, team=hosting.team(settings))
    app = http_app(server, "127.0.0.1", hosting)
    page = (HERE / "host.html").read_text()
    app.router.routes[:0] = [
        Route("/", lambda _: HTMLResponse(page)),
        Route("/host.js", lambda _: FileResponse(script)),
        Route("/favicon.ico", lambda _: Response(status_code=204)),
    ]
    running = uvicorn.Server(
        uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, ws="none")
    )
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield base
    finally:
        running.should_exit = True
        thread.join(timeout=60)
        listener.close()

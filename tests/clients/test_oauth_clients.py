"""Programs of others sign in by URL at a team's server, each with a person at its page."""

import json
import os
import queue
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.clients.inspector import LAUNCHER
from tests.outside_suites import node, node_modules
from tests.server.hosting.sign_in.visit import CALLBACK, DESCRIBED, Page, Visit, described
from tests.server.hosting.team import Team, give_token, served_team

from kling_tools import build_toolset

pytestmark = pytest.mark.campaign

HERE = Path(__file__).parent
SUITE = "@modelcontextprotocol/conformance/dist/index.js"
TOOLS = len(build_toolset(["sandbox"], models={}, hosted=True))


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    give_token(tmp_path / "tokens", "first")

    async def fetch(url: str) -> bytes:
        assert url == DESCRIBED
        return described()

    options: dict[str, Any] = {"rate_per_minute": 0, "fetch": fetch}
    with served_team(tmp_path, tokens=tmp_path / "tokens", **options) as team:
        yield team


class Running:
    """A program that runs, and what it prints; its lines come from both outputs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(pipe,))
            for pipe in (process.stdout, process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: Any) -> None:
        for line in pipe:
            self._lines.put(line)

    def until(self, pattern: str) -> str:
        """The first line that matches, from now on."""
        while True:
            try:
                line = self._lines.get(timeout=60)
            except queue.Empty:
                raise AssertionError("".join(self.said)) from None
            self.said.append(line)
            if found := re.search(pattern, line):
                return found[0]

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """End it, and read the rest."""
        for pipe in (self._process.stdin,):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        for reader in self._readers:
            reader.join(10)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def running(*command: str, folder: Path) -> Iterator[Running]:
    """The program, in a home of its own. No browser is opened: `xdg-open` does nothing."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("xdg-open", "sensible-browser"):
        (programs / name).write_text("#!/bin/sh\nexit 0\n")
        (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "BROWSER": str(programs / "xdg-open"),
        "MCP_AUTO_OPEN_ENABLED": "true",
    }
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    found = Running(process)
    try:
        yield found
    finally:
        found.end()


def person(team: Team, name: str, address: str) -> str:
    """What a person does in a browser: open the address, sign in. Returns where it leads."""
    own = give_token(team.folder / "tokens", name)
    visit = Visit(team.base, "")
    sent = visit.browser.get(address)
    assert sent.status_code == 302, sent.text
    page = Page(visit.browser.get(sent.headers["location"]))
    return visit.answer(page, own).leads_to


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


CLIENTS = ("@modelcontextprotocol/sdk", "@modelcontextprotocol/client")


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("id_of", ["registered", "described"])
def test_an_official_client_gets_a_login_and_refreshes_it(
    name: str, id_of: str, team: Team, tmp_path: Path
) -> None:
    program = shutil.copy(HERE / "oauth_client.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules().resolve(), target_is_directory=True)
    more = [DESCRIBED] if id_of == "described" else []
    with running(node(), str(program), name, team.url, CALLBACK, *more, folder=tmp_path) as client:
        opened = json.loads(client.until(r'^\{"open".*'))["open"]
        client.tell(person(team, "ada", opened))
        report = json.loads(client.until(r'^\{"tools".*'))

    made = [(r["method"], urlsplit(r["url"]).path, r["status"]) for r in report["requests"]]
    assert report["tools"] == [TOOLS, TOOLS]
    assert report["refreshed"] is True
    assert report["scope"] == "kling:read kling:spend"
    assert (report["client"] == DESCRIBED) is (id_of == "described")
    assert ("POST", "/mcp", 401) in made
    assert ("GET", "/.well-known/oauth-protected-resource/mcp", 200) in made
    assert ("GET", "/.well-known/oauth-authorization-server", 200) in made
    assert (("POST", "/register", 201) in made) is (id_of == "registered")
    assert made.count(("POST", "/token", 200)) == 2


def test_mcp_remote_gets_a_login(team: Team, tmp_path: Path) -> None:
    program = str(node_modules() / "mcp-remote" / "dist" / "proxy.js")
    with running(node(), program, team.url, str(free_port()), folder=tmp_path) as remote:
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        remote.tell(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
        )
        address = remote.until(rf"{re.escape(team.base)}/authorize\?\S+")
        led = httpx.get(person(team, "ada", address))
        answer = json.loads(remote.until(r'^\{.*"id":1.*'))
        remote.tell(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        remote.tell(json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}))
        listed = json.loads(remote.until(r'^\{.*"id":2.*'))

    assert led.status_code == 200
    assert answer["result"]["serverInfo"]["name"]
    assert len(listed["result"]["tools"]) == TOOLS


def test_the_inspector_gets_a_login_and_another_one_when_asked_to(
    team: Team, tmp_path: Path
) -> None:
    launcher = str(node_modules() / LAUNCHER)
    callback = f"http://127.0.0.1:{free_port()}/oauth/callback"
    fixed = [node(), launcher, "--cli", "--format", "json", "--method", "tools/list"]
    fixed += ["--callback-url", callback]
    with running(*fixed, team.url, folder=tmp_path) as inspector:
        address = inspector.until(rf"{re.escape(team.base)}/authorize\?\S+")
        led = httpx.get(person(team, "ada", address))
        listed = inspector.until(r'"kling_account"')
    with running(*fixed, "--relogin", team.url, folder=tmp_path) as inspector:
        again = inspector.until(rf"{re.escape(team.base)}/authorize\?\S+")

    assert led.status_code == 200
    assert listed
    assert again != address


def test_the_conformance_suite_objects_to_nothing_of_the_login_service(
    team: Team, tmp_path: Path
) -> None:
    port = free_port()
    visit = Visit.of_new_program(team, redirect_uris=[f"http://127.0.0.1:{port}/callback"])
    command = [node(), str(node_modules() / SUITE), "authorization", "--url", team.base]
    command += ["--client-id", visit.id, "--resource", team.url, "-p", str(port)]
    with running(*command, "-o", str(tmp_path / "out"), folder=tmp_path) as suite:
        address = suite.until(rf"{re.escape(team.base)}/authorize\?\S+")
        led = httpx.get(person(team, "ada", address))
        suite.until(r"authorization-code-grant")
    checks = [
        check
        for found in (tmp_path / "out").rglob("checks.json")
        for check in json.loads(found.read_text())
    ]

    assert led.status_code == 200
    assert {check["id"]: check["status"] for check in checks} == {
        "authorization-server-metadata": "SUCCESS",
        "authorization-server-metadata-cimd": "SUCCESS",
        "authorization-code-grant": "SUCCESS",
    }

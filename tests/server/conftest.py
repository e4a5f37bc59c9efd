"""`--update-snapshots` writes the fault matrix anew, to be read in review; PostgreSQL runs once,
each film is made once, and the addresses of resources are read once."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver.resources import templates
from pydantic import validate_call
from tests.postgres import Postgres, postgres_server

from kling_sandbox.app import bound_socket
from kling_sandbox.film.canvas import Still
from kling_sandbox.film.script import Script

FILMS: dict[Any, bytes] = {}
make_film = Script.film
TEMPLATES: dict[Any, templates.ResourceTemplate] = {}
make_template = templates.ResourceTemplate.from_function


@pytest.fixture(scope="session", autouse=True)
def shared_templates() -> Iterator[None]:
    """Half of what a server takes to build, thousands of times, is that the SDK makes schemas of
    the same few signatures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates.ResourceTemplate, "from_function", _template)
        yield


def _template(fn: Any, **more: Any) -> templates.ResourceTemplate:
    key = (fn.__code__, more["uri_template"])
    if key not in TEMPLATES:
        TEMPLATES[key] = make_template(fn, **more)
    return TEMPLATES[key].model_copy(update={"fn": validate_call(fn)})


@pytest.fixture
def update_snapshots(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-snapshots"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with closing(bound_socket("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with postgres_server(port) as server:
        yield server


@pytest.fixture(autouse=True)
def shared_films(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a film takes a second; those of two tasks differ by the number of the task only."""
    monkeypatch.setattr(Script, "film", _film)


def _film(script: Script, path: Path) -> None:
    shown = [_seen(still) for still in (*script.stills, script.tail) if still]
    key = (replace(script, stills=(), tail=None, number=""), bool(script.tail), *shown)
    if key not in FILMS:
        make_film(script, path)
        FILMS[key] = path.read_bytes()
    else:
        copy = path.with_suffix(".copy")
        copy.write_bytes(FILMS[key])
        copy.replace(path)


def _seen(still: Still) -> Still | bytes:
    return hashlib.sha256(still.path.read_bytes()).digest() if still.path else still

"""`--update-snapshots` writes the fault matrix anew, to be read in review; PostgreSQL runs once,
each film is made once, and what many servers have alike is built once."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache, partialmethod, wraps
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import stamina
from jsonschema import Draft202012Validator
from mcp.server.mcpserver.resources import templates, types
from pydantic import validate_call
from starlette import routing
from tests.postgres import Postgres, postgres_server

from kling_sandbox.app import bound_socket
from kling_sandbox.film.canvas import Still
from kling_sandbox.film.script import Script

make_film = Script.film
TEMPLATES: dict[Any, templates.ResourceTemplate] = {}
make_template = templates.ResourceTemplate.from_function


@pytest.fixture(scope="session", autouse=True)
def shared_schemas() -> Iterator[None]:
    """Most of what a server, its sandbox and its client take to build, thousands of times, is
    that libraries make schemas of the same few signatures, judge the same schemas of answers, and
    compile the same paths."""
    judged: set[str] = set()
    judge = Draft202012Validator.check_schema

    def check_schema(schema: Any, **more: Any) -> None:
        text = json.dumps(schema, sort_keys=True)
        if text not in judged:
            judge(schema, **more)
            judged.add(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates.ResourceTemplate, "from_function", _template)
        patch.setattr(types, "validate_call", _validated_when_called)
        patch.setattr(Draft202012Validator, "check_schema", check_schema)
        patch.setattr(routing, "compile_path", cache(routing.compile_path))
        yield


def _template(fn: Any, **more: Any) -> templates.ResourceTemplate:
    key = (fn.__code__, more["uri_template"])
    if key not in TEMPLATES:
        TEMPLATES[key] = make_template(fn, **more)
    return TEMPLATES[key].model_copy(update={"fn": _validated_when_called(fn)})


def _validated_when_called(fn: Any) -> Any:
    @wraps(fn)
    async def call(*given: Any, **named: Any) -> Any:
        return await validate_call(fn)(*given, **named)

    return call if iscoroutinefunction(fn) else validate_call(fn)


@pytest.fixture
def no_pauses() -> Iterator[None]:
    """A read that failed is tried again as often as usual, at once."""
    with stamina.set_testing(True, attempts=99, cap=True):
        yield


@pytest.fixture
def update_snapshots(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-snapshots"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with closing(bound_socket("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with postgres_server(port) as server:
        yield server


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one test run share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "films"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def shared_films(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a film takes a quarter of a second; those of two tasks differ by the number of the
    task only."""
    monkeypatch.setattr(Script, "film", partialmethod(_film, films))


def _film(script: Script, films: Path, path: Path) -> None:
    shown = [_seen(still) for still in (*script.stills, script.tail) if still]
    key = (replace(script, stills=(), tail=None, number=""), bool(script.tail), *shown)
    film = films / hashlib.sha256(repr(key).encode()).hexdigest()
    if not film.exists():
        make_film(script, film)
    copy = path.with_suffix(".copy")
    shutil.copyfile(film, copy)
    copy.replace(path)


def _seen(still: Still) -> Still | bytes:
    return hashlib.sha256(still.path.read_bytes()).digest() if still.path else still

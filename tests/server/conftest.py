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
from inspect import iscoroutinefunction, isfunction
from pathlib import Path
from typing import Any

import pytest
import stamina
from jsonschema import Draft202012Validator
from mcp.client.session import ClientSession
from mcp.server.mcpserver import server as sdk_server
from mcp.server.mcpserver.resources import templates, types
from mcp.shared.uri_template import UriTemplate
from pydantic import validate_call
from starlette import routing
from tests.postgres import Postgres, postgres_server

from kling_mcp.protocol import server
from kling_sandbox.app import bound_socket
from kling_sandbox.film.canvas import Still
from kling_sandbox.film.script import Script
from kling_tools.prompts import prompt
from kling_tools.tools.tool import KlingTool
from kling_tools.tools.toolset import build_toolset

make_film = Script.film
TEMPLATES: dict[Any, templates.ResourceTemplate] = {}
make_template = templates.ResourceTemplate.from_function
TOOLSETS: dict[str, list[KlingTool]] = {}
TOLD: dict[str, str] = {}
CONTEXTS: dict[Any, str | None] = {}
is_async = routing.is_async_callable
find_context = sdk_server.find_context_parameter
validate_result = ClientSession.validate_tool_result


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
        patch.setattr(routing, "is_async_callable", _is_async)
        patch.setattr(prompt, "PromptArgument", cache(prompt.PromptArgument))
        patch.setattr(UriTemplate, "parse", staticmethod(cache(UriTemplate.parse)))
        patch.setattr(sdk_server, "find_context_parameter", _context_parameter)
        patch.setattr(server, "build_toolset", _toolset)
        patch.setattr(ClientSession, "validate_tool_result", _validated)
        yield
    assert {key: _told(tools) for key, tools in TOOLSETS.items()} == TOLD, (
        "a test wrote into a tool that servers share"
    )


def _template(fn: Any, **more: Any) -> templates.ResourceTemplate:
    key = (fn.__code__, more["uri_template"])
    if key not in TEMPLATES:
        TEMPLATES[key] = make_template(fn, **more)
    return TEMPLATES[key].model_copy(update={"fn": _validated_when_called(fn)})


def _validated_when_called(fn: Any) -> Any:
    @wraps(fn)
    async def later(*given: Any, **named: Any) -> Any:
        return await validate_call(fn)(*given, **named)

    @wraps(fn)
    def call(*given: Any, **named: Any) -> Any:
        return validate_call(fn)(*given, **named)

    return later if iscoroutinefunction(fn) else call


def _is_async(called: Any) -> Any:
    return iscoroutinefunction(called) if isfunction(called) else is_async(called)


def _context_parameter(fn: Any) -> str | None:
    if fn.__code__ not in CONTEXTS:
        CONTEXTS[fn.__code__] = find_context(fn)
    return CONTEXTS[fn.__code__]


def _toolset(*given: Any, **named: Any) -> list[KlingTool]:
    key = repr((given, named))
    if key not in TOOLSETS:
        TOOLSETS[key] = build_toolset(*given, **named)
        TOLD[key] = _told(TOOLSETS[key])
    return [tool.model_copy() for tool in TOOLSETS[key]]


def _told(tools: list[KlingTool]) -> str:
    """What a list of tools tells, and each copy of a tool shares with the others."""
    shared = [
        (tool.name, tool.description, tool.parameters, tool.output_schema, tool.meta)
        for tool in tools
    ]
    return json.dumps([shared, [repr(tool.annotations) for tool in tools]])


async def _validated(session: ClientSession, name: str, result: Any) -> None:
    """A client asks for the whole list of tools to know the schema of the first answer that it
    gets; here it is known from the start."""
    if name in _answers():
        session._tool_output_schemas.setdefault(name, _answers()[name])
    await validate_result(session, name, result)


@cache
def _answers() -> dict[str, dict[str, Any] | None]:
    """The schemas of what all tools answer: they are open, so that those of a server for one
    person, which names paths, and of one for a team, which names links, are one."""
    found: dict[str, Any] = {}
    for hosted in (False, True):
        for tool in build_toolset(["kling"], models={}, hosted=hosted):
            before, schema = found.get(tool.name) or {}, tool.output_schema
            properties = {**before.get("properties", {}), **(schema or {}).get("properties", {})}
            found[tool.name] = schema and {**schema, "properties": properties}
    return found


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

"""The floors of the house, read from the imports: each package takes only from those below it."""

import ast
import re
import shutil
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from kling_tools.tools.toolset import build_toolset

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (ROOT / "server", ROOT / "tools")

MACHINE = (
    "cli",
    "hosting",
    "protocol",
    "service",
    "runtime",
    "films",
    "polling",
    "submission",
    "outputs",
    "tasks",
    "doctor",
    "ledger",
    "providers",
    "inputs",
    "settings",
    "background",
    "principal",
    "version",
)
"""The floors of `kling_mcp`, the highest first."""

CONTRACT = (
    "tools",
    "prompts",
    "service",
    "results",
    "rules",
    "requests",
    "products",
    "addresses",
    "errors",
    "decorations",
    "faults",
    "quoting",
)
"""The floors of `kling_tools`, the highest first."""

SPEAK_HTTP = {
    "kling_mcp.providers",
    "kling_mcp.hosting.login",
    "kling_mcp.hosting.sign_in.clients",
}
"""Who may import an HTTP client at run time: the providers, and what fetches an issuer's keys and
the descriptions of programs that people sign in for."""

MACHINERY = {
    *("kling_mcp", "kling_sandbox", "httpx", "sqlite3", "dotenv", "starlette", "PIL", "av"),
}
"""What the contract must not know."""


def modules() -> dict[str, Path]:
    found = {}
    for source in SOURCES:
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def imports_of(path: Path) -> set[str]:
    """Every module named in an import, wherever it stands; those for type hints too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def ours(name: str) -> str:
    """The module of ours that an imported name belongs to; empty when it is none of ours."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def imports() -> dict[str, set[str]]:
    """What each module of ours imports of ours."""
    return {
        name: {found for some in imports_of(path) if (found := ours(some)) and found != name}
        for name, path in MODULES.items()
    }


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def test_no_module_imports_itself_through_others() -> None:
    inward = {
        name: {found for found in imported if not name.startswith(f"{found}.")}
        for name, imported in imports().items()
    }

    assert circle_in(inward) == []


def test_no_package_imports_itself_through_others() -> None:
    rooms: dict[str, set[str]] = {}
    for name, imported in imports().items():
        rooms.setdefault(room(name), set()).update({room(i) for i in imported} - {room(name)})

    assert circle_in({a: {b for b in bs if b.count(".")} for a, bs in rooms.items()}) == []


@pytest.mark.parametrize(("package", "floors"), [("kling_mcp", MACHINE), ("kling_tools", CONTRACT)])
def test_a_floor_imports_only_from_those_below(package: str, floors: tuple[str, ...]) -> None:
    there = {name.split(".")[1] for name in MODULES if name.startswith(f"{package}.")}
    assert there - {"__main__"} == {*floors}

    climbing = []
    for name, imported in imports().items():
        if not name.startswith(f"{package}.") or name.endswith("__main__"):
            continue
        own = floors.index(name.split(".")[1])
        for other in imported:
            if other.startswith(f"{package}.") and floors.index(other.split(".")[1]) < own:
                climbing.append(f"{name} -> {other}")

    assert climbing == []


def test_the_contract_and_the_sandbox_know_nothing_of_the_machine() -> None:
    for name, path in MODULES.items():
        roots = {imported.partition(".")[0] for imported in imports_of(path)}
        if name.startswith("kling_tools"):
            assert not roots & MACHINERY, name
        if name.startswith("kling_sandbox"):
            assert not roots & {"kling_mcp", "kling_tools"}, name


def test_only_the_providers_speak_http() -> None:
    users = {
        name
        for name, path in MODULES.items()
        if "httpx" in {imported.partition(".")[0] for imported in imports_of(path)}
        and not name.startswith("kling_sandbox")
    }

    assert {u for u in users if u not in SPEAK_HTTP and room(u) not in SPEAK_HTTP} == set()


def packages() -> dict[str, str]:
    """The packages of the two houses, with their docstrings."""
    return {
        name: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        for name, path in MODULES.items()
        if path.name == "__init__.py" and name.count(".") == 1
        if not name.startswith("kling_sandbox")
    }


def test_each_package_says_what_it_does_who_imports_it_and_where_its_tests_are() -> None:
    for name, told in packages().items():
        tests = told.rpartition("Tests: ")[2].split(".")[0].split()
        assert tests, name
        assert told.count("Imported by ") == 1, name
        for folder in tests:
            assert (ROOT / folder.rstrip(",")).exists(), f"{name}: {folder}"


def importers_of(package: str) -> set[str]:
    """Who imports a package, also for type hints alone: neighbours by their own names, and rooms of
    the other house. The public face, at the top of a house, does not count."""
    house = package.partition(".")[0]
    rooms = {room(name) for name, imported in imports().items() if package in map(room, imported)}
    return {name.removeprefix(f"{house}.") for name in rooms - {package} if "." in name}


@pytest.mark.parametrize("package", packages())
def test_a_package_says_who_imports_it(package: str) -> None:
    house, _, own = package.partition(".")
    floors = {"kling_mcp": MACHINE, "kling_tools": CONTRACT}[house]
    told = re.split(r"\.\s|;", packages()[package].partition("Imported by ")[2])[0]
    everything, but, rest = told.partition("everything above it")
    named = {*re.findall(r"`([\w.]+)`", rest if but else everything)}
    who = {*floors[: floors.index(own)]} - named if but else named

    found = importers_of(package)
    if "kling_mcp" in who:
        found = {"kling_mcp" if name.startswith("kling_mcp.") else name for name in found}
    assert who == found


def test_the_server_for_one_person_starts_without_the_wing_for_teams(tmp_path: Path) -> None:
    for source in SOURCES:
        shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("*.pyc.*"))
    shutil.rmtree(tmp_path / "server" / "kling_mcp" / "hosting")
    program = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "import anyio\n"
        "from mcp import Client\n"
        "import kling_mcp\n"
        "from kling_mcp.protocol.server import build_server\n"
        "from kling_mcp.settings.settings import load_settings\n"
        "async def main():\n"
        "    async with Client(build_server(load_settings(provider='sandbox'))) as client:\n"
        "        print(kling_mcp.__file__, len((await client.list_tools()).tools))\n"
        "        print((await client.call_tool('kling_list_tasks', {})).is_error)\n"
        "anyio.run(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "server"), str(tmp_path / "tools")],
        capture_output=True,
        text=True,
        env={"KLING_MCP_HOME": str(tmp_path / "home"), "PATH": ""},
        cwd=tmp_path,
    )

    assert done.stderr == ""
    assert done.stdout.split()[0].startswith(str(tmp_path))
    assert done.stdout.split()[1:] == [str(len(build_toolset(["sandbox"], models={}))), "False"]

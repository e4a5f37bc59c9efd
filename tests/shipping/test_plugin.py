"""The plugin: judged by the tools of its formats, started as clients start it, with the program on
the computer and without."""

import io
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp_types import TextContent
from plugin.start import SOURCE, answer_instead
from tests.outside_suites import node_modules, outside_python

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "plugin"
MARKETPLACE = ROOT / ".claude-plugin" / "marketplace.json"
INSTALL = PLUGIN / "skills" / "kling-video" / "references" / "install.md"
WITHOUT_PLACES = "import sys; from plugin import start; start.PLACES = (); start.main()"
FAILING = "#!/bin/sh\necho 'error: the network is unreachable' >&2\nexit 2\n"
NEVER_FETCHES = (
    '#!/bin/sh\necho "$@" >> "$HOME/asked"\nshift 3\n[ "$1" = --version ] || exec {program} "$@"\n'
)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_its_files_say_the_same_of_it() -> None:
    (listed,) = read(MARKETPLACE)["plugins"]
    about, server = read(PLUGIN / "plugin.json"), read(ROOT / "server.json")
    shared = ("name", "description", "homepage", "license", "keywords")
    claudes = json.loads(json.dumps(listed["mcpServers"]).replace("CLAUDE_PLUGIN", "PLUGIN"))

    assert {name: listed[name] for name in shared} == {name: about[name] for name in shared}
    assert claudes == read(PLUGIN / "mcp.json")["mcpServers"]
    assert about["description"] == server["description"]
    assert (ROOT / listed["source"]) == PLUGIN


def test_all_name_the_place_that_the_program_is_fetched_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = project["urls"]["Source"]

    assert f"git+{source}" == SOURCE
    assert read(PLUGIN / "plugin.json")["repository"] == source
    assert f"`uv tool install {SOURCE}`" in INSTALL.read_text(encoding="utf-8")
    assert f"`pipx install {SOURCE}`" in INSTALL.read_text(encoding="utf-8")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The marketplace with the plugin, without the rest of the project."""
    shutil.copytree(PLUGIN, tmp_path / "copy" / "plugin")
    shutil.copytree(MARKETPLACE.parent, tmp_path / "copy" / ".claude-plugin")
    return tmp_path / "copy"


def skillsaw(folder: Path) -> list[str]:
    """What skillsaw has against the plugin and against the marketplace. It carries the schemas of
    Agent Plugins."""
    found: list[str] = []
    for place, *kinds in ((".", "marketplace"), ("plugin", "agent-plugin", "agentskills")):
        types = [word for kind in kinds for word in ("--type", kind)]
        command = [outside_python(), "-m", "skillsaw", "lint", place, "--format", "json", *types]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        found += [one["rule_id"] for one in json.loads(ran.stdout)["violations"]]
    return found


def skills_ref(folder: Path) -> list[str]:
    """What the reference library of the skill format says."""
    skill = str(folder / "plugin" / "skills" / "kling-video")
    command = [outside_python(), "-m", "skills_ref.cli", "validate", skill]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return [] if ran.returncode == 0 else [ran.stdout + ran.stderr]


def claude(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Claude Code with these words, in an empty home beside the folder."""
    (tool,) = node_modules().glob("@anthropic-ai/claude-code-linux-*/claude")
    return subprocess.run(
        [tool, *words],
        cwd=folder,
        env={
            "HOME": str(folder.parent),
            "PATH": "/usr/bin:/bin",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def claude_code(folder: Path) -> list[str]:
    """What Claude Code says of its marketplace."""
    ran = claude(folder, "plugin", "validate", "--strict", ".")
    return [] if ran.returncode == 0 else [ran.stdout + ran.stderr]


@pytest.mark.campaign
@pytest.mark.parametrize("judge", [skillsaw, skills_ref, claude_code])
def test_a_judge_of_its_formats_finds_nothing(
    judge: Callable[[Path], list[str]], copied: Path
) -> None:
    assert judge(copied) == []


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("judge", "file", "right", "wrong"),
    [
        (skillsaw, "plugin/plugin.json", '"kling-mcp"', '"Kling MCP"'),
        (skillsaw, "plugin/mcp.json", '"stdio"', '"pipe"'),
        (skillsaw, "plugin/skills/kling-video/SKILL.md", "references/prompts.md", "prompts.md"),
        (skills_ref, "plugin/skills/kling-video/SKILL.md", "name: kling-video", "name: kling"),
        (claude_code, ".claude-plugin/marketplace.json", '"source"', '"from"'),
    ],
)
def test_that_judge_finds_what_is_wrong(
    judge: Callable[[Path], list[str]], file: str, right: str, wrong: str, copied: Path
) -> None:
    text = (copied / file).read_text(encoding="utf-8")
    (copied / file).write_text(text.replace(right, wrong), encoding="utf-8")

    assert text.count(right)
    assert judge(copied)


@pytest.mark.campaign
def test_claude_code_installs_it_and_starts_its_server(copied: Path) -> None:
    added = claude(copied, "plugin", "marketplace", "add", str(copied))
    installed = claude(copied, "plugin", "install", "kling-mcp@kling-mcp")
    servers = claude(copied, "mcp", "list")

    assert (added.returncode, installed.returncode) == (0, 0), added.stdout + installed.stdout
    assert "plugin:kling-mcp:kling" in servers.stdout
    assert "Connected" in servers.stdout


def test_the_page_of_clients_names_the_claude_code_that_is_tried() -> None:
    tried = read(ROOT / "tests" / "outside" / "package.json")["dependencies"]
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")

    assert f"Claude Code {tried['@anthropic-ai/claude-code']} " in page


def started(folder: Path, *programs: tuple[str, str]) -> StdioServerParameters:
    """The plugin's server on a computer that has only these programs (names and scripts)."""
    binaries = folder / "bin"
    binaries.mkdir()
    for name, script in programs:
        (binaries / name).write_text(script, encoding="utf-8")
        (binaries / name).chmod(0o755)
    environment = {
        "PATH": str(binaries),
        "HOME": str(folder),
        "KLING_MCP_HOME": str(folder / "home"),
        "PYTHONPATH": str(ROOT),
    }
    return StdioServerParameters(
        command=sys.executable, args=["-c", WITHOUT_PLACES], env=environment
    )


def program() -> str:
    return str(Path(sys.executable).with_name("kling-mcp"))


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_without_the_program_it_says_how_to_install_it(tmp_path: Path, mode: str) -> None:
    async with Client(stdio_client(started(tmp_path)), mode=mode) as client:
        (tool,) = (await client.list_tools()).tools
        answer = await client.call_tool(tool.name, {})
        instructions = client.instructions or ""

    (said,) = answer.content
    assert isinstance(said, TextContent)
    assert answer.is_error
    for text in (said.text, instructions):
        assert "is not installed" in text
        assert f"`uv tool install {SOURCE}`" in text
    assert [*tmp_path.rglob("*")] == [tmp_path / "bin"]


def test_what_is_no_request_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"id": 1, "method": "initialize", "params": ["x"]}',
        b'{"id": 2, "method": "initialize", "params": {"protocolVersion": 7}}',
        b'{"id": 3, "method": ["ping"], "params": 5}',
        b'{"id": 4, "method": "ping"}',
    ]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(lines))))
    answer_instead("Install it.")
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [one["id"] for one in said] == [1, 2, 3, 4]
    assert [one["result"]["protocolVersion"] for one in said[:2]] == ["2025-11-25"] * 2
    assert said[3]["result"] == {}


@pytest.mark.anyio
async def test_where_uvx_cannot_fetch_the_program_it_says_that_too(tmp_path: Path) -> None:
    async with Client(stdio_client(started(tmp_path, ("uvx", FAILING)))) as client:
        answer = await client.call_tool("kling_setup", {})

    assert "uvx could not fetch it (error: the network is unreachable)" in str(answer.content)


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["kling-mcp", "uvx"])
async def test_with_the_program_it_is_the_program(tmp_path: Path, way: str) -> None:
    scripts = {
        "kling-mcp": f'#!/bin/sh\nexec {program()} "$@"\n',
        "uvx": NEVER_FETCHES.format(program=program()),
    }
    async with Client(stdio_client(started(tmp_path, (way, scripts[way])))) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]

    assert "kling_image_to_video" in names
    if way == "uvx":
        asked = (tmp_path / "asked").read_text().splitlines()
        assert asked == [f"--from {SOURCE} kling-mcp --version", f"--from {SOURCE} kling-mcp"]

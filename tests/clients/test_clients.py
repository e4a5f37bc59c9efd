"""Clients that other people wrote do the main job: submit, wait, save, and read a refusal.

The clients in Python have environments of their own, made from `agents.txt` and `langchain.txt`
here and named by `KLING_MCP_AGENTS_PYTHON` and `KLING_MCP_LANGCHAIN_PYTHON`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.clients.inspector import Inspector
from tests.outside_suites import client_python, node, node_modules
from tests.server.protocol.test_http import served
from tests.server.serving import picture

from kling_tools import build_toolset

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SERVER = [sys.executable, "-m", "kling_mcp"]
REFUSAL = "makes 5 or 10 s, not 7"


@dataclass(frozen=True)
class Case:
    """A program here or the Inspector, its package, the era it speaks, and how it is connected."""

    client: str
    package: str
    era: str
    transport: str

    def __str__(self) -> str:
        return f"{self.client}-{self.era}-{self.transport}"


CASES = [
    Case(client, package, era, transport)
    for client, package, eras in (
        ("ts_client.mjs", "@modelcontextprotocol/client", ("legacy", "modern")),
        ("ts_sdk.mjs", "@modelcontextprotocol/sdk", ("legacy",)),
        ("Inspector", "@modelcontextprotocol/inspector", ("legacy", "modern")),
        ("fastmcp_client.py", "fastmcp", ("legacy", "modern")),
        ("pydantic_ai_agent.py", "pydantic-ai-slim", ("modern",)),
        ("openai_agents_agent.py", "openai-agents", ("modern",)),
        ("langchain_agent.py", "langchain-mcp-adapters", ("legacy",)),
    )
    for era in eras
    for transport in ("stdio", "HTTP")
]


def interpreter(client: str) -> str:
    """The Python whose environment holds the client; skips where there is none."""
    return client_python("langchain" if client == "langchain_agent.py" else "agents")


def run(*command: str, folder: Path) -> dict[str, Any]:
    """What the program prints, as JSON; AssertionError with its errors when it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def environment(folder: Path) -> dict[str, str]:
    """What the clients, and the servers that they start, see."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "KLING_MCP_HOME": str(folder / "home"),
        "KLING_MCP_OUTPUT_DIR": str(folder / "videos"),
        "KLING_MCP_SANDBOX_QUEUE_S": "0",
        "KLING_MCP_SANDBOX_RENDER_S": "0",
        "KLING_MCP_SANDBOX_SIDE_PX": "300",
    }


def pinned() -> dict[str, str]:
    """Name and version of every package that the clients are installed from."""
    versions: dict[str, str] = json.loads((ROOT / "tests/outside/package.json").read_text())[
        "dependencies"
    ]
    for name in ("agents.txt", "langchain.txt"):
        found = re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)$", (HERE / name).read_text(), re.M)
        versions.update(found)
    return versions


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def report(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the client did, against a server of its own."""
    program = HERE / case.client
    runner = node() if program.suffix != ".py" else interpreter(case.client)
    folder = tmp_path_factory.mktemp("client")
    image = picture(folder)
    if program.suffix == ".mjs":
        program = Path(shutil.copy(program, folder))
        modules = folder / "node_modules"
        modules.symlink_to(node_modules().resolve(), target_is_directory=True)
    with ExitStack() as stack:
        target = SERVER
        if case.transport == "HTTP":
            target = [stack.enter_context(served(folder))[1]]
        if case.client == "Inspector":
            yield Inspector(case.era, target, environment(folder), folder).report(image)
        else:
            yield run(runner, str(program), case.era, image, *target, folder=folder)


@pytest.mark.campaign
def test_the_client_gets_its_video_and_speaks_the_expected_protocol(
    case: Case, report: dict[str, Any]
) -> None:
    offered = build_toolset(["sandbox"], models={}, uploads=case.transport == "HTTP")
    assert report["tools"] == len(offered)
    assert Path(report["path"]).read_bytes()[4:8] == b"ftyp"
    assert report["era"] == case.era
    assert report["version"] == pinned()[case.package]


@pytest.mark.campaign
def test_the_client_shows_why_a_request_is_refused_unless_it_objects_to_the_answer(
    case: Case, report: dict[str, Any]
) -> None:
    assert REFUSAL in report["refusal"]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program = str(HERE / "converters.py")
    folder = tmp_path_factory.mktemp("converters")
    return run(interpreter("converters.py"), program, *SERVER, folder=folder)


@pytest.mark.campaign
@pytest.mark.parametrize(
    "converter",
    [
        "openai-agents",
        "OpenAIJsonSchemaTransformer",
        "AnthropicJsonSchemaTransformer",
        "GoogleJsonSchemaTransformer",
        "GoogleOpenAPISchemaTransformer",
    ],
)
def test_a_converter_keeps_all_that_the_schemas_say(
    converted: dict[str, Any], converter: str
) -> None:
    assert converted[converter]["facts"] > 200
    assert converted[converter]["lost"] == []


@pytest.mark.campaign
def test_google_genai_drops_only_lengths(
    converted: dict[str, Any],
) -> None:
    # It keeps the names that its own JSONSchema has, and they are min_items, max_length and so on.
    lost = converted["google-genai"]["lost"]
    assert {kind for _, kind, _ in lost} <= {"minItems", "maxItems", "maxLength"}


def test_the_document_names_the_versions_that_are_tested() -> None:
    document = (ROOT / "docs" / "clients.md").read_text()
    named = dict(re.findall(r"^\| `([^`]+)` \| ([\d.]+) \|", document, re.M))
    expected = {case.package: pinned()[case.package] for case in CASES}

    assert named == expected

"""Everything in the README, CONTRIBUTING.md and docs/*.md that can run does run; for the rest it is
said why."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.docs.blocks import BARE, PAGES, ROOT, Block, blocks, lines
from tests.server.serving import SIDE_PX, SMALL_PX

from kling_mcp.cli import main as cli
from kling_mcp.providers.rows import read_providers

SHELL = ("sh", "bash", "console")
NOT_RUN = {
    "python -m pip install ": "set-up: .ci/run does it, word for word",
    "claude plugin ": "tests/shipping/test_plugin.py does it, with the plugin of this tree",
    "docker compose ": "wants Docker and its images; tests/server/replicas runs the same without",
    "KLING_MCP_TOKENS=tokens ": "tests/examples/test_team_client.py does it, on this machine",
    **dict.fromkeys(
        ("git apply ", "python -m pytest tests/tools", "python try_product.py"),
        "tests/docs/test_new_product.py does it in a copy",
    ),
    "sqlite3 ": "tests/server/ledger/test_ledger_document.py runs it on a ledger",
}
"""The beginnings of commands that are not run here, and why."""

ELSEWHERE = {
    "sql": "tests/server/ledger/test_ledger_document.py runs it on a ledger",
    "mermaid": "a drawing",
    "diff": "tests/docs/test_new_product.py applies it to a copy",
}
"""Languages whose blocks are not run here, and why."""

SERVES = ("kling-mcp sandbox", "kling-mcp serve")
"""Commands that run until they are told to stop; they are run until they say that they serve."""

FIXED_PORT = re.compile(r"--port \d+")
STARTED = re.compile(r"https?://127\.0\.0\.1:\d+")
FILES = {
    "providers.json": ("providers.md", "json", "mine"),
    "providers.toml": ("providers.md", "toml", "mine"),
    "tea.json": ("command-line.md", "json", "shots"),
    "gateway.json": ("CONTRIBUTING.md", "json", '"gateway": {'),
    "models.json": ("CONTRIBUTING.md", "json", '"models": {'),
    "try_gateway.py": ("CONTRIBUTING.md", "python", "gateway"),
    "try_model.py": ("CONTRIBUTING.md", "python", '"model_name": "kling-v3-5"'),
    "try_product.py": ("CONTRIBUTING.md", "python", "kling_loop"),
}
"""Files that commands on the pages name, and the block that shows each: page, language, a word."""

PAPERS = (
    *PAGES,
    ROOT / "README.zh-CN.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "examples").glob("*.md")),
)
"""What people read about the project."""

OURS = re.compile(
    r"`((?:server|tools|tests|docs|examples|deploy|bundle|benchmarks|plugin)/[\w./-]+|\.ci/run)[`:]"
)
WRITTEN_BY_READERS = ("deploy/tokens",)
LINK = re.compile(r"\]\((?!https:)([^)#]+)(?:#[^)]*)?\)")
INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )*(?:uvx --from \S+ )?kling-mcp(?: [^`\n]+)?)`")
PLACEHOLDERS = {"CLIENT": "cursor", "NAME": "ada", "[PHOTO]": "photo.png"}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the files that the pages speak of."""
    for name, (page, language, word) in FILES.items():
        (shown,) = [b for b in blocks(language) if b.page == page and word in b.text]
        (tmp_path / name).write_text(shown.text, encoding="utf-8")
    shutil.copy(ROOT / "examples/pictures/astronaut.png", tmp_path / "photo.png")
    return tmp_path


def environment(folder: Path, side_px: int = SIDE_PX) -> dict[str, str]:
    """What a person without a key sees, with `kling-mcp` on the path."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "KLING_MCP_HOME": str(folder / "home"),
        "KLING_MCP_OUTPUT_DIR": str(folder / "videos"),
        "KLING_MCP_SANDBOX_QUEUE_S": "0",
        "KLING_MCP_SANDBOX_RENDER_S": "0",
        "KLING_MCP_SANDBOX_SIDE_PX": str(side_px),
    }


def why_not(command: str) -> str:
    return next((why for start, why in NOT_RUN.items() if command.startswith(start)), "")


def shell_block(block: Block) -> Any:
    """Each that runs starts several processes."""
    quick = all(map(why_not, lines(block)))
    return pytest.param(block, marks=() if quick else pytest.mark.campaign, id=str(block))


def test_the_commands_of_the_readme_run(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, as the quick run starts none for them."""
    shown = [line for block in blocks(*SHELL) if block.page == "README.md" for line in lines(block)]
    commands = [command for command in shown if not why_not(command)]
    for name in [name for name in os.environ if "KLING" in name or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    for name, value in environment(desk, SMALL_PX).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(desk)

    assert commands
    for command in commands:
        program, *words = shlex.split(command)
        assert (program, cli.main(words)) == ("kling-mcp", 0)


@pytest.mark.parametrize("block", [*map(shell_block, blocks(*SHELL))])
def test_a_shell_block_runs_or_it_is_said_why_not(block: Block, desk: Path) -> None:
    commands = [command for command in lines(block) if not why_not(command)]
    if not commands:
        return
    if any(command.startswith(SERVES) for command in commands):
        (command,) = commands
        assert STARTED.search(first_line(command, desk))
        return
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=desk,
        env=environment(desk),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def first_line(command: str, folder: Path) -> str:
    """What a server says when it is ready; it is stopped then."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {FIXED_PORT.sub('--port 0', command)}"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        return next((line for line in process.stdout if STARTED.search(line)), "")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_a_json_block_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_a_toml_block_is_toml(block: Block) -> None:
    tomllib.loads(block.text)


def test_every_block_says_its_language_and_every_language_is_known() -> None:
    known = {*SHELL, "json", "toml", "python", *ELSEWHERE}

    assert {block.language for block in blocks()} <= known
    for page in PAGES:
        assert len(BARE.findall(page.read_text(encoding="utf-8"))) == sum(
            block.page == page.name for block in blocks()
        )


def test_every_program_is_a_file_that_a_command_runs() -> None:
    programs = [name for name, (_, language, _) in FILES.items() if language == "python"]
    run = [word for block in blocks(*SHELL) for line in lines(block) for word in line.split()]

    assert len(programs) == len(blocks("python"))
    assert set(programs) <= set(run)


@pytest.mark.parametrize("page", PAPERS, ids=lambda page: page.name)
def test_every_file_and_folder_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = [ROOT / path for path in OURS.findall(text) if path not in WRITTEN_BY_READERS]
    linked = [page.parent / target for target in LINK.findall(text)]

    assert [str(path) for path in (*named, *linked) if not path.exists()] == []


HEADING = re.compile(r"^#+ (.+)$", re.M)
PLACE = re.compile(r"\]\((?!https:)([^)#]*)#([^)]+)\)")


def places(page: Path) -> set[str]:
    """The names by which a link finds the headings of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    words = (re.sub(r"[^\w -]", "", heading).lower() for heading in HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in words}


@pytest.mark.parametrize("page", PAPERS, ids=lambda page: page.name)
def test_every_heading_that_a_page_links_to_is_there(page: Path) -> None:
    links = PLACE.findall(page.read_text(encoding="utf-8"))

    missing = [
        f"{file}#{place}"
        for file, place in links
        if place not in places(page.parent / file if file else page)
    ]

    assert missing == []


def test_nothing_stands_among_the_exceptions_that_is_on_no_page() -> None:
    shown = [command for block in blocks(*SHELL) for command in lines(block)]

    for start in NOT_RUN:
        assert any(command.startswith(start) for command in shown), start


def inline() -> list[str]:
    """Commands within the text."""
    found = [INLINE.findall(page.read_text(encoding="utf-8")) for page in PAGES]
    return sorted({command for commands in found for command in commands})


def words_of(command: str) -> Iterator[str]:
    _, _, given = command.partition("kling-mcp")
    for word in given.replace("…", "").split():
        yield PLACEHOLDERS.get(word, word)


@pytest.mark.parametrize("command", inline())
def test_a_command_within_the_text_is_one_that_the_program_takes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words_of(command), "--help"])

    assert ended.value.code == 0, capsys.readouterr().err


def test_the_rows_of_the_providers_page_are_the_same_in_both_languages(desk: Path) -> None:
    rows = [read_providers(desk / name)["mine"] for name in ("providers.json", "providers.toml")]

    assert rows[0] == rows[1]
    assert rows[0].base_url == "https://gateway.example"

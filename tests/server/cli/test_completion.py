"""`kling-mcp completion SHELL` prints what the shell needs to complete the command's words."""

import subprocess
import sys
from pathlib import Path

import pytest

from kling_mcp.cli import main as cli
from kling_mcp.cli.client_configs.clients import CLIENTS
from kling_mcp.cli.completion import SHELLS

ASK = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_shtab_kling_mcp
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""What bash does when the tab key is pressed after these words."""


@pytest.fixture(params=SHELLS)
def printed(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["completion", request.param]) == 0
    return capsys.readouterr().out


def completed(folder: Path, *words: str) -> list[str]:
    script = subprocess.run(
        [sys.executable, "-m", "kling_mcp", "completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (folder / "script").write_text(script, encoding="utf-8")
    asked = ["bash", "-c", ASK, "bash", str(folder / "script"), "kling-mcp", *words]
    found = subprocess.run(asked, capture_output=True, text=True, check=True)
    return sorted(found.stdout.split())


def test_every_shell_learns_commands_options_and_clients(printed: str) -> None:
    for word in ("doctor", "install", "print", "max-units-per-day", *CLIENTS):
        assert word in printed


def test_no_shell_offers_a_key_as_an_option(printed: str) -> None:
    assert "api-key" not in printed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["d"], ["demo", "doctor"]),
        (["install", "cl"], ["claude-code", "claude-desktop"]),
        (["uninstall", "zed", "--y"], ["--yes"]),
        (["completion", ""], sorted(SHELLS)),
    ],
)
def test_bash_completes_what_was_begun(
    words: list[str], expected: list[str], tmp_path: Path
) -> None:
    assert completed(tmp_path, *words) == expected


def test_an_unknown_shell_is_refused_with_those_that_are_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["completion", "cmd"])

    assert ended.value.code == 2
    assert "fish" in capsys.readouterr().err

"""The command line: what answers at once, what is refused in one line."""

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from kling_mcp.cli import demo
from kling_mcp.cli import main as cli
from kling_mcp.settings.settings import Settings, environment_name
from kling_mcp.version import __version__
from kling_sandbox import cli as sandbox_command
from kling_tools.errors import KlingError

SECRETS = (
    *("KLING_API_KEY", "KLING_ACCESS_KEY", "KLING_SECRET_KEY", "COMETAPI_API_KEY"),
    *("ANYFAST_API_KEY", "POWERTOKENS_API_KEY", "NEWAPI_API_KEY", "KLING_MCP_DATABASE"),
)


@pytest.fixture(autouse=True)
def empty_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder of its own, and no setting from outside."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    program = ["-c", code] if code else ["-m", "kling_mcp"]
    command = [sys.executable, *program, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )


def test_python_m_tells_its_version() -> None:
    done = run("--version")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"kling-mcp {__version__}\n", "")


LOADED = """
import json, sys
from kling_mcp.cli.main import main
for option in ("--version", "--help"):
    try:
        main([option])
    except SystemExit as end:
        assert not end.code
heavy = ("mcp", "httpx", "starlette", "uvicorn", "sqlite3", "av", "PIL", "jwt", "numpy")
print(json.dumps([name for name in heavy if name in sys.modules]), file=sys.stderr)
"""


def test_version_and_help_answer_without_the_sdk_and_all_that_is_heavy() -> None:
    done = run(code=LOADED)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr) == []


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])

    assert end.value.code == 0
    text = capsys.readouterr().out
    for name in Settings.model_fields:
        assert environment_name(name) in text
        option = "--" + name.replace("_", "-")
        assert (option in text) is (environment_name(name) not in SECRETS)
    for command in ("demo", "sandbox", "tokens"):
        assert f"    {command} " in text


@pytest.mark.parametrize("variable", SECRETS)
@pytest.mark.parametrize(
    "form", ["{} a-secret", "{}=a-secret", "serve --http {} a-secret", "doctor {}=a-secret"]
)
def test_keys_are_no_options_where_others_could_read_them(
    variable: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    option = "--" + variable.removeprefix("KLING_MCP_").lower().replace("_", "-")
    with pytest.raises(SystemExit) as end:
        cli.main(form.format(option).split())

    assert end.value.code == 2
    error = capsys.readouterr().err
    assert f"set {variable} in the environment" in error
    assert "a-secret" not in error


@pytest.mark.parametrize("command", ["demo", "sandbox"])
@pytest.mark.parametrize("option", ["--home", "--provider", "--sandbox-faults"])
def test_an_option_that_a_command_would_ignore_is_refused_before_it(
    command: str, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[argparse.Namespace] = []
    for module in (demo, sandbox_command):
        monkeypatch.setattr(module, "run_from", started.append)

    with pytest.raises(SystemExit) as end:
        cli.main([option, "x", command])

    assert end.value.code == 2
    name = "KLING_MCP_" + option[2:].replace("-", "_").upper()
    assert f"{option} is for the server; for this command, set {name}\n" in capsys.readouterr().err
    assert started == []


@pytest.fixture(params=["missing", "a folder", "not text"])
def unusable_env_file(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A file of settings that KLING_MCP_ENV_FILE names and nobody can read."""
    named = tmp_path / "kling.env"
    if request.param == "a folder":
        named.mkdir()
    elif request.param == "not text":
        named.write_bytes(b"KLING_API_KEY=\xff\xfe")
    monkeypatch.setenv("KLING_MCP_ENV_FILE", str(named))
    return named


@pytest.mark.parametrize(
    "words", ["--help", "--version", "doctor --help", "sandbox --help", "tokens add --help"]
)
@pytest.mark.usefixtures("unusable_env_file")
def test_help_and_version_need_no_env_file(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(words.split())

    assert end.value.code == 0
    assert "kling-mcp" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    ["", "serve --http", "tasks", "sandbox", "tokens list"],
)
def test_an_env_file_that_cannot_be_read_is_one_line_and_exit_code_2(
    words: str, unusable_env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words.split()) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"KLING_MCP_ENV_FILE names {unusable_env_file}, which " in err


def test_the_doctor_tells_of_an_env_file_that_cannot_be_read(
    unusable_env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor"]) == 1

    out = capsys.readouterr().out
    assert f"KLING_MCP_ENV_FILE names {unusable_env_file}, which " in out
    assert "versions" in out


def test_an_option_that_does_not_exist_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--nonsense"])

    assert end.value.code == 2
    assert "--nonsense" in capsys.readouterr().err


def test_a_bad_setting_is_one_line_and_exit_code_1() -> None:
    done = run("--sandbox-queue-s", "soon", "--log-level", "loud")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("kling-mcp: These settings cannot be used: KLING_MCP_")
    assert "KLING_MCP_SANDBOX_QUEUE_S: " in done.stderr
    assert "KLING_MCP_LOG_LEVEL: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--provider", "kling"], {}, "KLING_MCP_PROVIDER is kling, and KLING_API_KEY is not set"),
        (["--provider", "klng"], {}, "KLING_MCP_PROVIDER is klng, which is not a provider"),
        (["--kling-base-url", "nowhere"], {}, "KLING_BASE_URL is not an http(s) URL"),
        ([], {"NEWAPI_API_KEY": "k"}, "the base URL of the gateway is not"),
        (["--providers", "rows.json"], {}, "KLING_MCP_PROVIDERS names rows.json"),
        ([], {"KLING_ACCESS_KEY": "half"}, "KLING_SECRET_KEY is missing"),
        (["--capabilities", "rows.json"], {}, "KLING_MCP_CAPABILITIES names rows.json"),
        (["--sandbox-faults", "meteor"], {}, "unknown fault"),
        ([], {"KLING_API_KEY": "two words"}, "KLING_API_KEY: must be the bare key"),
    ],
)
def test_what_the_server_cannot_start_with_is_told_in_one_line(
    arguments: list[str],
    environment: dict[str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert cli.main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert "two words" not in err


class Served:
    """Stands where the server would be, and keeps how it was started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings: Settings | None = None
        self.transport = ""
        self.on_interrupt: Callable[[int, FrameType | None], Any] | None = None
        monkeypatch.setattr("kling_mcp.protocol.server.build_server", self._build)
        monkeypatch.setattr(signal, "signal", self._signal)

    def _build(self, settings: Settings) -> "Served":
        self.settings = settings
        return self

    def _signal(self, number: int, handler: Callable[[int, FrameType | None], Any]) -> None:
        assert number == signal.SIGINT
        self.on_interrupt = handler

    def run(self, transport: str) -> None:
        self.transport = transport


def test_without_a_command_it_serves_stdio_with_the_settings_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(monkeypatch)
    monkeypatch.setenv("KLING_MCP_HOME", "/environment")
    monkeypatch.setenv("KLING_MCP_LOG_LEVEL", "info")
    home = str(tmp_path / "home")

    assert cli.main(["--home", home, "--fix-images", "yes", "--max-units-per-day", "9"]) == 0

    assert served.transport == "stdio"
    assert served.settings is not None
    assert served.settings.home == Path(home)
    assert served.settings.log_level == "INFO"
    assert served.settings.fix_images is True
    assert served.settings.max_units_per_day == 9


SWITCHES = [name for name, field in Settings.model_fields.items() if field.annotation is bool]


def test_every_switch_is_tried() -> None:
    assert {"read_only", "save", "poster", "fix_images"} <= set(SWITCHES)


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("{}", True),
        ("{} --home x", True),
        ("--home x {}", True),
        ("--debug {}", True),
        ("{}=false", False),
        ("{} false", False),
        ("{} OFF --home x", False),
        ("{} yes", True),
    ],
)
def test_a_switch_is_on_by_its_name_and_takes_a_value_too(
    name: str, form: str, value: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(monkeypatch)

    assert cli.main(form.format("--" + name.replace("_", "-")).split()) == 0

    assert getattr(served.settings, name) is value


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_does_not_swallow_the_command_after_it(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--" + name.replace("_", "-"), "serve"])

    assert end.value.code == 2
    assert "required: --http" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--read-only", "--home=x"])
def test_a_setting_after_its_command_is_told_where_it_belongs(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["serve", "--http", option])

    assert end.value.code == 2
    name = option.partition("=")[0]
    assert f"{name} comes before the command: kling-mcp {option} serve" in capsys.readouterr().err


def test_ctrl_c_ends_a_serving_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served(monkeypatch)
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    cli.main([])

    assert served.on_interrupt is not None
    served.on_interrupt(signal.SIGINT, None)

    assert codes == [130]


@pytest.mark.parametrize(("name", "module"), [("demo", demo), ("sandbox", sandbox_command)])
def test_a_command_s_exit_code_is_the_program_s(
    name: str, module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run_from", lambda _: 7)

    assert cli.main([name]) == 7


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KlingError("It broke.", advice="Mend it."), 1, "kling-mcp: It broke. Mend it.\n"),
        (KlingError("It broke."), 1, "kling-mcp: It broke.\n"),
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space\nleft"), 1, "kling-mcp: OSError: [Errno 28] No space left (--debug"),
        (ExceptionGroup("two", [KlingError("It broke.")]), 1, "kling-mcp: It broke.\n"),
    ],
)
def test_what_ends_a_command_early_ends_the_program_without_a_traceback(
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(demo, "run_from", fail)

    assert cli.main(["demo"]) == code
    err = capsys.readouterr().err
    assert err.startswith(text)
    assert err.count("\n") == (code == 1)


@pytest.mark.parametrize("words", [["--debug", "demo"], ["demo", "--debug"]])
def test_debug_shows_where_a_failure_happened(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise KlingError("It broke.")

    monkeypatch.setattr(demo, "run_from", fail)

    with pytest.raises(KlingError):
        cli.main(words)


def test_a_command_that_does_not_exist_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["make-me-a-film"])

    assert end.value.code == 2
    assert "make-me-a-film" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["\x1b[31m\u202e"],
        ["--\x1b[31m\u202e"],
        ["tasks", "--limit", "\x1b[31m\u202e"],
        ["install", "\x1b[31m\u202e"],
        ["install", "cursor", "--print", "--config", "/\x1b[31m\u202e"],
        ["tokens", "--file", "/none/\x1b[31m\u202e", "add", "ann"],
        ["sandbox", "--fault", "\x1b[31m\u202e"],
        pytest.param(["demo", "/none/\x1b[31m\u202e.png"], marks=pytest.mark.campaign),
    ],
    ids=lambda arguments: " ".join(arguments[:2]).encode("ascii", "ignore").decode(),
)
def test_no_command_lets_a_text_steer_the_terminal(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    with suppress(SystemExit):
        cli.main(arguments)

    out, err = capsys.readouterr()
    assert out + err
    assert not {"\x1b", "\u202e"} & set(out + err)

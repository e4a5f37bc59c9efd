"""`kling-mcp install` and `uninstall` on files of every kind, in homes made for the test."""

import json
import os
import re
import stat
import tomllib
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from kling_mcp.cli import main as cli
from kling_mcp.cli.client_configs.clients import CLIENTS, Machine, find_client
from kling_mcp.cli.client_configs.entries import this_launch
from kling_mcp.cli.client_configs.jsonc import JSONC
from kling_mcp.cli.install import file_of

KEY = "a-key-that-nobody-may-see-0123456789"
ALL = sorted(name for name, row in CLIENTS.items() if row.format == "json")
BY_HAND = sorted(set(CLIENTS) - set(ALL))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own, a key in the environment, and Linux."""
    for name in list(os.environ):
        if "KLING" in name or name.endswith(("_API_KEY", "_BASE_URL")):
            monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("KLING_API_KEY", KEY)
    return home


def path_of(client: str, home: Path) -> Path:
    return file_of(CLIENTS[client], Machine("linux", home, {}))


def read(path: Path) -> Any:
    return JSONC.read(path.read_text(encoding="utf-8"))


def entry(client: str, path: Path) -> dict[str, Any]:
    found = read(path)
    for key in CLIENTS[client].servers:
        found = found[key]
    kling: dict[str, Any] = found["kling"]
    return kling


README = Path(__file__).resolve().parents[3] / "README.md"


@pytest.mark.parametrize("client", ["cursor", "vscode"])
def test_a_link_of_the_readme_holds_the_entry_that_install_writes(client: str, home: Path) -> None:
    places = {"cursor": "cursor.com", "vscode": "vscode.dev"}
    links = re.findall(r"\]\((https://\S+/install\S*)\)", README.read_text(encoding="utf-8"))
    (link,) = [urlsplit(one) for one in links if places[client] in one]
    given = {name: values[0] for name, values in parse_qs(link.query).items()}
    config = given["config"] if client == "vscode" else b64decode(given["config"])
    linked = json.loads(config)
    path = path_of(client, home)

    assert cli.main(["install", client, "--yes"]) == 0
    assert given["name"] == "kling"
    assert (linked.pop("command"), linked.pop("args")[0]) == ("uvx", "--from")
    written = entry(client, path)
    assert linked == {name: written[name] for name in written if name not in ("command", "args")}
    assert json.loads(given.get("inputs", "[]")) == read(path).get("inputs", [])


FILE = """\
{
  // servers of mine
  "%s": {
    "other": {"command": "other", "env": {"TOKEN": "t"}}, // keep me
  },
  "theme": "dark" /* and me */
}
"""


def written(client: str, home: Path) -> tuple[Path, bytes]:
    """A file with comments and another server, where the client looks for it."""
    row = CLIENTS[client]
    path = path_of(client, home)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = FILE % row.servers[0]
    path.write_bytes(text.encode())
    return path, text.encode()


@pytest.mark.parametrize("client", ALL)
def test_a_missing_file_is_made_and_goes_again(
    client: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = path_of(client, home)

    assert cli.main(["install", client, "--yes"]) == 0
    command = entry(client, path)
    assert Path(command["command"]).is_absolute()
    assert KEY not in path.read_text()
    assert cli.main(["install", client, "--yes"]) == 0
    assert "already has this entry" in capsys.readouterr().out
    assert cli.main(["uninstall", client, "--yes"]) == 0

    assert not path.exists()
    assert [p for p in home.rglob("*") if p.is_file()] == []


def test_who_installs_twice_is_told_again_where_the_key_is(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert cli.main(["install", "claude-desktop", "--yes"]) == 0
        assert "--with-key" in capsys.readouterr().out


@pytest.mark.parametrize("client", ALL)
def test_comments_and_other_entries_stay_and_uninstall_gives_the_same_bytes(
    client: str, home: Path
) -> None:
    path, before = written(client, home)

    assert cli.main(["install", client, "--yes"]) == 0
    after = path.read_text()
    assert "kling" in after
    for line in before.decode().splitlines():
        assert line.replace(",", "") in after.replace(",", "")
    backup = path.with_name(path.name + ".before-kling-mcp")
    assert backup.read_bytes() == before
    assert cli.main(["uninstall", client, "--yes"]) == 0

    assert path.read_bytes() == before
    assert not backup.exists()


@pytest.mark.parametrize("client", ALL)
def test_what_was_changed_meanwhile_stays_when_the_entry_goes(client: str, home: Path) -> None:
    path, before = written(client, home)
    cli.main(["install", client, "--yes"])
    lead = "// new\n"
    path.write_text(lead + path.read_text())

    assert cli.main(["uninstall", client, "--yes"]) == 0

    assert path.read_text().split() == (lead + before.decode()).split()


@pytest.mark.parametrize("client", ALL)
def test_an_entry_is_brought_up_to_date_and_the_oldest_file_is_kept(
    client: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = written(client, home)
    cli.main(["install", client, "--yes"])
    monkeypatch.setenv("KLING_MCP_MAX_UNITS_PER_DAY", "9")

    assert cli.main(["install", client, "--yes"]) == 0
    now = entry(client, path)
    assert now["env"]["KLING_MCP_MAX_UNITS_PER_DAY"] == "9"
    assert cli.main(["uninstall", client, "--yes"]) == 0

    assert path.read_bytes() == before


@pytest.mark.parametrize("client", ALL)
@pytest.mark.parametrize("empty", ["", "\n", "{}\n", "\ufeff{}\r\n"])
def test_an_empty_file_gets_the_entry_and_is_empty_again(
    client: str, empty: str, home: Path
) -> None:
    path = path_of(client, home)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(empty.encode())

    assert cli.main(["install", client, "--yes"]) == 0
    assert path.read_bytes() != empty.encode()
    assert cli.main(["uninstall", client, "--yes"]) == 0

    assert path.read_bytes() == empty.encode()


BROKEN = [
    ("cursor", '{\n  "mcpServers": {\n    "a": 1,,\n  }\n}\n', "line 3"),
    ("zed", '{\n  "a": 1\n  /* no end', "line 3"),
    ("cursor", "[]\n", "line 1"),
    ("cursor", '{"a": 1} 2\n', "line 1"),
    ("cursor", '{\n"mcpServers": []}\n', "line 2"),
    ("vscode", '{\n"inputs": {}}\n', "line 2"),
]


@pytest.mark.parametrize(("client", "text", "where"), BROKEN)
def test_a_file_that_cannot_be_changed_safely_is_left_alone_and_told_where(
    client: str, text: str, where: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = path_of(client, home)
    path.parent.mkdir(parents=True)
    path.write_text(text)

    assert cli.main(["install", client, "--yes"]) == 1

    err = capsys.readouterr().err
    assert str(path) in err
    assert where in err
    assert "--print" in err
    assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_bytes_that_are_no_text_are_left_alone(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = path_of("cursor", home)
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe{\x00}\x00")

    assert cli.main(["install", "cursor", "--yes"]) == 1
    assert "is not UTF-8 text" in capsys.readouterr().err


def test_a_link_stays_a_link_and_rights_stay_as_they_are(home: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "cursor.json"
    real.parent.mkdir()
    real.write_text("{}")
    real.chmod(0o600)
    path = path_of("cursor", home)
    path.parent.mkdir()
    path.symlink_to(real)

    assert cli.main(["install", "cursor", "--yes"]) == 0

    assert path.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert "kling" in real.read_text()
    assert sorted(p.name for p in real.parent.iterdir()) == [
        "cursor.json",
        "cursor.json.before-kling-mcp",
    ]
    assert stat.S_IMODE((real.parent / "cursor.json.before-kling-mcp").stat().st_mode) == 0o600


def test_a_new_file_is_only_for_its_owner(home: Path) -> None:
    cli.main(["install", "cursor", "--yes"])

    assert stat.S_IMODE(path_of("cursor", home).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("client", "field", "value"),
    [
        ("claude-code", "env", {"KLING_API_KEY": "${KLING_API_KEY:-}"}),
        ("cursor", "env", {"KLING_API_KEY": "${env:KLING_API_KEY}"}),
        ("windsurf", "env", {"KLING_API_KEY": "${env:KLING_API_KEY}"}),
        ("gemini", "env", {"KLING_API_KEY": "${KLING_API_KEY}"}),
        ("vscode", "env", {"KLING_API_KEY": "${input:kling-mcp-kling-api-key}"}),
        ("zed", "env", None),
        ("lm-studio", "env", None),
        ("claude-desktop", "env", None),
    ],
)
def test_the_key_stays_out_of_the_file_in_the_client_s_own_way(
    client: str, field: str, value: Any, home: Path
) -> None:
    cli.main(["install", client, "--yes"])

    assert entry(client, path_of(client, home)).get(field) == value


def test_vs_code_asks_for_each_key_as_a_password(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KLING_API_KEY")
    monkeypatch.setenv("KLING_ACCESS_KEY", "a")
    monkeypatch.setenv("KLING_SECRET_KEY", "s")
    path = path_of("vscode", home)
    path.parent.mkdir(parents=True)
    path.write_text('{"inputs": [{"id": "mine", "type": "promptString"}], "servers": {}}')

    cli.main(["install", "vscode", "--yes"])

    inputs = read(path)["inputs"]
    assert [one["id"] for one in inputs] == [
        "mine",
        "kling-mcp-kling-access-key",
        "kling-mcp-kling-secret-key",
    ]
    assert all(one["password"] for one in inputs[1:])


@pytest.mark.parametrize("client", ALL)
def test_a_key_is_written_only_when_asked_for_and_never_shown(
    client: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, before = written(client, home)

    assert cli.main(["install", client, "--yes", "--with-key"]) == 0
    assert KEY in path.read_text()
    out, err = capsys.readouterr()
    assert "whoever reads that file can spend" in out
    assert cli.main(["uninstall", client, "--yes"]) == 0
    out2, err2 = capsys.readouterr()

    assert KEY not in out + err + out2 + err2
    assert path.read_bytes() == before


def test_no_copy_of_a_key_is_left_when_the_entry_goes(home: Path) -> None:
    path, _ = written("cursor", home)
    cli.main(["install", "cursor", "--yes", "--with-key"])
    path.with_name(path.name + ".before-kling-mcp").unlink()
    path.write_text("// changed\n" + path.read_text())

    assert cli.main(["uninstall", "cursor", "--yes"]) == 0

    assert [p for p in home.rglob("*") if p.is_file() and KEY in p.read_text()] == []


def test_with_key_needs_a_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KLING_API_KEY")

    assert cli.main(["install", "cursor", "--with-key"]) == 1
    assert "none is set" in capsys.readouterr().err


@pytest.mark.parametrize("client", ALL)
def test_without_a_key_the_entry_leads_to_the_sandbox(
    client: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KLING_API_KEY")

    cli.main(["install", client, "--yes"])

    assert "${KLING" not in path_of(client, home).read_text()
    assert "${env:" not in path_of(client, home).read_text()


def test_settings_go_along_and_what_may_be_a_password_does_not(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_BASE_URL", "china")
    monkeypatch.setenv("KLING_MCP_OUTPUT_DIR", "/videos")
    monkeypatch.setenv("KLING_MCP_SOME_TOKEN", KEY)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://other.example")

    cli.main(["install", "cursor", "--yes"])

    assert entry("cursor", path_of("cursor", home))["env"] == {
        "KLING_BASE_URL": "china",
        "KLING_MCP_OUTPUT_DIR": "/videos",
        "KLING_API_KEY": "${env:KLING_API_KEY}",
    }


def test_print_shows_the_entry_and_touches_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["install", "cursor", "--print"]) == 0

    shown = json.loads(capsys.readouterr().out)
    assert list(shown["mcpServers"]) == ["kling"]
    assert list(home.iterdir()) == []


def test_the_change_is_shown_and_nothing_is_written_without_a_yes(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, before = written("cursor", home)

    assert cli.main(["install", "cursor"]) == 1
    out, err = capsys.readouterr()
    assert '+    "kling": {' in out
    assert "--yes" in err

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    for answer, code in (("", 1), ("n", 1), ("y", 0)):
        assert path.read_bytes() == before
        monkeypatch.setattr("builtins.input", lambda _, said=answer: said)
        assert cli.main(["install", "cursor"]) == code
    assert path.read_bytes() != before


@pytest.mark.parametrize("client", BY_HAND)
@pytest.mark.parametrize("option", [[], ["--print"], ["--yes", "--with-key"]])
def test_a_client_whose_file_is_not_json_gets_the_entry_to_paste(
    client: str,
    option: list[str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KLING_MCP_MAX_UNITS_PER_DAY", "9")

    assert cli.main(["install", client, *option]) == (0 if "--print" in option else 1)

    out, err = capsys.readouterr()
    assert str(path_of(client, home)) in err
    assert ("Nothing was written" in err) is ("--print" not in option)
    assert "KLING_MCP_MAX_UNITS_PER_DAY" in out
    assert "KLING_API_KEY" in out
    assert KEY not in out + err
    assert list(home.iterdir()) == []
    assert cli.main(["uninstall", client]) == 1
    assert "Remove " in capsys.readouterr().out


def test_codex_s_entry_is_toml(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["install", "codex", "--print"])

    found = tomllib.loads(capsys.readouterr().out)["mcp_servers"]["kling"]
    assert Path(found["command"]).is_absolute()
    assert found["env_vars"] == ["KLING_API_KEY"]


def test_goose_s_entry_is_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["install", "goose", "--print"])

    above, name, *fields = capsys.readouterr().out.splitlines()
    assert (above, name) == ("extensions:", "  kling:")
    found = {key: json.loads(value) for key, value in (f.strip().split(": ", 1) for f in fields)}
    assert Path(found["cmd"]).is_absolute()
    assert found["env_keys"] == ["KLING_API_KEY"]
    assert found["enabled"] is True


OLD_KEY = "an-old-key-that-nobody-may-see-98765"


def with_old_entry(client: str, home: Path, **entry: Any) -> Path:
    """A file that has an entry of ours already, as a person wrote it."""
    path = path_of(client, home)
    path.parent.mkdir(parents=True, exist_ok=True)
    old = {
        "command": "/old/kling-mcp",
        "env": {
            "KLING_API_KEY": OLD_KEY,
            "KLING_MCP_MAX_UNITS_PER_DAY": "20",
            "KLING_MCP_OUTPUT_DIR": "/data/v",
            "OTHER_TOKEN": "another-secret",
        },
        "disabled": False,
    }
    other = {"command": "x", "args": ["--api-key", "secret-of-x"], "env": {"X_TOKEN": "secret-y"}}
    servers = {"kling": old | entry, "other": other}
    path.write_text(json.dumps({CLIENTS[client].servers[0]: servers}, indent=2))
    return path


@pytest.mark.parametrize("with_key", [[], ["--with-key"]])
@pytest.mark.parametrize("client", ALL)
def test_an_entry_that_is_there_keeps_what_is_not_the_installer_s(
    client: str, with_key: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = with_old_entry(client, home)

    assert cli.main(["install", client, "--yes", *with_key]) == 0

    now = entry(client, path)
    assert now["command"] == this_launch().command
    assert now["disabled"] is False
    assert now["env"] == {
        "KLING_API_KEY": KEY if with_key else OLD_KEY,
        "KLING_MCP_MAX_UNITS_PER_DAY": "20",
        "KLING_MCP_OUTPUT_DIR": "/data/v",
        "OTHER_TOKEN": "another-secret",
    }
    out, err = capsys.readouterr()
    assert "whoever reads that file can spend" in out
    assert cli.main(["install", client, "--yes"]) == 0
    assert "already has this entry" in capsys.readouterr().out
    assert cli.main(["uninstall", client, "--yes"]) == 0
    gone = capsys.readouterr()
    for secret in (OLD_KEY, KEY, "another-secret", "secret-of-x", "secret-y"):
        assert secret not in out + err + gone.out + gone.err
    assert [*read(path)[CLIENTS[client].servers[0]]] == ["other"]
    assert [p for p in home.rglob("*") if p.is_file() and OLD_KEY in p.read_text()] == []


@pytest.mark.parametrize("client", ALL)
def test_comments_in_an_entry_that_is_there_stay(client: str, home: Path) -> None:
    path = with_old_entry(client, home)
    text = path.read_text().replace('"/old/kling-mcp",', '"/old/kling-mcp", // mine')
    path.write_text(text)

    assert cli.main(["install", client, "--yes"]) == 0

    assert "// mine" in path.read_text()


def test_a_placeholder_in_an_entry_gives_way_to_a_reference(home: Path) -> None:
    path = with_old_entry("cursor", home, env={"KLING_API_KEY": "your key", "KEPT": "1"})

    assert cli.main(["install", "cursor", "--yes"]) == 0

    assert entry("cursor", path)["env"] == {"KLING_API_KEY": "${env:KLING_API_KEY}", "KEPT": "1"}


def test_a_reference_of_the_person_s_own_stays(home: Path) -> None:
    path = with_old_entry("vscode", home, env={"KLING_API_KEY": "${input:mine}"})

    assert cli.main(["install", "vscode", "--yes"]) == 0

    assert entry("vscode", path)["env"] == {"KLING_API_KEY": "${input:mine}"}
    assert "inputs" not in read(path)


def test_variables_that_zed_kept_with_the_command_are_taken_along(home: Path) -> None:
    old = {"path": "/old/kling-mcp", "args": [], "env": {"KLING_API_KEY": OLD_KEY}}
    path = with_old_entry("zed", home, command=old, env=None, source="custom")

    assert cli.main(["install", "zed", "--yes"]) == 0

    now = entry("zed", path)
    assert now["env"] == {"KLING_API_KEY": OLD_KEY}
    assert now["source"] == "custom"


def test_an_entry_of_a_server_behind_a_url_is_left_alone(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = with_old_entry("cursor", home, url="https://videos.example/mcp")
    before = path.read_bytes()

    assert cli.main(["install", "cursor", "--yes"]) == 1

    assert "server at a URL" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_file_on_one_line_is_shown_without_its_secrets(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = path_of("cursor", home)
    path.parent.mkdir()
    servers = {
        "a": {"url": "https://me:word-1@a.example/?key=word-2", "headers": {"X": "word-3"}},
        "b": {"args": ["--token=word-4", "-p", "x"], "env": {"A": "word-5"}},
    }
    path.write_text(json.dumps({"mcpServers": servers, "apiKey": "word-6"}) + " // word-7")

    assert cli.main(["install", "cursor"]) == 1

    shown = capsys.readouterr().out
    assert "mcpServers" in shown
    assert "word-" not in shown


def test_print_with_key_shows_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    for client in CLIENTS:
        assert cli.main(["install", client, "--print", "--with-key"]) == 0
        out, err = capsys.readouterr()
        assert KEY not in out + err
        assert "KLING_API_KEY" in out


def test_an_unknown_client_is_answered_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("install", "uninstall"):
        assert cli.main([command, "emacs"]) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert all(name in err for name in ALL)


@pytest.mark.parametrize("name", ["Claude Desktop", "claude_desktop", "CLAUDE-DESKTOP"])
def test_a_client_is_found_however_its_name_is_spelt(name: str) -> None:
    found = find_client(name)
    assert found is not None
    assert found.name == "claude-desktop"


def test_what_is_not_there_needs_no_uninstalling(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, before = written("zed", home)

    assert cli.main(["uninstall", "zed", "--yes"]) == 0
    assert cli.main(["uninstall", "cursor", "--yes"]) == 0
    assert capsys.readouterr().out.count("entry for this server") == 2
    assert path_of("zed", home).read_bytes() == before


PATHS = {
    ("claude-desktop", "darwin"): "Library/Application Support/Claude/claude_desktop_config.json",
    ("claude-desktop", "win32"): "AppData/Roaming/Claude/claude_desktop_config.json",
    ("claude-desktop", "linux"): ".config/Claude/claude_desktop_config.json",
    ("vscode", "darwin"): "Library/Application Support/Code/User/mcp.json",
    ("vscode", "win32"): "AppData/Roaming/Code/User/mcp.json",
    ("vscode", "linux"): ".config/Code/User/mcp.json",
    ("goose", "win32"): "AppData/Roaming/Block/goose/config/config.yaml",
    ("zed", "darwin"): ".config/zed/settings.json",
    ("zed", "win32"): "AppData/Roaming/Zed/settings.json",
    ("codex", "win32"): ".codex/config.toml",
    ("gemini", "freebsd14"): ".gemini/settings.json",
}


@pytest.mark.parametrize(("client", "platform"), PATHS)
def test_each_system_has_its_own_places(client: str, platform: str, home: Path) -> None:
    machine = Machine(platform, home, {})

    assert file_of(CLIENTS[client], machine) == home / PATHS[client, platform]


def test_folders_that_the_environment_names_are_used(home: Path) -> None:
    environment = {
        "APPDATA": str(home / "roaming"),
        "XDG_CONFIG_HOME": str(home / "xdg"),
        "CODEX_HOME": str(home / "codex"),
    }

    windows, linux = (Machine(p, home, environment) for p in ("win32", "linux"))
    assert file_of(CLIENTS["zed"], windows) == home / "roaming" / "Zed" / "settings.json"
    assert file_of(CLIENTS["zed"], linux) == home / "xdg" / "zed" / "settings.json"
    assert file_of(CLIENTS["codex"], linux) == home / "codex" / "config.toml"


def test_every_row_says_where_its_facts_come_from() -> None:
    for row in CLIENTS.values():
        assert set(row.files) == {"mac", "windows", "linux"}
        assert "https://" in row.source
        assert len(row.date) == len("2026-11-21")
        assert bool(row.spelling) is (row.keys in ("reference", "asked"))


def test_the_command_is_the_program_that_runs(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "kling-mcp"
    program.parent.mkdir()
    program.write_text("")
    python = str(tmp_path / "bin" / "python")

    assert this_launch(str(program), python, "/x").command == str(program)
    assert this_launch("-m", python, "/x").command == str(program)
    cache = "/home/me/.cache/uv/archive-v0/abc"
    cached = this_launch(str(program), python, cache, origin="")
    assert Path(cached.command).name == "uvx"
    assert cached.args == ("kling-mcp",)
    cloned = this_launch(str(program), python, cache, origin="/home/me/kling mcp")
    assert cloned.args == ("--from", "/home/me/kling mcp", "kling-mcp")


def test_without_the_program_python_starts_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    python = str(tmp_path / "python")

    launch = this_launch("-m", python, "/x")

    assert (launch.command, launch.args) == (python, ("-m", "kling_mcp"))

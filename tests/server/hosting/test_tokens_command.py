"""`kling-mcp tokens`: giving out logins and taking them back."""

from datetime import date
from pathlib import Path

import pytest

from kling_mcp.cli import main as cli
from kling_mcp.hosting.team_settings import HostSettings
from kling_mcp.hosting.tokens import PREFIX, TokenFile
from kling_mcp.principal import METRICS, READ, SPEND


@pytest.fixture(autouse=True)
def empty_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder of its own, and no setting from outside but the file's name."""
    monkeypatch.chdir(tmp_path)
    for field in HostSettings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)
    monkeypatch.setenv("KLING_MCP_TOKENS", str(tmp_path / "team" / "tokens"))


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "team" / "tokens")


def given_out(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert cli.main(["tokens", "add", *options]) == 0
    return capsys.readouterr().out.strip()


def test_a_token_is_shown_once_and_kept_as_a_hash(
    file: TokenFile, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["tokens", "add", "ann"]) == 0
    told = capsys.readouterr()
    token = told.out.strip()
    found = file.of(token)

    assert token.startswith(PREFIX)
    assert len(token) > 40
    assert "not shown again" in told.err
    assert found is not None
    assert (found.name, found.scopes, found.expires) == ("ann", (READ, SPEND), None)
    assert token not in (tmp_path / "team" / "tokens").read_text()
    assert (tmp_path / "team" / "tokens").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("options", "scopes", "expires"),
    [
        (["--read-only"], (READ,), None),
        (["--metrics"], (METRICS,), None),
        (["--expires", "2999-12-31"], (READ, SPEND), date(2999, 12, 31)),
        (["--read-only", "--expires", "2999-12-31"], (READ,), date(2999, 12, 31)),
    ],
)
def test_a_token_allows_what_was_asked_for(
    options: list[str],
    scopes: tuple[str, ...],
    expires: date | None,
    file: TokenFile,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = file.of(given_out(capsys, "ann", *options))

    assert found is not None
    assert (found.scopes, found.expires) == (scopes, expires)


def test_what_is_listed_tells_who_may_do_what_and_no_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokens = [given_out(capsys, "ann"), given_out(capsys, "bob@team", "--read-only")]
    given_out(capsys, "bob@team", "--expires", "2999-12-31")

    assert cli.main(["tokens", "list"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == [
        f"ann: {READ} {SPEND}",
        f"bob@team: {READ}",
        f"bob@team: {READ} {SPEND}, until 2999-12-31",
    ]
    assert not any(token in out for token in tokens)


def test_all_tokens_of_somebody_are_taken_back_and_nobody_else_s(
    file: TokenFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bob, *anns = (given_out(capsys, name) for name in ("bob", "ann", "ann"))

    assert cli.main(["tokens", "remove", "ann"]) == 0
    assert [file.of(token) for token in anns] == [None, None]
    assert file.of(bob) is not None


def test_who_has_no_token_is_told_of(file: TokenFile, capsys: pytest.CaptureFixture[str]) -> None:
    before = cli.main(["tokens", "remove", "carol"])
    bob = given_out(capsys, "bob")
    after = cli.main(["tokens", "remove", "carol"])

    assert (before, after) == (1, 1)
    assert "carol has no token" in capsys.readouterr().err
    assert file.of(bob) is not None


def test_a_file_may_be_named_instead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tokens", "--file", "own", "add", "ann"]) == 0
    token = capsys.readouterr().out.strip()

    assert TokenFile(tmp_path / "own").of(token) is not None
    assert not (tmp_path / "team").exists()


def test_without_a_file_nothing_is_given_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KLING_MCP_TOKENS")

    assert cli.main(["tokens", "add", "ann"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "KLING_MCP_TOKENS" in told.err


@pytest.mark.parametrize(
    "words",
    [
        ["add", ""],
        ["add", "two words"],
        ["add", "#ann"],
        ["add", "änn"],
        ["add", "ann\nbob"],
        ["add", "a" * 65],
        ["add", "ann", "--expires", "tomorrow"],
        ["add", "ann", "--expires", "2027-02-30"],
        ["add", "ann", "--metrics", "--read-only"],
        ["add"],
        ["give", "ann"],
        [],
    ],
)
def test_wrong_use_gives_nothing_out(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["tokens", *words])

    assert end.value.code == 2
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["add", "bob"], ["list"], ["remove", "ann"]])
def test_a_file_that_cannot_be_used_is_left_as_it_is(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "team" / "tokens"
    path.parent.mkdir()
    path.write_text("ann\n")

    assert cli.main(["tokens", *words]) == 1
    assert capsys.readouterr().err.startswith(f"kling-mcp: The token file {path} cannot be")
    assert path.read_text() == "ann\n"
    assert [found.name for found in path.parent.iterdir()] == ["tokens"]

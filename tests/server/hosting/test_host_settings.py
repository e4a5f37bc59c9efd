"""The settings of a server for a team, and where it lets itself be started and reached."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.hosting.team import Team, give_token, served_team
from tests.server.serving import sandbox_settings

from kling_mcp.cli import main as cli
from kling_mcp.hosting.http_app import refuse_to_be_open
from kling_mcp.hosting.team import Hosting
from kling_mcp.hosting.team_settings import HostSettings, load_host_settings
from kling_tools.errors import NotConfigured

PUBLIC = "https://videos.example"
VARIABLES = [str(field.validation_alias) for field in HostSettings.model_fields.values()]


@pytest.fixture(autouse=True)
def empty_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder of its own, and no setting from outside."""
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


GOOD = {
    "KLING_MCP_PUBLIC_URL": (PUBLIC, "public_url", PUBLIC),
    "KLING_MCP_AUTH_AUDIENCE": ("kling", "auth_audience", "kling"),
    "KLING_MCP_AUTH_JWKS_URL": ("https://l.example/k", "auth_jwks_url", "https://l.example/k"),
    "KLING_MCP_TOKENS": ("/etc/kling/tokens", "tokens", Path("/etc/kling/tokens")),
    "KLING_MCP_SIGN_IN": ("off", "sign_in", False),
    "KLING_MCP_RATE_PER_MINUTE": ("0", "rate_per_minute", 0),
    "KLING_MCP_MAX_UNITS_PER_DAY_USER": ("2.5", "max_units_per_day_user", 2.5),
    "KLING_MCP_MAX_IMAGE_UNITS_PER_DAY_USER": ("80", "max_image_units_per_day_user", 80.0),
    "KLING_MCP_MAX_USD_PER_DAY_USER": ("1.5", "max_usd_per_day_user", 1.5),
    "KLING_MCP_STORAGE": ("s3://films/team", "storage", "s3://films/team"),
    "KLING_MCP_LINK_S": ("60", "link_s", 60),
    "KLING_MCP_ALLOWED_HOSTS": (" a.example, b.example:8443 ,", "allowed_hosts", 2),
    "KLING_MCP_ALLOWED_ORIGINS": ("https://chat.example", "allowed_origins", 1),
    "KLING_MCP_TRUSTED_PROXIES": ("10.0.0.1,10.0.0.2", "trusted_proxies", 2),
    "KLING_MCP_LOG_FORMAT": ("json", "log_format", "json"),
}


@pytest.mark.parametrize("variable", GOOD)
def test_a_setting_is_taken_from_the_environment(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, name, value = GOOD[variable]
    monkeypatch.setenv("KLING_MCP_PUBLIC_URL", PUBLIC)
    monkeypatch.setenv(variable, text)
    found = getattr(load_host_settings(), name)

    assert (len(found) if isinstance(found, tuple) else found) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("KLING_MCP_PUBLIC_URL", "videos.example"),
        ("KLING_MCP_PUBLIC_URL", "http://videos.example"),
        ("KLING_MCP_PUBLIC_URL", "ftp://videos.example"),
        ("KLING_MCP_PUBLIC_URL", "https://"),
        ("KLING_MCP_PUBLIC_URL", "https://videos.example/mcp"),
        ("KLING_MCP_PUBLIC_URL", "https://videos.example/?x=1"),
        ("KLING_MCP_PUBLIC_URL", "https://a-secret@videos.example"),
        ("KLING_MCP_PUBLIC_URL", "https://videos.example:99999"),
        ("KLING_MCP_PUBLIC_URL", "https://[::1"),
        ("KLING_MCP_AUTH_ISSUER", "http://login.example"),
        ("KLING_MCP_AUTH_JWKS_URL", "file:///etc/passwd"),
        ("KLING_MCP_RATE_PER_MINUTE", "-1"),
        ("KLING_MCP_RATE_PER_MINUTE", "many"),
        ("KLING_MCP_MAX_UNITS_PER_DAY_USER", "inf"),
        ("KLING_MCP_STORAGE", "films"),
        ("KLING_MCP_STORAGE", "s3:///films"),
        ("KLING_MCP_LINK_S", "59"),
        ("KLING_MCP_LOG_FORMAT", "xml"),
        ("KLING_MCP_SECRET", "a-secret"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_and_not_shown(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)

    with pytest.raises(NotConfigured, match=f"These settings cannot be used: {variable}: ") as told:
        load_host_settings()

    assert "a-secret" not in f"{told.value} {told.value.__context__!r}"


@pytest.mark.parametrize(
    "way", [{"tokens": "tokens"}, {"auth_issuer": "https://login.example", "auth_audience": "us"}]
)
def test_where_people_log_in_the_server_has_to_know_its_name(way: dict[str, str]) -> None:
    with pytest.raises(NotConfigured, match="require KLING_MCP_PUBLIC_URL"):
        load_host_settings(**way)

    assert load_host_settings(**way, public_url=PUBLIC).login is True


def test_a_token_is_for_the_address_of_the_protocol_unless_something_else_is_said() -> None:
    login = {"auth_issuer": "https://login.example", "public_url": PUBLIC}

    assert load_host_settings(**login).audience == f"{PUBLIC}/mcp"
    assert load_host_settings(**login, auth_audience="us").audience == "us"


@given(st.sampled_from(VARIABLES), st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_no_text_breaks_the_reading_of_settings(variable: str, text: str) -> None:
    name = next(n for n, f in HostSettings.model_fields.items() if f.validation_alias == variable)
    try:
        load_host_settings(**{name: text})
    except NotConfigured as refusal:
        told = str(refusal)
    else:
        told = "These settings cannot be used: taken"

    assert told.startswith("These settings cannot be used: ")


def test_the_env_file_of_the_working_folder_decides_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "".join(f"{variable}={text}\n" for variable, (text, _, _) in GOOD.items())
    )

    assert load_host_settings() == HostSettings.model_construct()


@pytest.mark.parametrize(
    ("more", "warns"),
    [({}, True), ({"secret": "s" * 32}, False), ({"public_url": ""}, False)],
)
def test_servers_of_one_database_are_told_to_share_a_secret(
    more: dict[str, str], warns: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = sandbox_settings(tmp_path, database="postgresql://kling@127.0.0.1/kling")
    Hosting.create(settings, load_host_settings(**{"public_url": PUBLIC, **more}))

    assert ("KLING_MCP_SECRET is not set" in caplog.text) is warns


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.5", "videos.example", "127.1", ""])
def test_without_a_login_only_this_machine_reaches_the_server(host: str, tmp_path: Path) -> None:
    hosting = Hosting.create(sandbox_settings(tmp_path), load_host_settings(public_url=PUBLIC))

    with pytest.raises(NotConfigured, match="it has no login"):
        refuse_to_be_open(host, hosting)


@pytest.mark.parametrize("url", [PUBLIC, "https://192.0.2.5:8443"])
def test_a_public_name_needs_a_login_wherever_the_server_listens(url: str, tmp_path: Path) -> None:
    """Who asks under that name comes through a proxy or a tunnel on this machine."""
    hosting = Hosting.create(sandbox_settings(tmp_path), load_host_settings(public_url=url))

    with pytest.raises(NotConfigured, match="it has no login"):
        refuse_to_be_open("127.0.0.1", hosting)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]"])
def test_this_machine_s_own_name_needs_no_login(url: str, tmp_path: Path) -> None:
    host = load_host_settings(public_url=url)

    refuse_to_be_open("127.0.0.1", Hosting.create(sandbox_settings(tmp_path), host))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1", "0:0:0:0:0:0:0:1"])
def test_this_machine_needs_no_login(host: str, tmp_path: Path) -> None:
    refuse_to_be_open(host, Hosting.create(sandbox_settings(tmp_path), load_host_settings()))


def test_with_a_login_others_may_reach_it(tmp_path: Path) -> None:
    give_token(tmp_path / "tokens", "ann")
    host = load_host_settings(tokens=tmp_path / "tokens", public_url=PUBLIC)

    refuse_to_be_open("0.0.0.0", Hosting.create(sandbox_settings(tmp_path), host))


@pytest.fixture
def nothing_is_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fails where the command would take an address."""

    def bound(host: str, port: int) -> None:
        raise AssertionError((host, port))

    monkeypatch.setattr("kling_sandbox.app.bound_socket", bound)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("nothing_is_bound")
def test_the_command_refuses_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give_token(tmp_path / "tokens", "ann")
    open_to_all = cli.main(["serve", "--http", "--host", "0.0.0.0"]), capsys.readouterr().err
    monkeypatch.setenv("KLING_MCP_TOKENS", "tokens")
    nameless = cli.main(["serve", "--http", "--host", "0.0.0.0"]), capsys.readouterr().err

    assert (open_to_all[0], nameless[0]) == (1, 1)
    assert "it has no login" in open_to_all[1]
    assert "KLING_MCP_PUBLIC_URL" in nameless[1]
    assert open_to_all[1].count("\n") == nameless[1].count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]


@pytest.mark.usefixtures("nothing_is_bound")
def test_an_env_file_lets_nobody_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    give_token(tmp_path / "tokens", "ann")
    (tmp_path / ".env").write_text(f"KLING_MCP_TOKENS=tokens\nKLING_MCP_PUBLIC_URL={PUBLIC}\n")

    assert cli.main(["serve", "--http", "--host", "0.0.0.0"]) == 1
    assert "it has no login" in capsys.readouterr().err


def check_names(team: Team, good: list[str], origins: list[str]) -> None:
    port = team.base.rpartition(":")[2]
    for name in good:
        assert team.status(None, host=name.replace("PORT", port)) == 200, name
    for name in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "x" + good[0]):
        assert team.status(None, host=name) == 421, name
    for origin in origins:
        assert team.status(None, origin=origin.replace("PORT", port)) == 200, origin
    for origin in ("https://evil.example", "null", "http://localhost.evil.example:3000"):
        assert team.status(None, origin=origin) == 403, origin


@pytest.mark.parametrize(
    ("host", "names", "origins"),
    [
        ("127.0.0.2", ["127.0.0.2:PORT", "127.0.0.2"], ["http://127.0.0.2:PORT"]),
        (
            "0:0:0:0:0:0:0:1",
            ["[0:0:0:0:0:0:0:1]:PORT", "[::1]:PORT", "localhost:PORT"],
            ["http://[::1]:PORT", "http://localhost:3000"],
        ),
    ],
)
def test_another_spelling_of_this_machine_goes_by_its_own_name(
    host: str, names: list[str], origins: list[str], tmp_path: Path
) -> None:
    with served_team(tmp_path, host=host) as team:
        check_names(team, names, origins)


def test_a_server_goes_by_its_public_name_and_those_that_are_allowed(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "public_url": "https://Videos.Example:443/",
        "allowed_hosts": "inner.example:8443",
        "allowed_origins": "https://chat.example",
    }
    with served_team(tmp_path, **options) as team:
        check_names(
            team,
            ["videos.example", "inner.example:8443", "127.0.0.1:PORT"],
            ["https://videos.example", "https://chat.example"],
        )

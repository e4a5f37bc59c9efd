"""Settings: where they come from, which one wins, and what a wrong one gets."""

import os
from pathlib import Path
from typing import Any

import pytest

from kling_mcp.providers import PROVIDERS
from kling_mcp.settings import Settings, environment_name, load_settings
from kling_tools.errors import NotConfigured

KEY = "api-key-of-a-test"
SECRETS = (
    *("KLING_API_KEY", "KLING_ACCESS_KEY", "KLING_SECRET_KEY", "COMETAPI_API_KEY"),
    *("ANYFAST_API_KEY", "POWERTOKENS_API_KEY", "NEWAPI_API_KEY"),
)
PAIR = {"KLING_ACCESS_KEY": "access-of-a-test", "KLING_SECRET_KEY": "secret-of-a-test"}


@pytest.fixture(autouse=True)
def empty_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a working folder of its own, and no setting from outside."""
    for name in os.environ:
        ours = "KLING" in name.upper() or name.endswith(("_API_KEY", "_BASE_URL"))
        if ours or name.startswith("XDG_"):
            monkeypatch.delenv(name)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(work)
    return work


def refusal(**options: Any) -> str:
    with pytest.raises(NotConfigured) as refused:
        load_settings(**options)
    return str(refused.value)


def shown(settings: Settings) -> dict[str, Any]:
    return {
        name: value.get_secret_value() if hasattr(value, "get_secret_value") else value
        for name, value in settings
    }


VARIABLES: dict[str, tuple[str, str, Any]] = {
    "KLING_MCP_PROVIDER": ("provider", " Sandbox ", "sandbox"),
    "KLING_API_KEY": ("kling_api_key", KEY, KEY),
    "KLING_ACCESS_KEY": ("kling_access_key", "ak", "ak"),
    "KLING_SECRET_KEY": ("kling_secret_key", "sk", "sk"),
    "KLING_BASE_URL": ("kling_base_url", "http://127.0.0.1:8765", "http://127.0.0.1:8765"),
    "COMETAPI_API_KEY": ("cometapi_api_key", KEY, KEY),
    "COMETAPI_BASE_URL": ("cometapi_base_url", "sandbox", "sandbox"),
    "ANYFAST_API_KEY": ("anyfast_api_key", KEY, KEY),
    "ANYFAST_BASE_URL": ("anyfast_base_url", "https://a.example", "https://a.example"),
    "POWERTOKENS_API_KEY": ("powertokens_api_key", KEY, KEY),
    "POWERTOKENS_BASE_URL": ("powertokens_base_url", "https://p.example", "https://p.example"),
    "NEWAPI_API_KEY": ("newapi_api_key", f"sk-{KEY}", f"sk-{KEY}"),
    "NEWAPI_BASE_URL": ("newapi_base_url", "https://n.example", "https://n.example"),
    "KLING_MCP_PROVIDERS": ("providers", "/srv/rows.toml", Path("/srv/rows.toml")),
    "KLING_MCP_HOME": ("home", "/srv/kling", Path("/srv/kling")),
    "KLING_MCP_DATABASE": ("database", "postgresql://h/kling", "postgresql://h/kling"),
    "KLING_MCP_OUTPUT_DIR": ("output_dir", "/srv/videos", Path("/srv/videos")),
    "KLING_MCP_IMAGE_ROOTS": ("image_roots", "/srv/a", (Path("/srv/a"),)),
    "KLING_MCP_FIX_IMAGES": ("fix_images", "true", True),
    "KLING_MCP_CAPABILITIES": ("capabilities", "/srv/rows.json", Path("/srv/rows.json")),
    "KLING_MCP_MAX_UNITS_PER_TASK": ("max_units_per_task", "3.5", 3.5),
    "KLING_MCP_MAX_UNITS_PER_DAY": ("max_units_per_day", "20", 20.0),
    "KLING_MCP_CONFIRM_ABOVE_UNITS": ("confirm_above_units", "2.5", 2.5),
    "KLING_MCP_SAVE": ("save", "no", False),
    "KLING_MCP_POSTER": ("poster", "true", True),
    "KLING_MCP_SANDBOX_QUEUE_S": ("sandbox_queue_s", "0", 0.0),
    "KLING_MCP_SANDBOX_RENDER_S": ("sandbox_render_s", "0.5", 0.5),
    "KLING_MCP_SANDBOX_SLOTS": ("sandbox_slots", "3", 3),
    "KLING_MCP_SANDBOX_FAULTS": ("sandbox_faults", "task-fails", ("task-fails",)),
    "KLING_MCP_LOG_LEVEL": ("log_level", "debug", "DEBUG"),
}


def test_every_setting_has_a_variable_and_a_description() -> None:
    assert {row[0]: name for name, row in VARIABLES.items()} == {
        name: environment_name(name) for name in Settings.model_fields
    }
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_setting_is_read_from_its_variable(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    field, text, value = VARIABLES[variable]
    monkeypatch.setenv(variable, text)

    assert shown(load_settings())[field] == value


@pytest.mark.parametrize("variable", [name for name in VARIABLES if name != "KLING_MCP_DATABASE"])
def test_a_setting_is_read_from_dot_env_in_the_working_folder(
    variable: str, empty_world: Path
) -> None:
    field, text, value = VARIABLES[variable]
    (empty_world / ".env").write_text(f"# mine\n{variable}={text}\nSOMETHING_ELSE=1\n")

    assert shown(load_settings())[field] == value


def test_no_folder_decides_where_the_ledger_of_a_team_lies(empty_world: Path) -> None:
    (empty_world / ".env").write_text("KLING_MCP_DATABASE=postgresql://elsewhere.example/all\n")

    with pytest.raises(NotConfigured, match="KLING_MCP_DATABASE") as refused:
        load_settings()

    assert "elsewhere" not in str(refused.value)


def test_options_win_over_the_environment_which_wins_over_dot_env(
    empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty_world / ".env").write_text("KLING_MCP_HOME=/file\nKLING_MCP_LOG_LEVEL=info\n")
    assert load_settings().home == Path("/file")

    monkeypatch.setenv("KLING_MCP_HOME", "/environment")
    assert load_settings().home == Path("/environment")
    assert load_settings().log_level == "INFO"

    assert load_settings(home="/option").home == Path("/option")


def test_what_is_empty_is_as_if_it_were_left_out(
    empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_settings()
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    (empty_world / ".env").write_text("".join(f"{name}=\n" for name in VARIABLES))

    assert load_settings() == before


def test_without_any_setting_there_are_these_defaults(tmp_path: Path) -> None:
    settings = load_settings()

    assert settings.kling_base_url == "global"
    assert settings.providers is None
    assert settings.home.name == "kling-mcp"
    assert settings.home.parent != tmp_path
    assert settings.home.is_relative_to(tmp_path)
    assert settings.output_dir.name == "kling-mcp"
    assert settings.output_dir.is_relative_to(tmp_path)
    assert settings.image_roots == (tmp_path,)
    assert settings.fix_images is False
    assert settings.max_units_per_task is None
    assert settings.max_units_per_day is None
    assert settings.confirm_above_units is None
    assert settings.save is True
    assert settings.log_level == "WARNING"
    assert settings.provider == ""
    assert [
        name for name, value in shown(settings).items() if name.endswith("_key") and value
    ] == []
    assert [name for name in shown(settings) if name.endswith("_base_url")] == [
        f"{name}_base_url" for name in PROVIDERS if name != "sandbox"
    ]


def test_reading_the_settings_makes_no_folder(tmp_path: Path) -> None:
    load_settings()

    assert [path.name for path in tmp_path.iterdir()] == ["work"]


@pytest.mark.parametrize("name", ["HOME", "PROVIDER", "LOG_LEVEL", "CAPABILITIES", "OUTPUT_DIR"])
def test_variables_of_other_programs_are_not_ours(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_settings()
    monkeypatch.setenv(name, str(tmp_path))

    assert load_settings() == before


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_MCP_HOME", "~/ledger")
    monkeypatch.setenv("KLING_MCP_IMAGE_ROOTS", f"~/pictures{os.pathsep}/srv")

    settings = load_settings(
        output_dir="~/videos", capabilities="~/rows.toml", providers="~/gateways.toml"
    )

    assert settings.home == tmp_path / "ledger"
    assert settings.output_dir == tmp_path / "videos"
    assert settings.capabilities == tmp_path / "rows.toml"
    assert settings.providers == tmp_path / "gateways.toml"
    assert settings.image_roots == (tmp_path / "pictures", Path("/srv"))


@pytest.mark.parametrize(
    ("text", "roots"),
    [
        ("/a", ["/a"]),
        (f"/a{os.pathsep}/b c", ["/a", "/b c"]),
        (f" /a {os.pathsep}{os.pathsep} /b{os.pathsep}", ["/a", "/b"]),
    ],
)
def test_image_roots_are_split_like_a_search_path(text: str, roots: list[str]) -> None:
    assert load_settings(image_roots=text).image_roots == tuple(Path(root) for root in roots)


def test_image_roots_may_be_given_as_paths(tmp_path: Path) -> None:
    assert load_settings(image_roots=(tmp_path,)).image_roots == (tmp_path,)


def test_faults_are_separated_by_commas() -> None:
    settings = load_settings(sandbox_faults=" task-fails, download-404:2 ,")

    assert settings.sandbox_faults == ("task-fails", "download-404:2")


@pytest.mark.parametrize(
    "key", ["with space", "two\nlines", "Bearer abc", "schlüssel", "abc…", "tab\there", "\x00"]
)
@pytest.mark.parametrize("name", SECRETS)
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(
    name: str, key: str, empty_world: Path
) -> None:
    (empty_world / ".env").write_text(f'{name}="{key}"\n', encoding="utf-8")

    text = refusal()

    assert f"{name}: must be the bare key" in text
    assert key not in text


@pytest.mark.parametrize("name", SECRETS)
def test_spaces_around_a_key_are_not_part_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, f" {KEY}\r\n")

    assert shown(load_settings())[name.lower()] == KEY


def test_every_fault_is_named_at_once_and_no_secret_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = {
        "KLING_API_KEY": "not one word",
        "NEWAPI_API_KEY": "not one word",
        "KLING_MCP_HOME": "~nobody-of-that-name/ledger",
        "KLING_MCP_IMAGE_ROOTS": "~nobody-of-that-name",
        "KLING_MCP_FIX_IMAGES": "perhaps",
        "KLING_MCP_MAX_UNITS_PER_TASK": "-1",
        "KLING_MCP_MAX_UNITS_PER_DAY": "nan",
        "KLING_MCP_CONFIRM_ABOVE_UNITS": "-0.1",
        "KLING_MCP_SAVE": "sometimes",
        "KLING_MCP_POSTER": "sometimes",
        "KLING_MCP_SANDBOX_SLOTS": "0",
        "KLING_MCP_SANDBOX_QUEUE_S": "soon",
        "KLING_MCP_SANDBOX_RENDER_S": "inf",
        "KLING_MCP_SANDBOX_FAULTS": "meteor",
        "KLING_MCP_LOG_LEVEL": "loud",
    }
    for name, value in {**PAIR, **wrong}.items():
        monkeypatch.setenv(name, value)

    text = refusal()

    assert [name for name in wrong if f"{name}: " not in text] == []
    assert "DEBUG, INFO, WARNING or ERROR" in text
    for secret in ("not one word", *PAIR.values()):
        assert secret not in text
    assert "pydantic" not in text
    assert "\n" not in text


def test_keys_do_not_show_in_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, f"{name}-of-a-test")

    settings = load_settings()

    for secret in SECRETS:
        assert f"{secret}-of-a-test" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_a_dot_env_written_by_notepad_is_read(empty_world: Path) -> None:
    (empty_world / ".env").write_bytes(f"KLING_API_KEY={KEY}\r\n".encode("utf-8-sig"))

    assert shown(load_settings())["kling_api_key"] == KEY


def test_a_dot_env_that_is_no_text_is_refused(empty_world: Path) -> None:
    (empty_world / ".env").write_bytes(f"KLING_API_KEY={KEY}".encode("utf-16"))

    assert ".env: is not UTF-8 text" in refusal()


def test_a_machine_without_a_home_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)

    assert "home directory" in refusal()


LED_ASTRAY = (
    ("KLING_BASE_URL", "KLING_API_KEY"),
    ("kling_base_url", "KLING_API_KEY"),
    ("Kling_Base_Url", "kling_api_key"),
    ("KLING_BASE_URL", "KLING_ACCESS_KEY"),
    ("KLING_BASE_URL", "KLING_SECRET_KEY"),
    ("NEWAPI_BASE_URL", "NEWAPI_API_KEY"),
    ("MINE_BASE_URL", "MINE_API_KEY"),
    ("KLING_MCP_PROVIDERS", "KLING_API_KEY"),
    ("KLING_MCP_PROVIDERS", "KLING_SECRET_KEY"),
    ("KLING_MCP_PROVIDERS", "OF_ANOTHER_PROGRAM_API_KEY"),
)
"""What a `.env` may not set for a key that comes from elsewhere."""


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "notepad"])
@pytest.mark.parametrize(
    "own", ["", "KLING_API_KEY=fake\nNEWAPI_API_KEY=fake\nMINE_API_KEY=fake\n"]
)
@pytest.mark.parametrize(("name", "key"), LED_ASTRAY)
def test_a_dot_env_leads_no_key_astray_that_comes_from_elsewhere(
    name: str, key: str, own: str, mark: str, empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(key, KEY)
    (empty_world / ".env").write_text(f"{mark}{name}=https://evil.example\n{own}", encoding="utf-8")

    text = refusal()

    assert f".env in the working folder sets {name.upper()}, and {key.upper()}" in text
    assert KEY not in text
    assert "evil" not in text


def test_a_dot_env_may_say_where_its_own_key_goes(
    empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEWAPI_API_KEY", KEY)
    monkeypatch.setenv("KLING_API_KEY", "")
    text = "KLING_BASE_URL=https://mine.example\nKLING_API_KEY=mine\nNEWAPI_BASE_URL=\n"
    (empty_world / ".env").write_text(text)

    assert load_settings().kling_base_url == "https://mine.example"


@pytest.mark.parametrize("given", ["environment", "option"])
def test_what_is_set_elsewhere_too_is_not_the_dot_env_s(
    given: str, empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_API_KEY", KEY)
    (empty_world / ".env").write_text("KLING_BASE_URL=https://evil.example\n")
    if given == "environment":
        monkeypatch.setenv("KLING_BASE_URL", "china")
    options = {"kling_base_url": "china"} if given == "option" else {}

    assert load_settings(**options).kling_base_url == "china"


def test_an_option_that_does_not_exist_is_a_mistake_of_the_program() -> None:
    with pytest.raises(KeyError):
        load_settings(hime="/srv")

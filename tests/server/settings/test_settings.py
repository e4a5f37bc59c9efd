"""Settings: where they come from, which one wins, and what a wrong one gets."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sampling import sampled

from kling_mcp import build_server
from kling_mcp.providers.rows import PROVIDERS
from kling_mcp.settings.environment import cleaned
from kling_mcp.settings.settings import Settings, environment_name, load_settings
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
    (work / "trusted.env").touch()
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
    "KLING_MCP_SAVE_ROOTS": ("save_roots", "/srv/b", (Path("/srv/b"),)),
    "KLING_MCP_IMAGE_ROOTS": ("image_roots", "/srv/a", (Path("/srv/a"),)),
    "KLING_MCP_FIX_IMAGES": ("fix_images", "true", True),
    "KLING_MCP_TIMEZONE": ("timezone", "Asia/Tokyo", "Asia/Tokyo"),
    "KLING_MCP_CAPABILITIES": ("capabilities", "/srv/rows.json", Path("/srv/rows.json")),
    "KLING_MCP_STANDARD": ("standard", "new", "new"),
    "KLING_MCP_MODELS_PREVIEW": ("models_preview", "yes", True),
    "KLING_MCP_MAX_UNITS_PER_TASK": ("max_units_per_task", "3.5", 3.5),
    "KLING_MCP_MAX_UNITS_PER_DAY": ("max_units_per_day", "20", 20.0),
    "KLING_MCP_MAX_IMAGE_UNITS_PER_TASK": ("max_image_units_per_task", "16", 16.0),
    "KLING_MCP_MAX_IMAGE_UNITS_PER_DAY": ("max_image_units_per_day", "400", 400.0),
    "KLING_MCP_MAX_USD_PER_TASK": ("max_usd_per_task", "0.5", 0.5),
    "KLING_MCP_MAX_USD_PER_DAY": ("max_usd_per_day", "9.99", 9.99),
    "KLING_MCP_CONFIRM_ABOVE_UNITS": ("confirm_above_units", "2.5", 2.5),
    "KLING_MCP_SAVE": ("save", "no", False),
    "KLING_MCP_POSTER": ("poster", "true", True),
    "KLING_MCP_SANDBOX_QUEUE_S": ("sandbox_queue_s", "0", 0.0),
    "KLING_MCP_SANDBOX_RENDER_S": ("sandbox_render_s", "0.5", 0.5),
    "KLING_MCP_SANDBOX_SIDE_PX": ("sandbox_side_px", "300", 300),
    "KLING_MCP_SANDBOX_SLOTS": ("sandbox_slots", "3", 3),
    "KLING_MCP_SANDBOX_FAULTS": ("sandbox_faults", "task-fails", ("task-fails",)),
    "KLING_MCP_TOOLS": ("tools", "core, kling_look", ("core", "kling_look")),
    "KLING_MCP_READ_ONLY": ("read_only", "true", True),
    "KLING_MCP_QUEUE_HOURS": ("queue_hours", "2", 2.0),
    "KLING_MCP_WAIT_S": ("wait_s", "20", 20),
    "KLING_MCP_ENV_FILE": ("env_file", "trusted.env", Path("trusted.env")),
    "KLING_MCP_LOG_LEVEL": ("log_level", "debug", "DEBUG"),
}
LOCAL = {name for name in VARIABLES if "_MAX_" in name or "SANDBOX" in name} | {
    *("KLING_MCP_CONFIRM_ABOVE_UNITS", "KLING_MCP_FIX_IMAGES", "KLING_MCP_LOG_LEVEL"),
    *("KLING_MCP_POSTER", "KLING_MCP_SAVE"),
    "KLING_MCP_PROVIDER",  # sandbox alone
}
"""What a `.env` that nobody named may decide."""


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


@pytest.mark.parametrize("variable", [name for name in VARIABLES if name != "KLING_MCP_ENV_FILE"])
@pytest.mark.parametrize("given", ["environment", "option"])
def test_a_file_that_is_named_may_set_everything(
    variable: str, given: str, empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field, text, value = VARIABLES[variable]
    named = empty_world / "trusted.env"
    named.write_text(f"# mine\n{variable}={text}\nSOMETHING_ELSE=1\n")
    (empty_world / ".env").write_text(f"{variable}=\nKLING_MCP_LOG_LEVEL=ERROR\n")
    if given == "environment":
        monkeypatch.setenv("KLING_MCP_ENV_FILE", f" '{named}' ")

    settings = load_settings(**({"env_file": named} if given == "option" else {}))

    assert shown(settings)[field] == value
    assert settings.log_level != "ERROR"


@pytest.mark.parametrize("variable", sorted(LOCAL))
def test_a_dot_env_of_the_working_folder_sets_what_harms_nobody(
    variable: str, empty_world: Path
) -> None:
    field, text, value = VARIABLES[variable]
    (empty_world / ".env").write_text(f"# mine\n{variable}={text}\nSOMETHING_ELSE=1\n")

    settings = load_settings()

    assert shown(settings)[field] == value
    assert settings.remarks == ()


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "notepad"])
@pytest.mark.parametrize("variable", sorted(VARIABLES.keys() - LOCAL))
def test_a_dot_env_decides_neither_who_is_asked_nor_where_things_go_nor_what_is_read(
    variable: str, mark: str, empty_world: Path
) -> None:
    before = shown(load_settings())
    text = VARIABLES[variable][1]
    (empty_world / ".env").write_text(f"{mark}{variable.lower()}={text}\n", encoding="utf-8")

    settings = load_settings()

    assert shown(settings) == before
    assert [remark.variable for remark in settings.remarks] == [variable]
    told = settings.remarks[0].text
    assert f".env in the working folder may not set {variable}" in told
    assert "KLING_MCP_ENV_FILE" in told
    assert text not in told


@pytest.mark.parametrize(
    "line",
    [
        "KLING_MCP_SANDBOX_FAULTS=zzz",
        "KLING_MCP_LOG_LEVEL=loud",
        "KLING_MCP_SANDBOX_QUEUE_S=-1",
        "KLING_MCP_SANDBOX_SLOTS=0",
        "KLING_MCP_SAVE=perhaps",
    ],
)
def test_a_value_of_a_dot_env_that_cannot_be_used_is_told_and_stops_nothing(
    line: str, empty_world: Path
) -> None:
    (empty_world / ".env").write_text(f"{line}\nKLING_MCP_POSTER=true\n")

    settings = load_settings()

    assert settings.poster is True
    assert [r.variable for r in settings.remarks] == [line.partition("=")[0]]


def test_a_cap_of_a_dot_env_that_cannot_be_used_is_refused(empty_world: Path) -> None:
    (empty_world / ".env").write_text("KLING_MCP_MAX_UNITS_PER_TASK=abc\n")

    with pytest.raises(NotConfigured, match="KLING_MCP_MAX_UNITS_PER_TASK"):
        load_settings()


def test_a_dot_env_makes_a_cap_never_wider(
    empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_MAX_UNITS_PER_DAY", "5")
    (empty_world / ".env").write_text(
        "KLING_MCP_MAX_UNITS_PER_DAY=1000\nKLING_MCP_MAX_UNITS_PER_TASK=2\n"
    )

    settings = load_settings()

    assert (settings.max_units_per_day, settings.max_units_per_task) == (5, 2)


def test_a_dot_env_names_no_provider_but_the_sandbox(empty_world: Path) -> None:
    (empty_world / ".env").write_text("KLING_MCP_PROVIDER=cometapi\n")

    assert load_settings().provider == ""


def test_only_a_file_that_is_named_reads_other_variables(
    empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELSEWHERE", "info")
    for name in (".env", "trusted.env"):
        (empty_world / name).write_text("KLING_MCP_LOG_LEVEL=${ELSEWHERE}\n")

    assert load_settings().log_level == "WARNING"
    assert load_settings(env_file="trusted.env").log_level == "INFO"


def test_a_dot_env_of_another_program_is_no_news(empty_world: Path) -> None:
    (empty_world / ".env").write_text("OPENAI_API_KEY=sk-1\nDB_PASSWORD=null\nX_BASE_URL=u\n")

    assert load_settings().remarks == ()


def test_options_win_over_the_environment_which_wins_over_a_file(
    empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty_world / "trusted.env").write_text("KLING_MCP_HOME=/file\nKLING_MCP_LOG_LEVEL=info\n")
    monkeypatch.setenv("KLING_MCP_ENV_FILE", "trusted.env")
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
    named = ("Desktop", "Downloads", "Videos", "Pictures")
    assert settings.save_roots == tuple(tmp_path / name for name in named)
    assert settings.fix_images is True
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
    named = empty_world / "trusted.env"
    named.write_text(f'{name}="{key}"\n', encoding="utf-8")

    text = refusal(env_file=named)

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


def test_a_file_written_by_notepad_is_read(empty_world: Path) -> None:
    (empty_world / "trusted.env").write_bytes(f"KLING_API_KEY={KEY}\r\n".encode("utf-8-sig"))

    assert shown(load_settings(env_file="trusted.env"))["kling_api_key"] == KEY


def make_huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 10**12)


UNREADABLE = {
    "latin-1": ("is not UTF-8 text", lambda path: path.write_bytes(b"APP_NAME=caf\xe9\n")),
    "utf-16": ("is not UTF-8 text", lambda path: path.write_text("A=b", encoding="utf-16")),
    "a pipe": ("is not a regular file", os.mkfifo),
    "a folder": ("is not a regular file", Path.mkdir),
    "a device": ("is not a regular file", lambda path: path.symlink_to("/dev/zero")),
    "a link to itself": ("cannot be read", lambda path: path.symlink_to(path)),
    "huge": ("has more than 100 kB", make_huge),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_dot_env_that_cannot_be_read_is_told_and_stops_nothing(
    kind: str, empty_world: Path
) -> None:
    reason, make = UNREADABLE[kind]
    make(empty_world / ".env")

    settings = load_settings()

    (remark,) = settings.remarks
    assert remark.text.startswith(f".env in the working folder {reason}")
    assert settings.model_copy() == load_settings()


@pytest.mark.parametrize("kind", [*UNREADABLE, "missing", "of nobody"])
def test_a_file_that_is_named_and_cannot_be_read_is_refused(kind: str, empty_world: Path) -> None:
    path = Path("~nobody-of-that-name/x") if kind == "of nobody" else empty_world / "named.env"
    reason, make = UNREADABLE.get(kind, ("which ", lambda _: None))
    make(path)

    text = refusal(env_file=path)

    assert f"KLING_MCP_ENV_FILE names {path}, which " in text
    assert reason in text


def test_a_machine_without_a_home_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)

    assert "home directory" in refusal()


PLACEHOLDERS = (
    *("null", "NULL", "None", "undefined", '"null"', " null\r\n", "''", '" "'),
    *(
        "${user_config.kling_api_key}",
        "${env:KLING_API_KEY}",
        "${KLING_API_KEY:-}",
        "$KLING_API_KEY",
    ),
    *("${input:kling-key}", "%KLING_API_KEY%", "{{kling_api_key}}", "<your key>", "<API_KEY>"),
    *("your-api-key-here", "your key", "YOUR_KLING_API_KEY", "your_api_key", "sk-your-key-here"),
    *(
        "[your key]",
        "xxxxxxxx",
        "sk-xxxx",
        "********",
        "...",
        "changeme",
        "change-me",
        "REPLACE_ME",
    ),
    *("KLING_API_KEY_HERE", "insert key here", "your-gateway.example", "TODO"),
)


@pytest.mark.parametrize("variable", sampled(VARIABLES, 2))
def test_a_placeholder_means_not_set_for_every_setting(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shown(load_settings())
    for word in PLACEHOLDERS:
        if variable == "KLING_MCP_TOOLS" and word == "None":
            continue
        monkeypatch.setenv(variable, word)

        settings = load_settings()

        assert shown(settings) == before, word
        told = [(remark.variable, remark.harmless) for remark in settings.remarks]
        assert told == ([(variable, False)] if word.strip(" \"'") else []), word


@pytest.mark.parametrize("word", ["none", "None", '"nil"'])
def test_a_list_of_no_tools_is_refused_and_never_read_as_all(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_TOOLS", word)

    with pytest.raises(NotConfigured, match="KLING_MCP_TOOLS names"):
        build_server(load_settings())


def test_a_choice_is_known_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_MCP_STANDARD", " NEW ")

    assert load_settings().standard == "new"


@pytest.mark.parametrize("word", ["null", "${user_config.folder}"])
def test_a_placeholder_as_an_option_means_not_given(word: str) -> None:
    settings = load_settings(output_dir=word, provider=word, log_level=word)

    assert shown(settings) == shown(load_settings())


def test_a_placeholder_in_the_environment_lets_a_file_speak(
    empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_API_KEY", "${env:KLING_API_KEY}")
    (empty_world / "trusted.env").write_text(f"KLING_API_KEY={KEY}\n")

    assert shown(load_settings(env_file="trusted.env"))["kling_api_key"] == KEY


@pytest.mark.parametrize(
    "key",
    [
        *(
            "0123456789abcdef0123",
            "nullable-0123",
            "sk-None0123456789",
            "A$B1234567890",
            "yourself9",
        ),
        *("50%KLING%", "sk-xX12xx", "here", "todo9", "key_0here1"),
    ],
)
def test_a_key_that_only_resembles_a_placeholder_is_a_key(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_API_KEY", key)

    assert shown(load_settings())["kling_api_key"] == key


def test_the_other_folders_of_a_list_stay_beside_a_placeholder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roots = os.pathsep.join(["${env:PICTURES}", "/srv/a", "null", "/srv/b"])
    monkeypatch.setenv("KLING_MCP_IMAGE_ROOTS", roots)

    settings = load_settings()

    assert settings.image_roots == (Path("/srv/a"), Path("/srv/b"))
    assert "the rest of it is used" in settings.remarks[0].text


@pytest.mark.parametrize("variable", [v for v in VARIABLES if v != "KLING_MCP_SANDBOX_FAULTS"])
def test_spaces_line_ends_and_quotes_around_a_value_are_not_part_of_it(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    field, text, value = VARIABLES[variable]
    for around in (' " {} " ', "'{}'", "\t{}\r\n", "\ufeff{}", "\u00a0{}\u200b"):
        monkeypatch.setenv(variable, around.format(text))

        assert shown(load_settings())[field] == value, around


@pytest.mark.parametrize(
    ("word", "level"), [("warn", "WARNING"), ("Critical", "ERROR"), ("trace", "DEBUG")]
)
def test_other_programs_words_for_a_log_level_are_understood(word: str, level: str) -> None:
    assert load_settings(log_level=word).log_level == level


@given(st.text(st.sampled_from("{}$%<>[]_-. aeyourkh\"'"), max_size=300))
def test_no_text_takes_long_to_be_cleaned(text: str) -> None:
    value, _ = cleaned("KLING_API_KEY", text)

    assert value in text
    assert cleaned("KLING_API_KEY", value)[0] == value


def test_an_option_that_does_not_exist_is_a_mistake_of_the_program() -> None:
    with pytest.raises(KeyError):
        load_settings(hime="/srv")

"""`kling-mcp doctor` against sandboxes on this machine: what it finds, and what it never tells."""

import json
import shutil
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from mcp import Client
from mcp_types import TextResourceContents
from tests.postgres import Postgres
from tests.server.loopback import served_sandbox
from tests.server.serving import sandbox_settings

from kling_mcp.cli import main as cli
from kling_mcp.doctor import examination
from kling_mcp.doctor.examination import examine
from kling_mcp.doctor.findings import Finding
from kling_mcp.doctor.provider_checks import DEADLINE_S
from kling_mcp.ledger import Ledger, NewRow
from kling_mcp.ledger.postgres import PostgresEngine
from kling_mcp.ledger.sqlite import STEPS, open_database
from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import Settings, environment_name, load_settings
from kling_sandbox import SandboxConfig, SandboxStore, create_app
from kling_sandbox.app import bound_socket, server_of

SECRET = "sk-never-to-be-shown-0123456789abcdef"
PAIR = ("sandbox-access", "sandbox-secret-0123456789abcdef0123456789abcdef")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def empty_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder of its own, no setting from outside but the folders, and time enough for a
    busy machine."""
    monkeypatch.setattr("kling_mcp.doctor.provider_checks.DEADLINE_S", 60)
    monkeypatch.chdir(tmp_path)
    for name in [*map(environment_name, Settings.model_fields), *PROXIES]:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KLING_MCP_OUTPUT_DIR", str(tmp_path / "videos"))
    monkeypatch.setenv("KLING_MCP_IMAGE_ROOTS", str(tmp_path))


def findings(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[Finding]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return anyio.run(examine)


def of(found: list[Finding], area: str, level: str = "") -> list[Finding]:
    return [f for f in found if f.area == area and level in ("", f.level)]


def one(found: list[Finding], area: str, level: str = "") -> Finding:
    (finding,) = of(found, area, level)
    return finding


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with served_sandbox(tmp_path / "played") as served:
        yield served


def test_without_a_key_all_is_well_and_nothing_is_left_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor"]) == 0

    out = capsys.readouterr().out
    assert "the sandbox makes test clips" in out
    assert "All is well." in out
    assert list(tmp_path.iterdir()) == []


def test_a_good_key_is_known_by_a_question_that_costs_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = findings(monkeypatch, KLING_API_KEY="sandbox-key", KLING_BASE_URL=url)

    assert one(found, "provider").level == "good"
    assert one(found, "provider").facts["proxy"] is None
    assert any(f.text == "kling accepts the key." for f in of(found, "key", "good"))
    assert one(found, "account").facts["units_left"] == 10_000
    assert one(found, "clock").level == "good"
    counts = SandboxStore(tmp_path / "played").counts()
    assert counts.requests["queries"] == 1
    assert counts.requests["costs"] == 1
    assert "creates" not in counts.requests


def test_a_wrong_key_is_known_within_five_seconds(
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KLING_API_KEY", SECRET)
    monkeypatch.setenv("KLING_BASE_URL", url)

    assert cli.main(["doctor"]) == 1

    assert DEADLINE_S < 5
    assert SandboxStore(tmp_path / "played").counts().requests["queries"] == 1
    out = capsys.readouterr().out
    assert "Kling does not accept the key (code 1002)." in out
    assert "KLING_API_KEY, or KLING_ACCESS_KEY with KLING_SECRET_KEY" in out
    assert "1 thing is wrong." in out


def test_every_provider_is_asked_and_named_with_its_setting(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = findings(
        monkeypatch,
        KLING_ACCESS_KEY=PAIR[0],
        KLING_SECRET_KEY=PAIR[1],
        KLING_BASE_URL=url,
        COMETAPI_API_KEY="sandbox-key",
        COMETAPI_BASE_URL=f"{url}/cometapi",
        NEWAPI_API_KEY=SECRET,
        NEWAPI_BASE_URL=f"{url}/newapi",
    )

    settings = [f.text for f in of(found, "settings")]
    played = f" A sandbox at {url.removeprefix('http://')} plays it: free of charge."
    assert settings == [
        f"kling is used: KLING_ACCESS_KEY and KLING_SECRET_KEY from the environment.{played}",
        f"cometapi can be asked for: COMETAPI_API_KEY from the environment.{played}",
        "newapi can be asked for: NEWAPI_API_KEY from the environment.",
    ]
    assert [f.text for f in of(found, "key", "good")] == [
        "kling accepts the key.",
        "cometapi accepts the key.",
    ]
    assert one(found, "key", "wrong").facts["provider"] == "newapi"


def test_a_key_of_the_env_file_is_told_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "kling.env"
    named.write_text("KLING_API_KEY=sandbox-key-sandbox\nKLING_BASE_URL=sandbox\n")

    found = findings(monkeypatch, KLING_MCP_ENV_FILE=str(named))

    assert one(found, "settings").text == (
        "kling is used, played by the sandbox (KLING_BASE_URL says so)."
    )
    named.write_text("KLING_API_KEY=sandbox-key\nKLING_BASE_URL=http://127.0.0.1:9\n")
    assert str(named) in one(findings(monkeypatch), "settings").text


def test_what_a_stray_env_file_may_not_decide_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"KLING_API_KEY={SECRET}\nKLING_MCP_IMAGE_ROOTS=/\n")

    found = findings(monkeypatch)

    assert "may not set KLING_API_KEY" in one(found, "key", "warning").text
    assert [f.text for f in of(found, "settings", "warning")] == []
    assert SECRET not in str(found)


SLIPS = [
    ("KLING_API_KEY", '"0123456789abcdef0123"', "quotation marks"),
    ("KLING_API_KEY", "${KLING_API_KEY}", "the name of a variable"),
    ("KLING_API_KEY", "${env:KLING_API_KEY}", "the name of a variable"),
    ("KLING_API_KEY", "$KLING_API_KEY_0123", "the name of a variable"),
    ("KLING_API_KEY", "your-key-goes-in-here", "placeholder"),
    ("KLING_API_KEY", "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln", "ends after half an hour"),
    ("KLING_API_KEY", "sk-0123456789abcdef0123", "keys of gateways"),
    ("KLING_API_KEY", "short-key", "shorter than the keys"),
    ("KLING_API_KEY", " 0123456789abcdef0123 ", "spaces around"),
]


@pytest.mark.parametrize(("variable", "value", "words"), SLIPS)
def test_the_form_of_a_key_tells_how_it_was_mistaken(
    variable: str, value: str, words: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = findings(monkeypatch, KLING_BASE_URL=url, **{variable: value})

    told = [f.text for level in ("note", "warning") for f in of(found, "key", level)]
    assert any(words in text and variable in text for text in told), told
    assert not any(value.strip() in text for text in told)


def test_halves_of_the_pair_in_the_wrong_place_are_told(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = "0123456789abcdef0123456789abcdef"
    found = findings(
        monkeypatch,
        KLING_BASE_URL=url,
        KLING_API_KEY=half,
        KLING_ACCESS_KEY=half,
        KLING_SECRET_KEY=half,
    )

    texts = " ".join(f.text for f in of(found, "key"))
    assert "KLING_ACCESS_KEY and KLING_SECRET_KEY are not" in texts
    assert "are the same" in texts
    assert "one half of the pair" in texts


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"KLING_ACCESS_KEY": "half-a-pair"}, "KLING_SECRET_KEY is missing"),
        ({"KLING_API_KEY": "two words of " + SECRET}, "must be the bare key"),
        ({"KLING_MCP_PROVIDER": "klng"}, "not a provider"),
        ({"KLING_MCP_LOG_LEVEL": "loud"}, "KLING_MCP_LOG_LEVEL"),
    ],
)
def test_settings_that_cannot_be_used_are_a_finding(
    environment: dict[str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert cli.main(["doctor"]) == 1

    out = capsys.readouterr().out
    assert words in out
    assert "Python" in out
    assert SECRET not in out


@pytest.mark.parametrize(
    ("ahead_s", "pair", "level", "words"),
    [
        (0, True, "good", "agree"),
        (20, True, "wrong", "not valid yet"),
        (-4000, True, "wrong", "expired"),
        (-120, True, "warning", "behind"),
        (20, False, "good", "agree"),
        (4000, False, "warning", "ahead"),
    ],
)
def test_a_clock_that_is_off_is_told_by_what_it_does_to_tokens(
    ahead_s: int, pair: bool, level: str, words: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pair:
        monkeypatch.setenv("KLING_ACCESS_KEY", PAIR[0])
        monkeypatch.setenv("KLING_SECRET_KEY", PAIR[1])
    else:
        monkeypatch.setenv("KLING_API_KEY", "sandbox-key")
    monkeypatch.setenv("KLING_BASE_URL", url)

    async def look() -> list[Finding]:
        return await examine(clock=lambda: time.time() + ahead_s)

    finding = one(anyio.run(look), "clock")
    assert finding.level == level
    assert words in finding.text


def test_a_provider_that_refuses_tokens_for_their_age_points_to_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served_sandbox(tmp_path / "played", "token-expired") as url:
        found = findings(monkeypatch, KLING_API_KEY="sandbox-key", KLING_BASE_URL=url)

    refused = one(found, "key", "wrong")
    assert refused.facts["code"] == "1004"
    assert "clock" in refused.advice


def test_a_port_that_nobody_listens_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with bound_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    found = findings(
        monkeypatch, KLING_API_KEY="sandbox-key", KLING_BASE_URL=f"http://127.0.0.1:{port}"
    )

    assert "cannot be reached" in one(found, "provider").text
    assert "KLING_BASE_URL" in one(found, "provider").advice
    assert of(found, "clock") == []


def test_a_provider_that_says_nothing_is_given_up_before_five_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kling_mcp.doctor.provider_checks.DEADLINE_S", 0.2)
    with bound_socket("127.0.0.1", 0) as listener:
        listener.listen()
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        found = findings(monkeypatch, KLING_API_KEY="sandbox-key", KLING_BASE_URL=base_url)

    assert "did not answer within 0.2 s" in one(found, "provider").text


def test_the_proxy_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with bound_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    found = findings(
        monkeypatch,
        KLING_API_KEY="sandbox-key",
        KLING_BASE_URL="http://provider.example",
        HTTP_PROXY=f"http://me:pass-of-the-proxy@127.0.0.1:{port}",
    )

    provider = one(found, "provider")
    assert provider.level == "wrong"
    assert provider.facts["proxy"] == f"http://127.0.0.1:{port}"
    assert "pass-of-the-proxy" not in str(found)


def test_a_proxy_that_no_proxy_excepts_is_not_used(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = findings(
        monkeypatch,
        KLING_API_KEY="sandbox-key",
        KLING_BASE_URL=url,
        HTTP_PROXY="http://127.0.0.1:9",
        NO_PROXY="127.0.0.1",
    )

    assert one(found, "provider").level == "good"
    assert one(found, "provider").facts["proxy"] is None


def test_a_proxy_that_cannot_be_used_is_a_setting_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings(
        monkeypatch,
        KLING_API_KEY="sandbox-key",
        KLING_BASE_URL="https://provider.example",
        ALL_PROXY="gopher://me:pass-of-the-proxy@127.0.0.1:9",
    )

    assert "HTTPS_PROXY" in one(found, "provider").advice
    assert "pass-of-the-proxy" not in str(found)


@contextmanager
def sandbox_over_tls(home: Path, authority: trustme.CA) -> Iterator[str]:
    """A sandbox whose certificate this authority gave."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    listener = bound_socket("127.0.0.1", 0)
    url = f"https://localhost:{listener.getsockname()[1]}"
    server = server_of(create_app(SandboxConfig(home=home, public_url=url)))
    server.config.load()
    server.config.ssl = context
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listener.close()


def test_a_company_s_certificate_counts_when_the_environment_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "company.pem"))
    with sandbox_over_tls(tmp_path / "played", authority) as url:
        refused = findings(monkeypatch, KLING_API_KEY="sandbox-key", KLING_BASE_URL=url)
        found = findings(monkeypatch, SSL_CERT_FILE=str(tmp_path / "company.pem"))

    assert "certificate that is not trusted" in one(refused, "provider").text
    assert "SSL_CERT_FILE" in one(refused, "provider").advice
    assert one(found, "provider").level == "good"
    assert "company.pem" in one(found, "provider").facts["certificates"]
    assert any(f.text == "kling accepts the key." for f in of(found, "key"))


def test_certificates_that_cannot_be_read_are_told_with_their_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    found = findings(
        monkeypatch,
        KLING_API_KEY="sandbox-key",
        KLING_BASE_URL="https://provider.example",
        SSL_CERT_FILE=str(tmp_path / "empty.pem"),
    )

    assert "SSL_CERT_FILE names" in one(found, "provider", "wrong").text


def test_the_ledger_is_read_and_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "home" / "ledger.sqlite3"
    with closing(open_database(path)):
        pass
    before = path.read_bytes()

    finding = one(findings(monkeypatch), "ledger")

    assert finding.level == "good"
    assert finding.facts["rows"] == 0
    assert "older version" not in finding.text
    assert path.read_bytes() == before


def test_a_ledger_that_lacks_a_step_is_of_an_older_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_database(tmp_path / "home" / "ledger.sqlite3").close()
    monkeypatch.setattr(examination, "STEPS", (*STEPS, "a later step"))

    assert "an older version" in one(findings(monkeypatch), "ledger", "good").text


def test_a_ledger_that_lacks_a_column_is_of_an_older_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_database(tmp_path / "home" / "ledger.sqlite3")) as db:
        db.execute("ALTER TABLE tasks DROP COLUMN quoted")

    assert "an older version" in one(findings(monkeypatch), "ledger", "good").text


def test_a_ledger_with_a_column_that_is_not_known_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_database(tmp_path / "home" / "ledger.sqlite3")) as db:
        db.execute("ALTER TABLE tasks ADD COLUMN mood TEXT")

    finding = one(findings(monkeypatch), "ledger", "wrong")

    assert "mood" in finding.text
    assert finding.advice == "Update kling-mcp."


def test_a_ledger_that_is_none_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger.sqlite3").write_text("not a database, and long enough to be read")

    finding = one(findings(monkeypatch), "ledger")

    assert finding.level == "wrong"
    assert "Put back a copy" in finding.advice


def test_a_ledger_of_a_newer_version_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_database(tmp_path / "home" / "ledger.sqlite3")) as db:
        db.execute("PRAGMA user_version = 2999")

    finding = one(findings(monkeypatch), "ledger", "wrong")

    assert finding.advice == "Update kling-mcp."


def test_a_folder_that_cannot_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-file").write_text("")
    found = findings(
        monkeypatch,
        KLING_MCP_OUTPUT_DIR=str(tmp_path / "a-file"),
        KLING_MCP_HOME=str(tmp_path / "a-file" / "home"),
        KLING_MCP_IMAGE_ROOTS=str(tmp_path / "nowhere"),
    )

    assert "KLING_MCP_OUTPUT_DIR" in one(found, "videos", "wrong").advice
    assert "KLING_MCP_HOME" in one(found, "ledger", "wrong").advice
    assert "KLING_MCP_IMAGE_ROOTS" in one(found, "pictures", "warning").advice


def test_a_database_is_looked_at_and_not_changed(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = postgres.new_schema()
    empty = one(findings(monkeypatch, KLING_MCP_DATABASE=address), "ledger", "good")
    wish = NewRow(
        provider="kling",
        base_url="https://kling.example",
        product="image2video",
        digest="d",
        take=1,
        model_name="kling-v2-6",
        prompt="waves",
        request={},
        estimate_units=1.5,
    )

    async def reserve() -> None:
        ledger = Ledger(PostgresEngine(address))
        await ledger.reserve(wish)
        await ledger.close()

    anyio.run(reserve)
    used = one(findings(monkeypatch, KLING_MCP_DATABASE=address), "ledger", "good")

    assert "is empty" in empty.text
    assert "older version" not in used.text
    assert "1 task, 1 of them waiting" in used.text
    assert "secret" not in empty.text + used.text


def test_a_database_that_lets_nobody_in_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "postgresql://ada:secret@127.0.0.1:9/ledger"

    found = one(findings(monkeypatch, KLING_MCP_DATABASE=address), "ledger", "wrong")

    assert "ledger at 127.0.0.1" in found.text
    assert "KLING_MCP_DATABASE" in found.advice
    assert "secret" not in found.text


@pytest.mark.parametrize(
    ("free", "level"), [(10 * 2**30, "good"), (100 * 2**20, "warning"), (2**20, "wrong")]
)
def test_little_space_is_told(free: int, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "kling_mcp.doctor.examination.shutil.disk_usage",
        lambda _: shutil._ntuple_diskusage(2 * free, free, free),
    )

    assert one(findings(monkeypatch), "videos").level == level


def test_json_holds_every_finding_for_programs(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLING_API_KEY", "sandbox-key")
    monkeypatch.setenv("KLING_BASE_URL", url)

    assert cli.main(["doctor", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    areas = {finding["area"] for finding in document["findings"]}
    assert areas == {
        *("settings", "key", "provider", "clock", "account", "ledger", "videos", "pictures"),
        *("tools", "versions", "protocol"),
    }
    (protocol,) = [f for f in document["findings"] if f["area"] == "protocol"]
    assert protocol["facts"]["versions"][-1] == "2026-07-28"


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("reach", ["", "/no-such-base", "nobody"])
def test_no_secret_is_printed_whatever_goes_wrong(
    options: list[str],
    reach: str,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base_url = "http://127.0.0.1:9" if reach == "nobody" else url + reach
    secrets = {
        "KLING_ACCESS_KEY": "AKaccessAccessAccess0123456789ab",
        "KLING_SECRET_KEY": "SKsecretSecretSecret0123456789abcdef0123",
        "ANYFAST_API_KEY": SECRET,
        "NEWAPI_API_KEY": f"'{SECRET[::-1]}'",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    for name in ("KLING_BASE_URL", "ANYFAST_BASE_URL", "NEWAPI_BASE_URL"):
        monkeypatch.setenv(name, base_url)

    assert cli.main(["doctor", *options]) == 1

    out, err = capsys.readouterr()
    for secret in secrets.values():
        assert secret.strip("'") not in out + err
    assert "eyJ" not in out + err


def test_colours_come_only_to_a_terminal_that_wants_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["doctor"])
    assert "\x1b" not in capsys.readouterr().out

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    cli.main(["doctor"])
    assert "\x1b[32m" in capsys.readouterr().out

    monkeypatch.setenv("NO_COLOR", "1")
    cli.main(["doctor"])
    assert "\x1b" not in capsys.readouterr().out


async def account(settings: Any) -> dict[str, Any]:
    async with Client(build_server(settings)) as client:
        (content,) = (await client.read_resource("kling://account")).contents
    assert isinstance(content, TextResourceContents)
    document: dict[str, Any] = json.loads(content.text)
    return document["providers"]


@pytest.mark.anyio
async def test_the_account_is_a_resource(tmp_path: Path) -> None:
    told = await account(sandbox_settings(tmp_path))

    assert told["sandbox"]["units_left"] == 10_000
    assert told["sandbox"]["packs"][0]["status"] == "online"


@pytest.mark.anyio
async def test_a_provider_that_does_not_tell_its_account_says_so(url: str, tmp_path: Path) -> None:
    told = await account(
        sandbox_settings(
            tmp_path,
            provider="",
            kling_api_key=SECRET,
            kling_base_url=url,
            cometapi_api_key="sandbox-key",
            cometapi_base_url=f"{url}/cometapi",
        )
    )

    assert told["cometapi"]["units_left"] is None
    assert "does not accept the key" in told["kling"]["note"]


@pytest.mark.parametrize("public_url", ["", "https://videos.example"], ids=["here", "team"])
@pytest.mark.parametrize(
    ("tools", "level", "words", "advice"),
    [
        ("", "good", "tools offered", ""),
        ("core", "good", "tools offered", ""),
        (
            "coer",
            "wrong",
            "KLING_MCP_TOOLS names coer",
            "Name sets (all, core, edit, assets, images, film) or tools",
        ),
        ("core,kling_cook", "wrong", "KLING_MCP_TOOLS names kling_cook", "kling_look"),
        (
            "kling_image_to_video,kling_get_task",
            "note",
            "no tool can wait for it or save it",
            "Set KLING_MCP_TOOLS=kling_image_to_video,kling_get_task,kling_wait_for_tasks,"
            "kling_save_video.",
        ),
        ("kling_list_tasks", "note", "1 tool offered, and none makes anything", "KLING_MCP_TOOLS"),
    ],
)
def test_the_choice_of_tools_is_judged(
    tools: str,
    level: str,
    words: str,
    advice: str,
    public_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = findings(monkeypatch, KLING_MCP_TOOLS=tools, KLING_MCP_PUBLIC_URL=public_url)

    finding = one(found, "tools")
    assert finding.level == level
    assert words in finding.text
    assert advice in finding.advice


def test_the_advice_about_missing_tools_works_as_it_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    advice = one(
        findings(monkeypatch, KLING_MCP_TOOLS="kling_multi_image_to_video"), "tools"
    ).advice
    name, _, value = advice.removeprefix("Set ").removesuffix(".").partition("=")

    assert one(findings(monkeypatch, **{name: value}), "tools").level == "good"


def test_a_server_that_only_looks_says_which_setting_made_it_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finding = one(findings(monkeypatch, KLING_MCP_READ_ONLY="true"), "tools")

    assert (finding.level, finding.advice) == ("note", "KLING_MCP_READ_ONLY says so.")


def test_a_table_of_models_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "models.json"
    table.write_text("{}")
    told = one(findings(monkeypatch, KLING_MCP_CAPABILITIES=str(table)), "settings", "good")
    table.write_text("[")
    wrong = one(findings(monkeypatch), "settings", "wrong")

    assert str(table) in told.text
    assert "KLING_MCP_CAPABILITIES" in wrong.text


def test_a_team_s_setting_that_cannot_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLING_MCP_RATE_PER_MINUTE", "many")

    assert cli.main(["doctor"]) == 1

    assert "KLING_MCP_RATE_PER_MINUTE" in capsys.readouterr().out


def test_the_sandbox_s_own_key_is_well_at_a_sandbox_and_wrong_at_a_provider(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_sandbox = findings(monkeypatch, KLING_API_KEY="sandbox-key", KLING_BASE_URL=url)
    with bound_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    elsewhere = findings(monkeypatch, KLING_BASE_URL="http://provider.example")

    assert [f.text for f in of(at_sandbox, "key")] == ["kling accepts the key."]
    assert "free of charge" in one(at_sandbox, "settings", "note").text
    assert "is the key of the sandbox" in one(elsewhere, "key", "warning").text
    assert of(elsewhere, "settings", "note") == []


def test_a_short_key_that_its_provider_accepts_is_not_doubted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served_sandbox(tmp_path / "played", keys=("short",)) as url:
        found = findings(monkeypatch, KLING_API_KEY="short", KLING_BASE_URL=url)

    assert [f.text for f in of(found, "key")] == ["kling accepts the key."]


@pytest.mark.parametrize("default", ["", "mine"])
def test_a_placeholder_as_the_key_of_a_provider_of_one_s_own_is_told(
    default: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text('{"mine": {"like": "newapi", "base_url": "https://gateway.example"}}')
    found = findings(
        monkeypatch,
        KLING_MCP_PROVIDERS=str(rows),
        MINE_API_KEY="your-key-here",
        THEIRS_API_KEY="your-key-here",
        KLING_MCP_PROVIDER=default,
    )

    told = " ".join(f"{f.text} {f.advice}" for f in found)
    assert "MINE_API_KEY contains a placeholder" in told
    assert "THEIRS_API_KEY" not in told
    if not default:
        build_server(load_settings())
        assert "MINE_API_KEY contains a placeholder" in caplog.text


def test_that_providers_are_compared_by_price_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings(
        monkeypatch,
        KLING_MCP_PROVIDER="auto",
        KLING_API_KEY="a-key",
        KLING_BASE_URL="sandbox",
        COMETAPI_API_KEY="another-key",
        COMETAPI_BASE_URL="sandbox",
    )

    for name in ("kling", "cometapi"):
        how = f"{name} is compared with others by price (KLING_MCP_PROVIDER=auto)"
        assert any(f.text.startswith(how) for f in found)

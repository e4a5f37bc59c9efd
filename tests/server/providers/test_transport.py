"""Connections: base URL, credentials, timeouts, and the sandbox as a transport."""

import os
from pathlib import Path

import httpx
import pytest

from kling_mcp.providers.auth import ApiKey
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.configured import SANDBOX_URL, Configured, configured_providers
from kling_mcp.providers.rows import PROVIDERS, SANDBOX
from kling_mcp.providers.transport import connect
from kling_mcp.settings.settings import Settings, load_settings
from kling_mcp.version import __version__
from kling_tools.errors import (
    AuthFailed,
    ImageRejected,
    NotConfigured,
    ProviderDown,
    TaskNotFound,
)

pytestmark = pytest.mark.anyio


def settings_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, faults: str = "", **environment: str
) -> Settings:
    monkeypatch.chdir(folder)
    for name in os.environ:
        if name.endswith(("_API_KEY", "_BASE_URL")) or "KLING" in name:
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings(home=folder / "home", sandbox_faults=faults)


def default(settings: Settings) -> Configured:
    return next(iter(configured_providers(settings).values()))


@pytest.mark.parametrize(
    ("base_url", "host", "loopback"),
    [
        ("global", "api-singapore.klingai.com", False),
        ("china", "api-beijing.klingai.com", False),
        ("http://127.0.0.1:8765", "127.0.0.1", True),
        ("http://[::1]:8765", "::1", True),
        ("http://localhost", "localhost", True),
        ("http://127.0.0.1.example.com", "127.0.0.1.example.com", False),
    ],
)
async def test_kling_is_reached_at_the_base_url_of_the_settings(
    base_url: str, host: str, loopback: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, monkeypatch, KLING_API_KEY="k", KLING_BASE_URL=base_url)

    async with connect(default(settings), settings) as connection:
        assert connection.api.base_url.host == host
        assert connection.loopback is loopback
    assert connection.api.is_closed
    assert connection.files.is_closed


@pytest.mark.parametrize("base_url", ["https://-ü-.com", "https://999.999.999.999"])
async def test_a_base_url_that_no_host_can_have_is_told_with_its_setting(
    base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, monkeypatch, ANYFAST_API_KEY="k", ANYFAST_BASE_URL=base_url)

    with pytest.raises(NotConfigured, match="base URL of anyfast") as raised:
        async with connect(default(settings), settings):
            pass

    assert "ANYFAST_BASE_URL" in raised.value.advice


@pytest.mark.parametrize("name", PROVIDERS)
async def test_every_step_of_every_request_has_a_timeout(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = PROVIDERS[name]
    key = {row.key_setting: "k", row.base_url_setting: "https://provider.example"}
    settings = settings_of(tmp_path, monkeypatch, **({} if name == SANDBOX else key))

    async with connect(default(settings), settings) as connection:
        for http, longest_s in ((connection.api, 60), (connection.files, 180)):
            assert all(s and s <= longest_s for s in http.timeout.as_dict().values())
            assert http.headers["User-Agent"] == f"kling-mcp/{__version__}"
            assert "Authorization" not in http.headers
            assert http.follow_redirects is False


@pytest.mark.parametrize("name", [name for name in PROVIDERS if name not in ("kling", SANDBOX)])
async def test_a_gateway_in_the_sandbox_is_reached_below_its_own_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = {PROVIDERS[name].base_url_setting: "sandbox"}
    settings = settings_of(tmp_path, monkeypatch, **setting)

    async with connect(default(settings), settings) as connection:
        asked = connection.api.build_request("GET", f"{PROVIDERS[name].prefix}/image2video/t").url

    assert str(asked) == f"{SANDBOX_URL}/{name}/kling/v1/videos/image2video/t"


async def test_every_provider_of_the_sandbox_says_what_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [name for name in PROVIDERS if name != SANDBOX]
    settings = settings_of(
        tmp_path, monkeypatch, **{f"{name.upper()}_BASE_URL": "sandbox" for name in names}
    )

    for name, provider in configured_providers(settings).items():
        async with connect(provider, settings) as connection:
            client = KlingClient(provider.row, connection)
            with pytest.raises(TaskNotFound) as raised:
                await client.task("image2video", "nobody's")
        assert raised.value.provider == name


async def test_the_sandbox_answers_through_the_client_without_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, monkeypatch)

    async with connect(default(settings), settings) as connection:
        assert connection.loopback
        client = KlingClient(PROVIDERS[SANDBOX], connection)
        with pytest.raises(TaskNotFound):
            await client.task("image2video", "nobody's")
        assert await client.tasks("image2video", 1, 30) == []


async def test_connecting_to_the_sandbox_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, monkeypatch)

    async with connect(default(settings), settings):
        pass

    assert list(tmp_path.iterdir()) == []


class Broken:
    """An app that fails in the way that it is told."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def __call__(self, *_: object) -> None:
        raise self.error


async def get_from(
    error: Exception, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> httpx.Response:
    monkeypatch.setattr("kling_sandbox.app.create_app", lambda _: Broken(error))
    async with connect(default(settings), settings) as connection:
        return await connection.api.get("/")


@pytest.mark.parametrize(
    ("answered", "error"), [(False, httpx.RemoteProtocolError), (True, httpx.ReadError)]
)
async def test_a_connection_that_the_sandbox_drops_breaks_as_one_over_tcp(
    answered: bool, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kling_sandbox import ConnectionDropped

    dropped = ConnectionDropped("by a fault", answered=answered)

    with pytest.raises(error):
        await get_from(dropped, settings_of(tmp_path, monkeypatch), monkeypatch)


async def test_what_breaks_in_the_sandbox_is_its_http_500(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    response = await get_from(
        OSError("no space left"), settings_of(tmp_path, monkeypatch), monkeypatch
    )

    assert response.status_code == 500
    assert "no space left" not in response.text
    assert "The sandbox broke." in caplog.text


async def test_an_error_of_the_body_that_is_sent_comes_through_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImageRejected):
        await get_from(ImageRejected([]), settings_of(tmp_path, monkeypatch), monkeypatch)


async def test_a_wrong_key_is_told_by_the_sandbox_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, monkeypatch)

    async with connect(default(settings), settings) as connection:
        connection.credentials.token()
        wrong = type(connection)(connection.api, connection.files, ApiKey("wrong"), True)
        with pytest.raises(AuthFailed):
            await KlingClient(PROVIDERS[SANDBOX], wrong).task("image2video", "t")


async def test_a_server_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import stamina

    settings = settings_of(
        tmp_path, monkeypatch, KLING_API_KEY="k", KLING_BASE_URL="http://127.0.0.1:9"
    )

    async with connect(default(settings), settings) as connection:
        with stamina.set_testing(True, attempts=2), pytest.raises(ProviderDown) as raised:
            await KlingClient(PROVIDERS["kling"], connection).task("image2video", "t")

    assert "127.0.0.1" in raised.value.message
    assert "base URL" in raised.value.advice

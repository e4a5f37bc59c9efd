"""Connections: base URL, credentials, timeouts, and the sandbox as a transport."""

from pathlib import Path

import httpx
import pytest

from kling_mcp.auth import ApiKey, SignedToken
from kling_mcp.client import KlingClient
from kling_mcp.providers import PROVIDERS, SANDBOX
from kling_mcp.settings import Settings, load_settings
from kling_mcp.transport import connect, credentials_for
from kling_mcp.version import __version__
from kling_tools.errors import AuthFailed, ImageRejected, ProviderDown, TaskNotFound

pytestmark = pytest.mark.anyio


def settings_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, faults: str = "", **environment: str
) -> Settings:
    monkeypatch.chdir(folder)
    for name in ("KLING_API_KEY", "KLING_ACCESS_KEY", "KLING_SECRET_KEY", "KLING_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings(home=folder / "home", sandbox_faults=faults)


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

    async with connect(PROVIDERS["kling"], settings) as connection:
        assert connection.api.base_url.host == host
        assert connection.loopback is loopback
    assert connection.api.is_closed
    assert connection.files.is_closed


@pytest.mark.parametrize("name", PROVIDERS)
async def test_every_step_of_every_request_has_a_timeout(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, monkeypatch, KLING_API_KEY="k")

    async with connect(PROVIDERS[name], settings) as connection:
        for http in (connection.api, connection.files):
            assert all(seconds and seconds <= 60 for seconds in http.timeout.as_dict().values())
            assert http.headers["User-Agent"] == f"kling-mcp/{__version__}"
            assert "Authorization" not in http.headers
            assert http.follow_redirects is False


async def test_an_api_key_goes_before_a_key_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = {"KLING_ACCESS_KEY": "ak", "KLING_SECRET_KEY": "s" * 32}

    signed = credentials_for(PROVIDERS["kling"], settings_of(tmp_path, monkeypatch, **pair))
    plain = credentials_for(
        PROVIDERS["kling"], settings_of(tmp_path, monkeypatch, KLING_API_KEY="k", **pair)
    )

    assert isinstance(signed, SignedToken)
    assert (signed.access_key, signed.secret_key) == ("ak", "s" * 32)
    assert plain == ApiKey("k")


async def test_the_sandbox_never_sees_a_real_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, monkeypatch, KLING_API_KEY="real-key")

    assert credentials_for(PROVIDERS[SANDBOX], settings).token() != "real-key"


async def test_the_sandbox_answers_through_the_client_without_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, monkeypatch)

    async with connect(PROVIDERS[SANDBOX], settings) as connection:
        assert connection.loopback
        client = KlingClient(PROVIDERS[SANDBOX], connection)
        with pytest.raises(TaskNotFound):
            await client.task("image2video", "nobody's")
        assert await client.tasks("image2video", 1, 30) == []


async def test_connecting_to_the_sandbox_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(PROVIDERS[SANDBOX], settings_of(tmp_path, monkeypatch)):
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
    monkeypatch.setattr("kling_mcp.sandbox.app.create_app", lambda _: Broken(error))
    async with connect(PROVIDERS[SANDBOX], settings) as connection:
        return await connection.api.get("/")


@pytest.mark.parametrize(
    ("answered", "error"), [(False, httpx.RemoteProtocolError), (True, httpx.ReadError)]
)
async def test_a_connection_that_the_sandbox_drops_breaks_as_one_over_tcp(
    answered: bool, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kling_mcp.sandbox import ConnectionDropped

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

    async with connect(PROVIDERS[SANDBOX], settings) as connection:
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

    async with connect(PROVIDERS["kling"], settings) as connection:
        with stamina.set_testing(True, attempts=2), pytest.raises(ProviderDown) as raised:
            await KlingClient(PROVIDERS["kling"], connection).task("image2video", "t")

    assert "127.0.0.1" in raised.value.message
    assert "base URL" in raised.value.advice

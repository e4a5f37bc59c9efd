"""Which certificates servers are judged by, and what is said when a connection fails."""

import socket
import ssl
from pathlib import Path

import certifi
import pytest
import truststore

from kling_mcp.providers.network import certificate_store, connection_fault, tls_context
from kling_tools.errors import NotConfigured


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def system_with(monkeypatch: pytest.MonkeyPatch, cafile: str | None, capath: str | None) -> None:
    paths = ssl.DefaultVerifyPaths(cafile, capath, "", "", "", "")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)


def test_the_system_s_store_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    system_with(monkeypatch, certifi.where(), None)

    assert isinstance(tls_context(), truststore.SSLContext)
    assert certificate_store() == "the operating system's store"


@pytest.mark.parametrize("folder", [None, "empty"])
def test_a_linux_without_a_store_takes_certifi_s(
    folder: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system_with(monkeypatch, None, str(tmp_path) if folder else None)
    monkeypatch.setattr("sys.platform", "linux")

    context = tls_context()

    assert not isinstance(context, truststore.SSLContext)
    assert context.cert_store_stats()["x509_ca"] > 50
    assert "certifi" in certificate_store()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_macos_and_windows_always_have_a_store(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system_with(monkeypatch, None, None)
    monkeypatch.setattr("sys.platform", platform)

    assert certificate_store() == "the operating system's store"


def test_what_the_environment_names_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert tls_context().cert_store_stats()["x509_ca"] == 0
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())

    assert tls_context().cert_store_stats()["x509_ca"] > 50
    assert certificate_store() == f"SSL_CERT_FILE ({certifi.where()})"


def test_a_named_file_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")

    with pytest.raises(NotConfigured, match=r"SSL_CERT_FILE names /no/such/file\.pem"):
        tls_context()


def failure(cause: Exception) -> Exception:
    outer = RuntimeError("what the HTTP client raises")
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ssl.SSLCertVerificationError(1, "self-signed"), "certificate that is not trusted"),
        (ssl.SSLError(1, "wrong version number"), "TLS failed"),
        (socket.gaierror(-2, "Name or service not known"), "no such name is known"),
    ],
)
def test_a_failed_connection_is_told_by_its_cause(cause: Exception, words: str) -> None:
    told = connection_fault(failure(cause))

    assert told is not None
    assert words in told[0]
    assert told[1]


def test_what_cannot_be_told_is_not() -> None:
    circle = RuntimeError("a")
    circle.__context__ = failure(circle)

    assert connection_fault(failure(ConnectionResetError())) is None
    assert connection_fault(circle) is None

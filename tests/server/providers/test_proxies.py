"""Proxies of the environment: which requests take the direct way, and what cannot be used."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.server.providers.test_transport import default, settings_of

from kling_mcp.providers.network import proxy_of
from kling_mcp.providers.transport import connect
from kling_tools.errors import NotConfigured

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


EXCEPTED = [
    ("[::1]", "http://[::1]:8080/x"),
    ("::1", "http://[::1]/x"),
    ("[::1]:8080", "http://[::1]:8080/x"),
    ("fd07:b51a:cc66:f0::/64", "https://[fd07:b51a:cc66:f0::7]/x"),
    ("[fd07::]/16", "https://[fd07:1::7]/x"),
    ("localhost,127.0.0.1,::1,[::1]", "http://localhost:5/x"),
    ("10.0.0.0/8", "https://10.200.3.4/x"),
    ("10.0.0.7/8", "https://10.200.3.4/x"),
    ("192.0.2.7:8080", "http://192.0.2.7:8080/x"),
    ("example.com", "https://api.example.com/x"),
    (".example.com", "https://example.com/x"),
    ("*.example.com", "https://api.example.com/x"),
    (" EXAMPLE.com ", "https://Example.COM./x"),
    ("example.com:443", "https://example.com/x"),
    ("https://example.com", "https://example.com/x"),
    ("nothing, *", "https://anything.example/x"),
]
PROXIED = [
    ("[::1]", "http://[::2]:8080/x"),
    ("[::1]:8080", "http://[::1]:9090/x"),
    ("fd07:b51a:cc66:f0::/64", "https://[fd07:b51a:cc66:f1::7]/x"),
    ("10.0.0.0/8", "https://11.0.0.1/x"),
    ("fd07::/64", "https://10.0.0.1/x"),
    ("example.com", "https://notexample.com/x"),
    ("example.com:80", "https://example.com/x"),
    ("", "https://example.com/x"),
    (",,.,*.", "https://example.com/x"),
    ("[::1", "https://example.com/x"),
    ("10.0.0.0/99", "https://10.0.0.0/x"),
]


@pytest.mark.parametrize(("excepted", "url"), EXCEPTED)
def test_what_no_proxy_excepts_is_reached_directly(
    excepted: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", excepted)

    assert proxy_of(url) is None


@pytest.mark.parametrize(("excepted", "url"), PROXIED)
def test_all_else_goes_through_the_proxy(
    excepted: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", excepted)

    assert proxy_of(url) == PROXY


def test_a_scheme_s_own_proxy_wins_over_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("HTTPS_PROXY", "other.example:8080")

    assert proxy_of("https://example.com") == "http://other.example:8080"
    assert proxy_of("http://example.com") == PROXY
    assert proxy_of("http://example.com:99999/") == PROXY


@example("[::1]:")
@example("://")
@given(st.text(st.sampled_from("[]:/.,*%@1af "), max_size=40))
def test_no_text_of_no_proxy_breaks_anything(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALL_PROXY", PROXY)
        patch.setenv("NO_PROXY", text)

        assert proxy_of("http://[::1]:8080/x") in (None, PROXY)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.settimeout(10)
        yield listening


def first_line_of(listener: socket.socket, into: list[bytes]) -> None:
    connection, _ = listener.accept()
    with connection:
        into.append(connection.recv(1000).partition(b"\r\n")[0])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.anyio
@pytest.mark.parametrize("excepted", ["[::1]", "fd07:b51a:cc66:f0::/64", "127.0.0.0/8"])
async def test_a_provider_is_reached_whatever_no_proxy_says(
    excepted: str, listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = settings_of(tmp_path, monkeypatch, KLING_API_KEY="k", KLING_BASE_URL=url)
    monkeypatch.setenv("NO_PROXY", excepted)
    if "127" in excepted:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    seen: list[bytes] = []
    thread = threading.Thread(target=first_line_of, args=(listener, seen))
    thread.start()

    async with connect(default(settings), settings) as connection:
        assert (await connection.api.get("/x")).status_code == 200

    thread.join()
    assert seen == [b"GET /x HTTP/1.1"]


@pytest.mark.anyio
async def test_a_provider_is_asked_through_the_proxy_of_the_environment(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(
        tmp_path, monkeypatch, KLING_API_KEY="k", KLING_BASE_URL="http://provider.example"
    )
    monkeypatch.setenv("ALL_PROXY", f"127.0.0.1:{listener.getsockname()[1]}")
    monkeypatch.setenv("NO_PROXY", "[::1],10.0.0.0/8")
    seen: list[bytes] = []
    thread = threading.Thread(target=first_line_of, args=(listener, seen))
    thread.start()

    async with connect(default(settings), settings) as connection:
        assert (await connection.api.get("/x")).status_code == 200

    thread.join()
    assert seen == [b"GET http://provider.example/x HTTP/1.1"]


@pytest.mark.anyio
@pytest.mark.parametrize("proxy", ["gopher://h:1", "http://h:port", "http://[::1", "socks5://h:1"])
async def test_a_proxy_that_cannot_be_used_is_told_with_its_variable(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, monkeypatch, KLING_API_KEY="k")
    monkeypatch.setenv("ALL_PROXY", proxy)

    with pytest.raises(NotConfigured, match="proxy"):
        async with connect(default(settings), settings):
            pass

"""Which addresses a video is fetched from, as written in a URL and as connected to."""

import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kling_mcp.inputs.urls import is_private_host, is_public_peer
from kling_mcp.providers.auth import ApiKey
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.rows import PROVIDERS
from kling_mcp.providers.transport import Connection, PeerCheck, checked_url
from kling_tools.errors import ProviderDown, UnsafeUrl

PRIVATE = (
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "172.31.255.255",
    "192.168.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "fd12::1",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "fec0::1",
    "::ffff:0:7f00:1",
    "::ffff:0:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::100.64.0.1",
    "64:ff9b:1::8.8.8.8",
    "2002:a00:1::1",
    "2002:6440:1::1",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:169.254.169.254",
    "192.88.99.1",
    "3fff::1",
    "5f00::1",
    "100:0:0:1::1",
    "::8.8.8.8",
    "4000::1",
)
PUBLIC = (
    "8.8.8.8",
    "172.32.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2606:4700::1111",
    "2002:808:808::1",
)
SPELT_OTHERWISE = ("2130706433", "0x7f000001", "0x7F.1", "0177.0.0.1", "127.1", "10.258", "0")
LOCAL_NAMES = ("localhost", "LocalHost.", "a.localhost", "db.internal", "nas.local", "x.home.arpa")
NAMES = (
    "cdn.example",
    "localhost.example",
    "1e100.example",
    "127.0.0.1.example",
    "internal.example",
)


@pytest.mark.parametrize("host", [*PRIVATE, *SPELT_OTHERWISE, *LOCAL_NAMES])
def test_a_private_host_is_recognised_in_any_spelling(host: str) -> None:
    assert is_private_host(host)
    with pytest.raises(UnsafeUrl) as raised:
        checked_url("https", host, local=False, own=False)
    assert raised.value.charged == "no"


@pytest.mark.parametrize("host", [*PUBLIC, *NAMES])
def test_a_public_host_may_be_asked_and_the_connection_is_looked_at(host: str) -> None:
    assert not is_private_host(host)
    assert set(checked_url("https", host, local=False, own=False)) == {"trace"}


@pytest.mark.parametrize("scheme", ["http", "file", "ftp", "data", "", "HTTPS"])
def test_only_https_is_fetched(scheme: str) -> None:
    with pytest.raises(UnsafeUrl, match="not fetched"):
        checked_url(scheme, "cdn.example", local=False, own=False)


@pytest.mark.parametrize(("local", "own"), [(True, False), (False, True)])
def test_what_the_user_has_chosen_may_be_private(local: bool, own: bool) -> None:
    assert checked_url("https", "10.0.0.1", local=local, own=own) == {}


@pytest.mark.parametrize("address", [a for a in PRIVATE if a != "198.18.0.1"])
def test_a_private_peer_is_recognised(address: str) -> None:
    assert not is_public_peer(address)


@pytest.mark.parametrize("address", [*PUBLIC, "198.18.0.1"])
def test_a_public_peer_is_let_be_and_so_is_the_stand_in_of_a_vpn(address: str) -> None:
    assert is_public_peer(address)


@pytest.mark.parametrize("address", ["", "a/socket", "cdn.example"])
def test_a_peer_that_is_no_address_is_not_public(address: str) -> None:
    assert not is_public_peer(address)


class Stream:
    """A connection with another end."""

    def __init__(self, peer: Any) -> None:
        self.closed = False
        self._peer = peer

    def get_extra_info(self, name: str) -> Any:
        assert name == "server_addr"
        return self._peer

    async def aclose(self) -> None:
        self.closed = True


async def connects(asked: str, to: str, peer: Any) -> Stream:
    check, stream = PeerCheck(asked), Stream(peer)
    await check("connection.connect_tcp.started", {"host": to})
    try:
        await check("connection.connect_tcp.complete", {"return_value": stream})
    except UnsafeUrl:
        assert stream.closed
    return stream


@pytest.mark.anyio
async def test_a_connection_is_closed_when_its_other_end_is_private() -> None:
    assert (await connects("cdn.example", "cdn.example", ("10.0.0.1", 443))).closed
    assert (await connects("cdn.example", "cdn.example", None)).closed
    assert not (await connects("cdn.example", "cdn.example", ("8.8.8.8", 443))).closed


@pytest.mark.anyio
async def test_a_proxy_may_be_private() -> None:
    assert not (await connects("cdn.example", "proxy.lan", ("10.0.0.1", 3128))).closed


class Listener:
    """A service on this machine, which remembers what it is sent."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(5)
            self.heard.append(connection.recv(1000))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.thread.join(60)


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


@pytest.mark.anyio
@pytest.mark.parametrize("fetched", [False, True])
async def test_a_name_that_resolves_to_this_machine_is_not_sent_a_byte(
    fetched: bool, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with (
        httpx.AsyncClient(base_url="https://kling.example", trust_env=False) as api,
        httpx.AsyncClient(trust_env=False) as files,
    ):
        connection = Connection(api, files, ApiKey("k"), loopback=fetched)
        client = KlingClient(PROVIDERS["kling"], connection)
        with pytest.raises(ProviderDown if fetched else UnsafeUrl):
            async with client.open_video(f"https://cdn.example:{listener.port}/a.mp4"):
                raise AssertionError
    listener.thread.join(60)

    assert any(listener.heard) is fetched


@pytest.mark.anyio
async def test_a_video_below_the_provider_s_own_base_url_may_be_private() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, stream=httpx.ByteStream(b"video"))

    wire = httpx.MockTransport(answer)
    async with (
        httpx.AsyncClient(base_url="https://10.0.0.5:8443/api", transport=wire) as api,
        httpx.AsyncClient(transport=wire) as files,
    ):
        client = KlingClient(
            PROVIDERS["newapi"], Connection(api, files, ApiKey("k"), loopback=False)
        )
        async with client.open_video("https://10.0.0.5:8443/videos/a.mp4") as stream:
            assert b"".join([chunk async for chunk in stream.chunks]) == b"video"
        for other in ("https://10.0.0.5/a.mp4", "https://10.0.0.6:8443/a.mp4"):
            with pytest.raises(UnsafeUrl):
                async with client.open_video(other):
                    raise AssertionError

    assert asked == ["https://10.0.0.5:8443/videos/a.mp4"]


@given(host=st.one_of(st.text(max_size=40), st.ip_addresses().map(str)))
@example(host="9" * 5_000)
@example(host="0x" + "f" * 5_000)
def test_no_host_breaks_the_judgement(host: str) -> None:
    assert is_private_host(host) in (True, False)
    assert not (is_private_host(host) and is_public_peer(host)) or host.startswith("198.1")


@given(address=st.ip_addresses(v=4, network="10.0.0.0/8"), form=st.sampled_from(["d", "#x", "#o"]))
def test_a_private_address_is_one_as_a_number_too(address: IPv4Address, form: str) -> None:
    number = format(int(address), form).replace("0o", "0")

    assert is_private_host(number)

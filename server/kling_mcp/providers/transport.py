"""The HTTP connections of a provider: base URL, credentials and transport.

An ASGI transport leads to the sandbox, so the sandbox runs through exactly the code that calls
Kling.

Videos are fetched from public addresses only. A provider chooses the URL of a video, and that URL
may redirect; neither may lead this machine to a service of its own, of its network or of its cloud.
So the host of every URL is checked as it is written, and the peer of every connection before a byte
is sent. Behind an HTTP proxy the second check is not possible: the proxy makes the connection.
"""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from kling_mcp.inputs.urls import is_private_host, is_public_peer
from kling_mcp.providers.auth import Credentials
from kling_mcp.providers.configured import SANDBOX_URL, Configured
from kling_mcp.providers.network import known_proxies, proxy_of, tls_context
from kling_mcp.providers.rows import SANDBOX
from kling_mcp.version import __version__
from kling_tools.errors import KlingError, NotConfigured, UnsafeUrl

if TYPE_CHECKING:
    from kling_mcp.settings.settings import Settings

__all__ = [
    "Callbacks",
    "Connection",
    "PeerCheck",
    "checked_url",
    "connect",
    "parsed_url",
]


HOST_SHOWN = 80
SCHEME_SHOWN = 20


def checked_url(scheme: str, host: str, *, local: bool, own: bool) -> dict[str, Any]:
    """The httpx extensions of a request to a URL that the provider gave; raises UnsafeUrl.

    `local` says that the provider itself runs on this machine, so that its URLs may be local and
    http. `own` says that the URL is below the provider's base URL, which the user has chosen.
    """
    if not host or scheme not in ("https", *["http"] * local):
        kind = scheme[:SCHEME_SHOWN] if host else "broken"
        raise UnsafeUrl(
            f"The provider gave a {kind} URL for the video, which is not fetched.",
            advice="Only https URLs are downloaded. The video still exists at the provider.",
        )
    if local or own:
        return {}
    if is_private_host(host):
        raise _private(host)
    return {"trace": PeerCheck(host)}


class PeerCheck:
    """A `trace` extension for one httpx request to `host`.

    It checks the peer of the connection before a byte is sent, and raises UnsafeUrl for a private
    address. It does not check a connection to a proxy.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._direct = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore calls this with the name and the details of each step."""
        if event == "connection.connect_tcp.started":
            self._direct = info["host"] == self._host
        elif event == "connection.connect_tcp.complete" and self._direct:
            stream = info["return_value"]
            peer = stream.get_extra_info("server_addr")
            if not peer or not is_public_peer(str(peer[0])):
                await stream.aclose()
                raise _private(self._host)


def _private(host: str) -> UnsafeUrl:
    return UnsafeUrl(
        f"The provider sends to {host[:HOST_SHOWN]} for the video, which is an address of this "
        "machine or of a private network and is not fetched.",
        advice="The video still exists at the provider. If it runs its own gateway, whoever runs "
        "this server can fetch the file by hand.",
    )


logger = logging.getLogger(__name__)

if "sniffio" not in sys.modules and find_spec("sniffio") is None:
    # httpcore imports it four times a request: without this, each time searches all folders
    sys.modules["sniffio"] = None  # type: ignore[assignment]

httpcore.AsyncHTTP11Connection.READ_NUM_BYTES = 256 * 1024
"""As much as asyncio reads at once. httpcore cuts that into four, and moves the rest each time."""

TIMEOUT = httpx.Timeout(connect=10, read=60, write=60, pool=10)
"""Seconds for each step of a request; `kling_mcp.providers.client` limits the whole request."""

FILE_TIMEOUT = httpx.Timeout(connect=10, read=180, write=60, pool=10)
"""Seconds for each step of a download; a sandbox may need them to make a clip of 15 s in 4k."""

MOST_PORT = 65_535

HEADERS = {"User-Agent": f"kling-mcp/{__version__}"}


@dataclass(frozen=True, slots=True)
class Connection:
    """Two clients: `api` for the provider's routes, `files` for signed URLs, which must not get the
    key. `loopback` says that the provider itself runs on this machine, where http is allowed."""

    api: httpx.AsyncClient
    files: httpx.AsyncClient
    credentials: Credentials
    loopback: bool


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The base of the addresses that a provider may call back, and the secret for its signatures;
    both are empty without a listener."""

    base: str = ""
    secret: str = field(default="", repr=False)


@asynccontextmanager
async def connect(
    provider: Configured, settings: Settings, callbacks: Callbacks | None = None
) -> AsyncIterator[Connection]:
    """Open the provider's connections and close them at the end. An embedded sandbox calls back
    below `callbacks.base` only.

    Raises NotConfigured for a base URL that no host can have, and for certificates or a proxy
    that cannot be used.
    """
    base_url = _base_url(provider)
    try:
        if provider.embedded:
            carriers = [_embedded_sandbox(settings, callbacks or Callbacks())] * 2
        else:
            verify = tls_context()
            carriers = [_by_environment(verify) for _ in range(2)]
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise NotConfigured(
            "The proxy that this machine's environment names cannot be used: it has to be "
            "http:// or https:// (socks5:// needs the package socksio).",
            advice="Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY.",
        ) from error
    api = httpx.AsyncClient(
        base_url=base_url, headers=HEADERS, timeout=TIMEOUT, transport=carriers[0], trust_env=False
    )
    files = httpx.AsyncClient(
        headers=HEADERS, timeout=FILE_TIMEOUT, transport=carriers[1], trust_env=False
    )
    async with api, files:
        loopback = provider.embedded or base_url.host in ("127.0.0.1", "localhost", "::1")
        yield Connection(api, files, provider.credentials, loopback)


def _by_environment(verify: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    """A transport that sends each request through its proxy or directly. Raises ValueError,
    ImportError or httpx.InvalidURL for a proxy that cannot be used."""
    direct = httpx.AsyncHTTPTransport(verify=verify)
    through = {
        proxy: httpx.AsyncHTTPTransport(verify=verify, proxy=httpx.Proxy(proxy))
        for proxy in set(known_proxies().values())
    }
    return _ByEnvironment(direct, through) if through else direct


class _ByEnvironment(httpx.AsyncBaseTransport):
    def __init__(
        self, direct: httpx.AsyncBaseTransport, through: dict[str, httpx.AsyncHTTPTransport]
    ) -> None:
        self._direct = direct
        self._through = through

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        proxy = proxy_of(str(request.url))
        carrier = self._through.get(proxy, self._direct) if proxy else self._direct
        return await carrier.handle_async_request(request)

    async def aclose(self) -> None:
        for carrier in (self._direct, *self._through.values()):
            await carrier.aclose()


def parsed_url(text: str) -> httpx.URL | None:
    """The URL if a connection to it can be tried; None if httpx or a socket would break, as at a
    port above 65535 or at the host `xn--.invalid`, which is no valid name."""
    try:
        url = httpx.URL(text)
        possible = url.host.isprintable() and url.raw_host.isascii()
    except (httpx.InvalidURL, UnicodeError):
        return None
    return url if possible and (url.port is None or 0 < url.port <= MOST_PORT) else None


def _base_url(provider: Configured) -> httpx.URL:
    url = parsed_url(provider.base_url)
    if url is None:
        raise NotConfigured(
            f"The base URL of {provider.name} cannot be used: no connection can be made to it.",
            advice=f"Set {provider.row.base_url_setting} to the address of a host, with a port "
            "below 65536 if it needs one.",
        )
    return url


def _embedded_sandbox(settings: Settings, callbacks: Callbacks) -> httpx.AsyncBaseTransport:
    from kling_sandbox import SandboxConfig, create_app
    from kling_sandbox.faults import parse_faults
    from kling_sandbox.webhooks import call_none, only_below

    config = SandboxConfig(
        home=settings.home / SANDBOX,
        queue_s=settings.sandbox_queue_s,
        render_s=settings.sandbox_render_s,
        side_px=settings.sandbox_side_px,
        slots=settings.sandbox_slots,
        preview=settings.models_preview,
        faults=parse_faults(settings.sandbox_faults),
        public_url=SANDBOX_URL,
        may_call=only_below(callbacks.base) if callbacks.base else call_none,
        callback_secret=callbacks.secret,
    )
    return _SandboxTransport(create_app(config))


class _SandboxTransport(httpx.AsyncBaseTransport):
    """The sandbox in this process. It fails like a server behind a port: a dropped connection is a
    broken one, and an error in its code is an HTTP 500."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        from kling_sandbox import ConnectionDropped

        try:
            return await self._inner.handle_async_request(request)
        except ConnectionDropped as error:
            broken = httpx.ReadError if error.answered else httpx.RemoteProtocolError
            raise broken(str(error), request=request) from error
        except (KlingError, httpx.HTTPError):
            raise
        except Exception:
            logger.exception("The sandbox broke.")
            return httpx.Response(500, request=request, text="Internal Server Error")

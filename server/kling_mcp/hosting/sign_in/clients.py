"""The programs that people sign in for: they register themselves (RFC 7591), or their id is the URL
of a description of theirs (OAuth client ID metadata document), which is fetched here.

Nobody checks what a program says of itself. So the sign-in page shows where the answer is sent, and
that address must be one of the program's own, to the letter. The port of an address on the person's
own machine may differ (RFC 8252, 7.3).
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import anyio
from mcp.server.auth.provider import RegistrationError
from mcp.shared.auth import InvalidRedirectUriError, OAuthClientInformationFull
from pydantic import AnyUrl, ValidationError

from kling_mcp.principal import READ, SPEND
from kling_tools.errors import KlingError
from kling_tools.quoting import clipped, quote_provider

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Client",
    "Descriptions",
    "Fetch",
    "TooMany",
    "client_of",
    "fetched",
    "is_url",
    "spelled",
]

logger = logging.getLogger(__name__)

GRANT_TYPES = ["authorization_code", "refresh_token"]

MOST_ADDRESSES = 20
LONGEST_URL = 2000
LONGEST_NAME = 60

LOOPBACK = ("127.0.0.1", "[::1]", "localhost")

APPS = frozenset(
    {
        *("claude", "cursor", "goose", "kiro", "raycast", "trae", "vscode", "vscode-insiders"),
        *("vscodium", "warp", "windsurf", "zed"),
    }
)
"""Schemes of apps that sign in. Others must be a domain of the app's, spelled backwards (RFC 8252,
7.1): many short ones lead to a script, a file, or a program of the system."""

_DOMAIN = re.compile(r"[a-z]{2,}(\.[a-z0-9-]+)+")

FETCH_S = 5.0
DOCUMENT_BYTES = 5 * 1024
"""The largest description (bytes), as its standard recommends."""

KEPT_S = 300.0
"""Seconds that a description is not fetched again."""

MOST_KEPT = 100
FETCHES_A_MINUTE, OF_ONE_ADDRESS = 60, 10
AT_ONCE = 8

Fetch = Callable[[str], Awaitable[bytes]]
"""Reads the description at a URL. Raises ValueError with the reason."""


class TooMany(Exception):
    """A limit is reached; come again after `wait_s` seconds."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"Too many tries. Wait {wait_s} s.")
        self.wait_s = wait_s


class Client(OAuthClientInformationFull):
    """A public client: it has no secret, and proves with PKCE that a code is its own."""

    def validate_redirect_uri(self, redirect_uri: AnyUrl | None) -> AnyUrl:
        """The address, if it is the program's own. Raises InvalidRedirectUriError."""
        if redirect_uri is None:
            return super().validate_redirect_uri(None)
        if not any(_same(own, redirect_uri) for own in self.redirect_uris or ()):
            raise InvalidRedirectUriError("The redirect address is none of this program's.")
        return redirect_uri

    def validate_scope(self, requested_scope: str | None) -> list[str]:
        """The scopes of this server among the requested ones; looking alone when all are those of
        others, and both when none is requested."""
        asked = (requested_scope or "").split() or [READ, SPEND]
        return [scope for scope in (READ, SPEND) if scope in asked] or [READ]

    @property
    def shown_name(self) -> str:
        """What it calls itself, in one short line without invisible characters."""
        name = quote_provider(self.client_name or "")
        return clipped(name, LONGEST_NAME) or "A program without a name"

    @property
    def host(self) -> str:
        """The host that vouches for its description; empty when it registered itself."""
        return urlsplit(self.client_id).hostname or "" if is_url(self.client_id) else ""

    def kept(self) -> str:
        """What the database keeps of it; `client_of` reads it again."""
        return json.dumps({"client_name": self.client_name, "redirect_uris": self._addresses()})

    def _addresses(self) -> list[str]:
        return [str(uri) for uri in self.redirect_uris or ()]


def _same(own: AnyUrl, asked: AnyUrl) -> bool:
    if own == asked:
        return True
    near = asked.scheme == own.scheme == "http" and own.host in LOOPBACK
    return near and _without_port(own) == _without_port(asked)


def _without_port(url: AnyUrl) -> tuple[Any, ...]:
    return (url.host, url.path or "/", url.query, url.username, url.password, url.fragment)


def is_url(client_id: str) -> bool:
    """Whether a client's id is a URL, at which its description is."""
    return client_id[:8].lower() == "https://"


def client_of(client_id: str, name: object, addresses: Iterable[object]) -> Client:
    """The client with this name and these redirect addresses. Raises ValueError for addresses that
    no code should be sent to."""
    found = [_address(address) for address in addresses]
    if not 0 < len(found) <= MOST_ADDRESSES:
        raise ValueError(f"redirect_uris must have 1 to {MOST_ADDRESSES} addresses")
    return Client(
        client_id=client_id,
        client_name=clipped(name, 4 * LONGEST_NAME) if isinstance(name, str) and name else None,
        redirect_uris=found,
        grant_types=GRANT_TYPES,
        response_types=["code"],
        token_endpoint_auth_method="none",  # noqa: S106 - no password
        scope=f"{READ} {SPEND}",
    )


def spelled(text: str) -> AnyUrl:
    """The address. Raises ValueError for any other spelling than the one that programs compare to
    the letter (RFC 9700, 4.1.3): small letters in the host, no dots for folders, no blanks."""
    try:
        url = AnyUrl(text)
    except ValidationError:
        raise ValueError("a redirect_uri is no URL") from None
    usual = str(url)
    if text != usual and (url.path != "/" or f"{text}/" != usual):
        raise ValueError(f"a redirect_uri must be spelled {clipped(quote_provider(usual), 200)}")
    return url


def _address(text: object) -> AnyUrl:
    url = spelled(str(text))
    if len(str(url)) > LONGEST_URL:
        raise ValueError(f"a redirect_uri has more than {LONGEST_URL} characters")
    if url.fragment is not None or url.username is not None or url.password is not None:
        raise ValueError("a redirect_uri must have no fragment, user or password")
    if url.scheme == "http" and url.host not in LOOPBACK:
        raise ValueError("a redirect_uri must be https (http only on the person's own machine)")
    known = url.scheme in ("https", "http") or url.scheme in APPS
    if not known and not _DOMAIN.fullmatch(url.scheme):
        raise ValueError(
            f"a redirect_uri must not begin with {url.scheme}: (an app's own scheme is a domain "
            "backwards, such as com.example.app:)"
        )
    return url


def registered(asked: OAuthClientInformationFull) -> Client:
    """The client for a registration. Raises RegistrationError."""
    try:
        return client_of(asked.client_id, asked.client_name, asked.redirect_uris or ())
    except ValueError as error:
        raise RegistrationError("invalid_redirect_uri", f"{error}.") from None


class Descriptions:
    """The descriptions of programs, fetched when somebody comes with such an id, and kept for a few
    minutes. Strangers cause few fetches: OF_ONE_ADDRESS a minute, and FETCHES_A_MINUTE together.
    `clock` tells seconds."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Client]] = OrderedDict()
        self._fetches: deque[tuple[float, str]] = deque(maxlen=FETCHES_A_MINUTE)
        self._turn = anyio.Semaphore(AT_ONCE)
        self._under_way: dict[str, tuple[str, anyio.Event]] = {}

    async def client(self, url: str, address: str = "", *, waits: bool = True) -> Client | None:
        """The client at this URL; None where there is none, the log says why. `address` is whose
        browser came with it; it fetches one at a time. Raises TooMany; without `waits` also while
        every place is taken."""
        while (fetching := self._under_way.get(url)) and waits:
            await fetching[1].wait()
        if kept := self._fresh(url):
            return kept
        if not waits and (fetching or len(self._under_way) >= AT_ONCE):
            raise TooMany(math.ceil(FETCH_S))
        now = self._clock()
        try:
            _check_url(url)
            self._count(now, address)
            client = _described(url, await self._fetched(url, address))
        except (ValueError, RecursionError, KlingError) as error:
            shown = clipped(quote_provider(url), 200)
            logger.warning("The description of a program at %s is refused: %s", shown, error)
            return None
        self._kept[url] = (now + KEPT_S, client)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return client

    async def _fetched(self, url: str, address: str) -> bytes:
        done = anyio.Event()
        self._under_way[url] = (address, done)
        try:
            async with self._turn:
                return await self._fetch(url)
        finally:
            del self._under_way[url]
            done.set()

    def _fresh(self, url: str) -> Client | None:
        until, client = self._kept.get(url, (0.0, None))
        return client if until > self._clock() else None

    def _count(self, now: float, address: str) -> None:
        if any(whose == address for whose, _ in self._under_way.values()):
            raise TooMany(math.ceil(FETCH_S))
        lately = [(at, whose) for at, whose in self._fetches if now - at < 60]
        for most, times in (
            (OF_ONE_ADDRESS, [at for at, whose in lately if whose == address]),
            (FETCHES_A_MINUTE, [at for at, _ in lately]),
        ):
            if len(times) >= most:
                raise TooMany(max(1, math.ceil(times[0] + 60 - now)))
        self._fetches.append((now, address))


def _check_url(url: str) -> None:
    from kling_mcp.inputs.urls import is_private_host
    from kling_mcp.providers.transport import parsed_url

    parts = urlsplit(url)
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("the URL is too long, or has other characters than those of URLs")
    if parts.scheme != "https" or not parts.hostname or parts.path in ("", "/") or "#" in url:
        raise ValueError("it must be an https URL with a path and without a fragment")
    if parts.username is not None or {".", ".."} & set(unquote(parts.path).split("/")):
        raise ValueError("the URL must have no user and no dots for folders")
    if is_private_host(parts.hostname) or parsed_url(url) is None:
        raise ValueError("the host is none of the internet")


def _described(url: str, document: bytes) -> Client:
    found = json.loads(document)
    if not isinstance(found, dict) or found.get("client_id") != url:
        raise ValueError("the document does not name this very URL as its client_id")
    if "client_secret" in found or found.get("token_endpoint_auth_method", "none") != "none":
        raise ValueError("the document is that of a client with a secret or a key")
    addresses = found.get("redirect_uris")
    if not isinstance(addresses, list):
        raise ValueError("the document has no redirect_uris")
    return client_of(url, found.get("client_name"), addresses)


async def fetched(url: str) -> bytes:
    """What is at the URL: 200, JSON, small, soon, from a public host, without a redirect. Raises
    ValueError for anything else."""
    import httpx

    from kling_mcp.providers.network import proxy_of, tls_context
    from kling_mcp.providers.transport import HEADERS, PeerCheck

    check = PeerCheck(httpx.URL(url).raw_host.decode("ascii"))
    headers = {**HEADERS, "Accept": "application/json", "Accept-Encoding": "identity"}
    body = bytearray()
    try:
        with anyio.fail_after(FETCH_S):
            async with (
                httpx.AsyncClient(
                    verify=tls_context(), timeout=FETCH_S, proxy=proxy_of(url), trust_env=False
                ) as http,
                http.stream("GET", url, headers=headers, extensions={"trace": check}) as answer,
            ):
                if answer.status_code != 200:
                    raise ValueError(f"the answer has status {answer.status_code}")
                if "json" not in answer.headers.get("content-type", ""):
                    raise ValueError("the answer is no JSON")
                async for chunk in answer.aiter_raw():
                    body += chunk
                    if len(body) > DOCUMENT_BYTES:
                        raise ValueError(f"it has more than {DOCUMENT_BYTES:,} bytes")
    except TimeoutError:
        raise ValueError(f"it did not come within {FETCH_S:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    return bytes(body)

"""A server for a team, in a thread on loopback, and those who give out logins for it."""

import json
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from tests.server.protocol.raw_client import MODERN
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.hosting.http_app import http_app, server_of
from kling_mcp.hosting.request_limits import Limits
from kling_mcp.hosting.sign_in.clients import Fetch, fetched
from kling_mcp.hosting.team import Hosting
from kling_mcp.hosting.team_settings import load_host_settings
from kling_mcp.hosting.tokens import TokenFile, new_token
from kling_mcp.principal import READ, SPEND
from kling_mcp.protocol.server import build_server
from kling_mcp.service import Service
from kling_sandbox.app import bound_socket

__all__ = [
    "ERAS",
    "META",
    "Issuer",
    "Team",
    "give_token",
    "key_named",
    "picture_data",
    "post",
    "public_jwk",
    "served_issuer",
    "served_team",
]

ERAS = ("legacy", "2026-07-28")
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass
class Team:
    """`base` is the server's URL without a path, `url` where it speaks the protocol."""

    folder: Path
    base: str
    server: MCPServer[Service]
    hosting: Hosting

    @property
    def url(self) -> str:
        return f"{self.base}/mcp"

    @asynccontextmanager
    async def client(self, token: str, era: str) -> AsyncIterator[Client]:
        """The SDK's own client, with a login."""
        async with (
            httpx2.AsyncClient(headers=_bearer(token), timeout=30, verify=False) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=era) as client,
        ):
            yield client

    def call(self, token: str, tool: str, **arguments: Any) -> dict[str, Any]:
        """The result of a tool call of the 2026-07-28 protocol."""
        answer = post(self.url, token, "tools/call", name=tool, arguments=arguments)
        assert answer.status_code == 200, answer.text
        lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        result: dict[str, Any] = json.loads(lines[-1] if lines else answer.text)["result"]
        return result

    def status(self, token: str | None, **headers: str) -> int:
        """What the protocol's address answers to whoever has this token."""
        return post(self.url, token, "server/discover", headers).status_code


def post(
    url: str, token: str | None, method: str, headers: Mapping[str, str] = {}, **params: Any
) -> httpx.Response:
    """One request of the 2026-07-28 protocol. Without TLS no certificates are read, which takes
    longer than the request."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META, **params}}
    all_headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": MODERN,
        "mcp-method": method,
        **({"mcp-name": params["name"]} if "name" in params else {}),
        **(_bearer(token) if token is not None else {}),
        **headers,
    }
    return httpx.post(url, json=message, headers=all_headers, timeout=30, verify=False)


def picture_data(folder: Path) -> str:
    """A small picture as a `data:` URI: a hosted server reads no paths."""
    return "data:image/png;base64," + b64encode(Path(picture(folder)).read_bytes()).decode()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def served_team(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    provider: Mapping[str, Any] = {},
    limits: Limits = Limits(),  # noqa: B008 - frozen
    clock: Callable[[], float] = time.time,
    fetch: Fetch = fetched,
    **options: Any,
) -> Iterator[Team]:
    """Serve with these settings of the host; `provider` are those of the server itself. `fetch`
    reads the descriptions of programs."""
    listener = bound_socket(host, 0)
    base = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    options.setdefault("public_url", base if host == "127.0.0.1" else "")
    settings = sandbox_settings(folder, **provider)
    hosting = Hosting.create(settings, load_host_settings(**options), clock, fetch)
    hosting = hosting.reached_at(base, settings, clock)
    server = build_server(settings, sleep=no_sleep, team=hosting.team(settings), clock=clock)
    running = server_of(http_app(server, host, hosting, limits), hosting, limits)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        _wait_until_started(running, thread)
        yield Team(folder, base, server, hosting)
    finally:
        running.should_exit = True
        thread.join(timeout=60)
        listener.close()


def _wait_until_started(running: Any, thread: threading.Thread) -> None:
    until = time.monotonic() + 60
    while not running.started:
        assert thread.is_alive()
        assert time.monotonic() < until
        thread.join(0.005)


def give_token(path: Path, name: str, *scopes: str, **more: Any) -> str:
    """Put a token for somebody into the file; without scopes it allows everything."""
    text, line = new_token(name, scopes or (READ, SPEND), **more)
    file = TokenFile(path)
    file.write([*file.all(), line])
    return text


@cache
def key_named(name: str) -> rsa.RSAPrivateKey:
    """The same key for the same name: making one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Issuer:
    """A login service: publishes the public halves of the keys in `kids`, and counts how often it
    was asked for them. `answers` has other pages, by path; `/moved` leads to `moved_to`,
    and says what browsers never show; keys are told when it `may_answer`."""

    url: str
    kids: list[str] = field(default_factory=lambda: ["one"])
    asked: int = 0
    answers: dict[str, bytes] = field(default_factory=dict)
    moved_to: str = ""
    may_answer: threading.Event = field(default_factory=threading.Event)
    was_asked: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    def token(self, audience: str, *, kid: str = "one", **claims: Any) -> str:
        """A token for ann, good for an hour; claims that are None are left out."""
        now = int(time.time())
        all_claims = {
            "iss": self.url,
            "aud": audience,
            "sub": "ann",
            "exp": now + 3600,
            "iat": now,
            "scope": f"{READ} {SPEND}",
            **claims,
        }
        given = {name: value for name, value in all_claims.items() if value is not None}
        return jwt.encode(given, key_named(kid), algorithm="RS256", headers={"kid": kid})

    def page(self, path: str) -> bytes | None:
        """What is published at a path."""
        if path in self.answers:
            return self.answers[path]
        if path == "/moved":
            return json.dumps({"keys": [public_jwk(kid) for kid in self.kids]}).encode()
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()
        if path == "/keys":
            self.asked += 1
            self.was_asked.set()
            self.may_answer.wait(60)
            return json.dumps({"keys": [public_jwk(kid) for kid in self.kids]}).encode()
        return None


def public_jwk(kid: str) -> dict[str, Any]:
    """The public half of a key, as issuers publish it."""
    public = jwt.algorithms.RSAAlgorithm.to_jwk(key_named(kid).public_key(), as_dict=True)
    return {**public, "kid": kid, "use": "sig", "alg": "RS256"}


@contextmanager
def served_issuer() -> Iterator[Issuer]:
    """A login service over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = issuer.page(self.path)
            moved = self.path == "/moved"
            self.send_response(302 if moved else 404 if page is None else 200)
            if moved:
                self.send_header("Location", issuer.moved_to)
            self.send_header("Content-Length", str(len(page or b"")))
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join(timeout=60)
        server.server_close()

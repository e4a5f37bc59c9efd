"""The server over HTTP: its ASGI application, its routes (`/healthz`, `/readyz` and `/metrics`
for those who run it), and the uvicorn server."""

from __future__ import annotations

import logging
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvicorn
from mcp.server.transport_security import (
    TransportSecurityMiddleware,
    TransportSecuritySettings,
)
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kling_mcp.hosting.public_routes import public_routes
from kling_mcp.hosting.request_limits import (
    Limits,
    RateLimited,
    RequestLimits,
    connection_class,
)
from kling_mcp.hosting.team_settings import is_this_machine
from kling_mcp.principal import METRICS
from kling_tools.errors import KlingError, NotConfigured

if TYPE_CHECKING:
    from mcp.server import MCPServer
    from mcp.server.auth.provider import TokenVerifier
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send

    from kling_mcp.hosting.team import Hosting

__all__ = ["MAX_BODY_BYTES", "http_app", "refuse_to_be_open", "routes", "server_of", "url_of"]


def routes(hosting: Hosting) -> list[Route]:
    """The routes beside MCP."""
    return [*health_routes(hosting), *public_routes(hosting)]


logger = logging.getLogger(__name__)

PATH = "/mcp"

MAX_BODY_BYTES = 56 * 1024 * 1024
"""Room for four pictures of 10 MB (Kling's limit for each) in base64, and for the JSON around."""

GRACE_S = 5
"""Seconds that open streams have to end by themselves when the server stops. A request on its way
to a provider is finished in any case."""


READABLE = ("Mcp-Session-Id", "Mcp-Protocol-Version", "WWW-Authenticate", "Retry-After")
"""Response headers that web pages may read beside those that CORS always allows."""


def http_app(
    server: MCPServer[Any],
    host: str,
    hosting: Hosting | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Starlette:
    """The ASGI application for the bind address `host`. It refuses requests whose Host or Origin
    names another machine, and bodies above MAX_BODY_BYTES or above the tool's limit (413). Web
    pages of the configured origins may call it (CORS).

    Servers that share a database keep no sessions, so each request may go to any of them.
    """
    security = _security(host, hosting)
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=MAX_BODY_BYTES,
        transport_security=security,
        stateless_http=hosting is not None and hosting.stateless,
    )
    if hosting and hosting.logins:
        for route in app.routes:
            if isinstance(route, Route) and route.path == PATH:
                route.app = RateLimited(route.app, hosting.settings.rate_per_minute)
    if hosting:
        from kling_mcp.hosting.login import metadata_routes

        app.routes[:0] = metadata_routes(hosting.settings)
        app.routes.extend(routes(hosting))
        for route in app.routes:
            if isinstance(route, Route) and route.path.startswith("/uploads/"):
                route.app = _OwnSite(route.app, security)
    if hosting and hosting.sign_in:
        from kling_mcp.hosting.sign_in.routes import sign_in_routes

        limited = partial(RateLimited, per_minute=hosting.settings.rate_per_minute)
        app.routes.extend(sign_in_routes(hosting.sign_in, hosting.caps, limited))
    app.add_middleware(RequestLimits, path=PATH, limits=limits)
    if hosting and hosting.settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origin_regex="|".join(map(_as_regex, hosting.settings.allowed_origins)),
            allow_methods=("GET", "POST", "PUT", "DELETE"),
            allow_headers=("*",),
            expose_headers=READABLE,
        )
    return app


class _OwnSite:
    """An ASGI application that refuses, as MCP's own address does, requests whose Host or Origin
    names another site: whatever a page of it has found out, it can use nothing here."""

    def __init__(self, app: ASGIApp, security: TransportSecuritySettings) -> None:
        self._app = app
        self._security = TransportSecurityMiddleware(security)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        refusal = await self._security.validate_request(Request(scope, receive))
        await (refusal or self._app)(scope, receive, send)


def _as_regex(origin: str) -> str:
    """A regular expression for a configured origin; `:*` at its end means any port."""
    name, anywhere, _ = origin.partition(":*")
    return re.escape(name) + (r":\d+" if anywhere else "")


def _security(host: str, hosting: Hosting | None) -> TransportSecuritySettings:
    """The host names and origins that requests may carry."""
    names = ["127.0.0.1", "localhost", "[::1]"]
    bound = f"[{host}]" if ":" in host else host
    if bound not in (*names, "0.0.0.0", "[::]"):  # noqa: S104
        names.append(bound)
    hosts = [*names, *(f"{name}:*" for name in names)]
    origins = [f"http://{name}{port}" for name in names for port in ("", ":*")]
    if hosting:
        public = urlsplit(hosting.settings.public_url)
        hosts += [public.netloc] if public.netloc else []
        hosts += hosting.settings.allowed_hosts
        origins += [hosting.settings.public_url] if public.netloc else []
        origins += hosting.settings.allowed_origins
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=origins
    )


def refuse_to_be_open(host: str, hosting: Hosting) -> None:
    """Raises NotConfigured when other machines can reach the server without a login: anyone who
    reaches it can spend its owner's money. A public URL counts as reachable, because requests to
    it come through a proxy or a tunnel, wherever the server itself listens."""
    from kling_mcp.hosting.team_settings import is_this_machine

    if hosting.logins is not None:
        return
    public_url = hosting.settings.public_url
    named = bool(public_url) and not is_this_machine(urlsplit(public_url).hostname or "")
    if named or not is_this_machine(host):
        way = "leave KLING_MCP_PUBLIC_URL out" if named else "use --host 127.0.0.1"
        raise NotConfigured(
            f"Other machines can reach this server at {public_url if named else host}, and it has "
            "no login: anyone could spend your units.",
            advice=f"Set KLING_MCP_TOKENS or KLING_MCP_AUTH_ISSUER (docs/deploy.md), or {way}.",
        )


class _Announcing(uvicorn.Server):
    """Prints its address on standard error once it is ready."""

    def __init__(self, config: uvicorn.Config, hosting: Hosting | None) -> None:
        super().__init__(config)
        self._hosting = hosting

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._hosting:
            self._hosting.state.stopping = True
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            for bound in sockets or ():
                self._say(f"kling-mcp serves MCP at {url_of(bound)}{PATH}")

    def _say(self, line: str) -> None:
        if self._hosting and self._hosting.settings.log_format == "json":
            logger.info(line)
        else:
            print(line, file=sys.stderr, flush=True)


def server_of(
    app: Starlette,
    hosting: Hosting | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> uvicorn.Server:
    """The uvicorn server of the app; `run(sockets=[...])` serves until it is stopped. Only trusted
    proxies may say, in their headers, where a request comes from."""
    proxies = hosting.settings.trusted_proxies if hosting else ()
    config = uvicorn.Config(
        app,
        http=connection_class(limits.head_s),
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return _Announcing(config, hosting)


def url_of(bound: socket.socket) -> str:
    """The http:// URL of a listening socket, without a path."""
    address: Sequence[Any] = bound.getsockname()
    host, port = str(address[0]), int(address[1])
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
"""Headers that proxies add. Behind a proxy, every request comes from the proxy's address."""


def health_routes(hosting: Hosting) -> list[Route]:
    """The three routes. Their answers name no person and no task."""
    metrics = hosting.metrics

    async def counts() -> Sequence[Mapping[str, Any]]:
        runtime = hosting.state.runtime
        return await runtime.ledger.counts() if runtime else ()

    async def healthz(_: Request) -> Response:
        if hosting.state.runtime is None and not hosting.state.stopping:
            return PlainTextResponse("the part that answers calls has ended\n", 503)
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        runtime = hosting.state.runtime
        if hosting.state.stopping or runtime is None:
            return PlainTextResponse("stopping\n", 503)
        try:
            await runtime.ledger.page(limit=1, offset=0)
        except KlingError:
            return PlainTextResponse("the ledger cannot be read\n", 503)
        return PlainTextResponse("ready\n")

    async def numbers(request: Request) -> Response:
        if not (_is_near(request) or await _may(request, hosting.logins)):
            return PlainTextResponse(f"This requires a token with the scope {METRICS}.\n", 403)
        if metrics is None:
            return PlainTextResponse('pip install "kling-mcp[serve]" for metrics\n', 501)
        try:
            rows = await counts()
        except KlingError:
            rows = ()
        page, kind = metrics.page(rows)
        return Response(page, media_type=kind)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", numbers)]


def _is_near(request: Request) -> bool:
    """Whether a program on this machine asks for itself. A proxy asks for others, and a web page
    may reach this machine under a name of its own (DNS rebinding)."""
    if request.client is None or any(name in request.headers for name in FORWARDED):
        return False
    try:
        name = request.url.hostname or ""
    except ValueError:
        return False
    return is_this_machine(request.client.host) and is_this_machine(name)


async def _may(request: Request, verifier: TokenVerifier | None) -> bool:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if verifier is None or scheme.lower() != "bearer":
        return False
    found = await verifier.verify_token(token.strip())
    return found is not None and METRICS in found.scopes

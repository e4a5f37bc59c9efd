"""Health checks and metrics for those who run the server: `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kling_mcp.hosting.team_settings import is_this_machine
from kling_mcp.principal import METRICS
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from mcp.server.auth.provider import TokenVerifier
    from starlette.requests import Request

    from kling_mcp.hosting.team import Hosting

__all__ = ["health_routes"]

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

"""Logins: with a token of a login service (OAuth), or with one that this server issued."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings

from kling_mcp.hosting.jwts import JwtVerifier
from kling_mcp.hosting.tokens import PREFIX, TokenFile
from kling_mcp.principal import READ, SPEND
from kling_tools.errors import NotConfigured

if TYPE_CHECKING:
    from starlette.routing import Route

    from kling_mcp.hosting.team_settings import HostSettings

__all__ = ["Logins", "auth_settings", "logins", "metadata_routes"]

logger = logging.getLogger(__name__)


class Logins:
    """All configured ways to log in. A token's prefix decides which of them verifies it."""

    def __init__(self, tokens: TokenFile | None, issued: JwtVerifier | None) -> None:
        self._tokens = tokens
        self._issued = issued

    async def verify_token(self, token: str) -> AccessToken | None:
        """The login of a valid token; None for any other."""
        if not token.startswith(PREFIX):
            return await self._issued.verify_token(token) if self._issued else None
        try:
            found = self._tokens.of(token) if self._tokens else None
        except NotConfigured as error:
            logger.error("%s", error)
            return None
        if found is None:
            logger.warning("A token is refused: this server did not issue it, or it has expired.")
            return None
        return AccessToken(
            token=token,
            client_id=found.name,
            scopes=list(found.scopes),
            subject=f"token:{found.name}",
        )


def logins(settings: HostSettings) -> Logins:
    """The ways to log in. Raises NotConfigured for an unusable token file, and for an empty one
    when no login service is configured."""
    file = TokenFile(settings.tokens) if settings.tokens else None
    if file and not file.all() and not settings.auth_issuer:
        raise NotConfigured(
            f"Nobody can log in: {settings.tokens} has no token.",
            advice="kling-mcp tokens add NAME makes one.",
        )
    issued = None
    if settings.auth_issuer:
        issued = JwtVerifier(settings.auth_issuer, settings.audience, settings.auth_jwks_url)
    return Logins(file, issued)


def auth_settings(settings: HostSettings) -> AuthSettings:
    """The SDK's login settings. The metadata of the protected resource (RFC 9728) name a login
    service only; tokens of this server are handed out in person."""
    issuer = settings.auth_issuer
    return AuthSettings.model_validate(
        {
            "issuer_url": issuer or settings.public_url or "http://127.0.0.1",
            "resource_server_url": settings.resource if issuer else None,
            "required_scopes": [READ],
            "validate_token_resource": False,
        }
    )


def metadata_routes(settings: HostSettings) -> list[Route]:
    """Where clients read which login service to ask, and for which scopes. The SDK's own page lists
    only the scopes that every request requires; a client with those alone could make no video."""
    from mcp.server.auth.routes import create_protected_resource_routes

    auth = auth_settings(settings)
    if auth.resource_server_url is None:
        return []
    return create_protected_resource_routes(
        auth.resource_server_url, [auth.issuer_url], [READ, SPEND]
    )

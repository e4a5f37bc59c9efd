"""Logins: with a token of a login service (OAuth), or with one of this server, issued in person or
to a program. Those of a service are JSON Web Tokens, verified with the keys that it publishes."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings

from kling_mcp.hosting.sign_in.provider import ACCESS_PREFIX
from kling_mcp.hosting.team_settings import is_private_way
from kling_mcp.hosting.tokens import PREFIX, TokenFile
from kling_mcp.principal import READ, SPEND
from kling_tools.errors import KlingError, NotConfigured

if TYPE_CHECKING:
    from jwt import PyJWK
    from starlette.routing import Route

    from kling_mcp.hosting.sign_in.provider import SignIn
    from kling_mcp.hosting.team_settings import HostSettings

__all__ = ["JwtVerifier", "Logins", "auth_settings", "logins", "metadata_routes"]


ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
"""Signatures with a private key only. With a shared secret, every verifier could sign."""

RSA_BITS = 2048

LEEWAY_S = 30
"""Seconds by which the issuer's clock may differ."""

FETCH_S = 10.0
FETCH_BYTES = 1_000_000

KEYS_S = 600.0
"""Seconds after which the issuer's keys are fetched again."""

NEW_KEYS_S = 10.0
"""Seconds between two fetches for an unknown key, so that made-up keys cause few requests."""


class JwtVerifier:
    """Checks JSON Web Tokens (RFC 9068) against the keys that the issuer publishes."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        jwks_url: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._jwks_url = jwks_url
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at = float("-inf")
        self._fetching = anyio.Lock()

    async def verify_token(self, token: str) -> AccessToken | None:
        """The login of a valid token; None for any other. The log has the reason, never the
        token."""
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(str(header.get("kid") or ""))
            if key is None:
                raise jwt.InvalidKeyError("the issuer does not publish its key")
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            if not claims["sub"]:
                raise jwt.InvalidTokenError("it names nobody")
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            logger.warning("A token is refused: %s", " ".join(str(error).split())[:200])
            return None
        return AccessToken(
            token=token,
            client_id=str(claims.get("azp") or claims.get("client_id") or claims["sub"]),
            scopes=_scopes(claims),
            expires_at=int(claims["exp"]) + LEEWAY_S,
            resource=self._audience,
            subject=_principal(self._issuer, str(claims["sub"])),
            claims={"iss": self._issuer},
        )

    async def _key(self, kid: str) -> PyJWK | None:
        """The issuer's key with this id; None when it publishes none. A sole key matches an empty
        id."""
        known = self._known(kid)
        if known and self._fetching.locked():
            return known
        if self._clock() - self._fetched_at > (KEYS_S if known else NEW_KEYS_S):
            async with self._fetching:
                if self._clock() - self._fetched_at > NEW_KEYS_S:
                    await self._fetch()
        return self._known(kid)

    def _known(self, kid: str) -> PyJWK | None:
        if not kid and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _fetch(self) -> None:
        from jwt import PyJWTError

        try:
            self._keys = await to_thread.run_sync(self._published)
        except (PyJWTError, KlingError, OSError, ValueError, KeyError) as error:
            logger.warning("The keys of %s cannot be read: %s", self._issuer, error)
        finally:
            self._fetched_at = self._clock()

    def _published(self) -> dict[str, PyJWK]:
        import jwt

        url = self._jwks_url or str(_metadata(self._issuer)["jwks_uri"])
        found = jwt.PyJWKSet.from_dict(_json(url))
        return {
            key.key_id or "": key
            for key in found.keys
            if key.algorithm_name in ALGORITHMS
            and key.public_key_use != "enc"
            and not self._is_short(key)
        }

    def _is_short(self, key: PyJWK) -> bool:
        """Whether it is an RSA key that is too short to be safe (NIST SP 800-131A)."""
        bits = key.key.key_size if key.key_type == "RSA" else RSA_BITS
        if bits < RSA_BITS:
            logger.warning(
                "A key of %s is ignored: it has %d bits, and RSA requires %d.",
                self._issuer,
                bits,
                RSA_BITS,
            )
        return bool(bits < RSA_BITS)


def _principal(issuer: str, subject: str) -> str:
    """The name of a login in the ledger: a hash, equal on every server, without personal data."""
    return "jwt:" + hashlib.sha256(f"{issuer}|{subject}".encode()).hexdigest()[:32]


def _scopes(claims: dict[str, Any]) -> list[str]:
    given = claims.get("scope") or claims.get("scp") or ""
    if not isinstance(given, (str, list)):
        return []
    return given.split() if isinstance(given, str) else [str(scope) for scope in given]


def _metadata(issuer: str) -> dict[str, Any]:
    """The issuer's metadata (OpenID Connect Discovery, else RFC 8414)."""
    from urllib.parse import urlsplit

    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    places = (
        f"{issuer.rstrip('/')}/.well-known/openid-configuration",
        f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{path}",
    )
    fault: Exception = ValueError("no metadata")
    for place in places:
        try:
            found = _json(place)
        except ValueError as error:
            fault = error
            continue
        if found.get("issuer") != issuer:
            raise ValueError(f"{place} names another issuer")
        return found
    raise fault


def _json(url: str) -> dict[str, Any]:
    """The JSON object at a URL, over https (http on this machine). Raises ValueError for anything
    else, and for a redirect, which could lead to a host of somebody else."""
    import httpx

    from kling_mcp.providers.network import proxy_of, tls_context

    if not is_private_way(url):
        raise ValueError(f"{url} is no https URL")
    body = bytearray()
    try:
        with (
            httpx.Client(
                verify=tls_context(), timeout=FETCH_S, proxy=proxy_of(url), trust_env=False
            ) as client,
            client.stream("GET", url) as answer,
        ):
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > FETCH_BYTES:
                    raise ValueError(f"{url} holds more than {FETCH_BYTES:,} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ValueError(f"{url}: {' '.join(str(error).split())}") from error
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError(f"{url} holds no JSON object")
    return found


logger = logging.getLogger(__name__)


class Logins:
    """All configured ways to log in. A token's prefix decides which of them verifies it."""

    def __init__(
        self,
        tokens: TokenFile | None,
        issued: JwtVerifier | None,
        sign_in: SignIn | None = None,
    ) -> None:
        self._tokens = tokens
        self._issued = issued
        self._sign_in = sign_in

    async def verify_token(self, token: str) -> AccessToken | None:
        """The login of a valid token; None for any other. Raises KlingError while nobody can tell:
        the token file, or the database of those who signed in, cannot be used."""
        if self._sign_in and token.startswith(ACCESS_PREFIX):
            return await self._sign_in.load_access_token(token)
        if not token.startswith(PREFIX):
            return await self._issued.verify_token(token) if self._issued else None
        found = self._tokens.of(token) if self._tokens else None
        if found is None:
            logger.warning("A token is refused: this server did not issue it, or it has expired.")
            return None
        return AccessToken(
            token=token,
            client_id=found.name,
            scopes=list(found.scopes),
            subject=f"token:{found.name}",
        )


def logins(settings: HostSettings, sign_in: SignIn | None = None) -> Logins:
    """The ways to log in, with `sign_in` for programs that people let in on a page of the server.
    Raises NotConfigured for an unusable token file, and for an empty one when no login service is
    configured."""
    file = TokenFile(settings.tokens) if settings.tokens else None
    if file and not file.all() and not settings.auth_issuer:
        raise NotConfigured(
            f"Nobody can log in: {settings.tokens} has no token.",
            advice="kling-mcp tokens add NAME makes one.",
        )
    issued = None
    if settings.auth_issuer:
        issued = JwtVerifier(settings.auth_issuer, settings.audience, settings.auth_jwks_url)
    return Logins(file, issued, sign_in)


def auth_settings(settings: HostSettings) -> AuthSettings:
    """The SDK's login settings. The metadata of the protected resource (RFC 9728) name the login
    service: the configured one, or this server, where people sign in on a page of it."""
    issuer = settings.auth_issuer or (settings.public_url if settings.signs_in else "")
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
    only the scopes that every request requires; a client with those alone could make no video.
    Some clients look at the root, without the path of the resource."""
    from mcp.server.auth.routes import create_protected_resource_routes
    from starlette.routing import Route

    auth = auth_settings(settings)
    if auth.resource_server_url is None:
        return []
    (page,) = create_protected_resource_routes(
        auth.resource_server_url, [auth.issuer_url], [READ, SPEND]
    )
    at_root = page.path.removesuffix(auth.resource_server_url.path or "")
    return [page, Route(at_root, page.endpoint, methods=["GET", "OPTIONS"])]

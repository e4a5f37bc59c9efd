"""What programs may have, after the SDK's own interface for authorization servers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    AuthorizeError,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    TokenError,
    construct_redirect_uri,
)
from mcp.shared.auth import InvalidRedirectUriError, OAuthClientInformationFull, OAuthToken
from pydantic import AnyUrl

from kling_mcp.hosting.sign_in.clients import (
    Client,
    Descriptions,
    TooMany,
    client_of,
    is_url,
    registered,
)
from kling_mcp.hosting.sign_in.store import ACCESS_S, WRONG_TOKENS, Family, Grant, SignInStore
from kling_mcp.principal import READ, SPEND

if TYPE_CHECKING:
    from kling_mcp.hosting.links import Signer
    from kling_mcp.hosting.tokens import Token, TokenFile

__all__ = ["ACCESS_PREFIX", "PAGE_PATH", "SignIn", "SignInRequest", "Unsuitable"]

logger = logging.getLogger(__name__)

ACCESS_PREFIX, REFRESH_PREFIX, CODE_PREFIX = "kmcpa_", "kmcpr_", "kmcpc_"
"""Every secret begins so, for people, secret scanners and the log's redactor."""

PAGE_PATH = "/sign-in"
PURPOSE = "sign-in"

PAGE_S = 30 * 60.0
"""Seconds that a person has for the page."""

LONGEST_STATE = 2000

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class SignInRequest:
    """What a program asks a person for; it travels through the browser, signed."""

    client_id: str
    redirect_uri: str
    explicit: bool
    state: str | None
    challenge: str
    scopes: tuple[str, ...]

    def answer(self, issuer: str, **parameters: str) -> str:
        """The address to which the browser takes the answer (RFC 6749, 9207)."""
        return construct_redirect_uri(self.redirect_uri, **parameters, state=self.state, iss=issuer)


class Unsuitable(Exception):
    """A token does not let its owner in; the text says why."""


class _Code(AuthorizationCode):
    family: Family


class _Refresh(RefreshToken):
    family: Family


class SignIn(OAuthAuthorizationServerProvider[_Code, _Refresh, AccessToken]):
    """The authorization server of a team. `issuer` is its public URL, `resource` that of MCP, whose
    tokens it gives. People prove who they are with one of the `tokens`; a grant ends with it. The
    `signer` and the `key` are those of all servers of the team."""

    def __init__(
        self,
        issuer: str,
        resource: str,
        tokens: TokenFile,
        store: SignInStore,
        descriptions: Descriptions,
        signer: Signer,
        key: str,
    ) -> None:
        self.issuer = issuer
        self._resource = resource
        self._tokens = tokens
        self._store = store
        self._descriptions = descriptions
        self.signer = signer
        self._key = hashlib.sha256(b"kling-mcp sign-in\0" + key.encode()).digest()

    # Programs

    async def get_client(self, client_id: str, address: str = "") -> Client | None:
        """The program with this id; one that has a description is asked for it, once a person comes
        from this address. One that was let in before is known without, and waits for nobody else's.
        Raises TooMany."""
        known = await self.known_client(client_id)
        if not is_url(client_id):
            return known
        try:
            described = await self._descriptions.client(client_id, address, waits=known is None)
        except TooMany:
            if known is None:
                raise
            return known
        return described or known

    async def known_client(self, client_id: str) -> Client | None:
        """The program as it was registered, or as it was when a person let it in."""
        kept = await self._store.client(client_id)
        if kept is None:
            return None
        known = json.loads(kept)
        with suppress(ValueError):
            return client_of(client_id, known["client_name"], known["redirect_uris"])
        return None

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        """See `register`."""
        await self.register(client_info, "")

    async def register(self, client_info: OAuthClientInformationFull, address: str) -> None:
        """Register a program from this address, as a public client. Raises RegistrationError and
        TooMany."""
        client = registered(client_info)
        if wait_s := await self._store.register(client.client_id, client.kept(), address):
            raise TooMany(wait_s)
        for name in type(client_info).model_fields:
            if name != "client_id_issued_at":
                setattr(client_info, name, getattr(client, name))

    # The page

    async def authorize(
        self, client: OAuthClientInformationFull, params: AuthorizationParams
    ) -> str:
        """The address of the page for this request. Raises AuthorizeError."""
        if not _CHALLENGE.fullmatch(params.code_challenge):
            raise AuthorizeError("invalid_request", "The PKCE challenge is none of S256.")
        if params.state is not None and len(params.state) > LONGEST_STATE:
            raise AuthorizeError("invalid_request", f"state has over {LONGEST_STATE} characters.")
        if not self.is_audience(params.resource):
            raise AuthorizeError(
                "invalid_target", f"This server gives tokens for {self._resource}."
            )
        asked = SignInRequest(
            client.client_id,
            str(params.redirect_uri),
            params.redirect_uri_provided_explicitly,
            params.state,
            params.code_challenge,
            tuple(params.scopes or (READ, SPEND)),
        )
        text = _base64(json.dumps(asdict(asked)).encode())
        expires = self.signer.expiry(PAGE_S)
        signed = f"{text}.{expires}.{self.signer.sign(PURPOSE, text, expires)}"
        return f"{self.issuer}{PAGE_PATH}?{urlencode({'request': signed})}"

    def request(self, signed: str) -> SignInRequest | None:
        """The request that `authorize` signed; None for any other, and when it is too old."""
        text, _, rest = signed.partition(".")
        expires, _, signature = rest.partition(".")
        if not self.signer.left_s(PURPOSE, text, expires, signature):
            return None
        found = json.loads(base64.urlsafe_b64decode(text + "=="))
        return SignInRequest(**{**found, "scopes": tuple(found["scopes"])})

    async def client_for(self, asked: SignInRequest, address: str) -> Client | None:
        """The program that asks, if the address for the answer is still its own. Raises TooMany."""
        client = await self.get_client(asked.client_id, address)
        try:
            return (
                client
                if client and client.validate_redirect_uri(AnyUrl(asked.redirect_uri))
                else None
            )
        except InvalidRedirectUriError:
            return None

    async def allow(
        self, asked: SignInRequest, client: Client, token: str, address: str, *, spend: bool
    ) -> str:
        """The code for a person who signs in with this token. `spend` says that the program may
        spend, too. Raises Unsuitable, and TooMany after too many wrong tokens."""
        found = self._tokens.of(token)
        if wait_s := await self._store.tried(WRONG_TOKENS, address, counts=found is None):
            raise TooMany(wait_s)
        if found is None:
            raise Unsuitable("This token is not valid here.")
        if READ not in found.scopes:
            raise Unsuitable("This token is not for videos.")
        wanted = {READ, *(scope for scope in asked.scopes if scope != SPEND or spend)}
        scopes = [scope for scope in (READ, SPEND) if scope in wanted and scope in found.scopes]
        code = CODE_PREFIX + secrets.token_urlsafe(32)
        grant = Grant(secrets.token_hex(16), client.client_id, self._resource, found.sha256)
        details = {
            "challenge": asked.challenge,
            "redirect_uri": asked.redirect_uri,
            "explicit": asked.explicit,
        }
        await self._store.allow(grant, _sha256(code), scopes, details, client.kept())
        logger.info("%s let a program in: %s.", found.name, client.host or client.shown_name)
        return code

    # Codes and tokens

    def is_audience(self, resource: str | None) -> bool:
        """Whether a resource indicator (RFC 8707) names this server; none means it, too."""
        return resource is None or resource.removesuffix("/") == self._resource

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> _Code | None:
        """The code, which is used up by this, whatever comes of it; not while nobody can tell
        whether its person may still come in."""
        self._tokens.told()
        family = await self._store.take_code(_sha256(authorization_code), client.client_id)
        if family is None:
            return None
        return _Code(
            code=authorization_code,
            scopes=list(family.scopes),
            expires_at=time.time() + family.left_s,
            client_id=client.client_id,
            code_challenge=family.details["challenge"],
            redirect_uri=family.details["redirect_uri"],
            redirect_uri_provided_explicitly=family.details["explicit"],
            resource=family.grant.resource,
            family=family,
        )

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: _Code
    ) -> OAuthToken:
        """The first tokens. Raises TokenError."""
        access, refresh = (
            prefix + secrets.token_urlsafe(32) for prefix in (ACCESS_PREFIX, REFRESH_PREFIX)
        )
        family = authorization_code.family
        if not self._token(family) or not await self._store.trade(
            family, _sha256(access), _sha256(refresh)
        ):
            raise TokenError("invalid_grant", "The person's token was revoked.")
        return _answer(access, refresh, family.scopes, ACCESS_S)

    async def load_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: str
    ) -> _Refresh | None:
        """The refresh token of this program; also a used one, so that its reuse is noticed."""
        family = await self._store.found("refresh", _sha256(refresh_token))
        if family is None or family.grant.client_id != client.client_id:
            return None
        return _Refresh(
            token=refresh_token,
            client_id=client.client_id,
            scopes=list(family.scopes),
            resource=family.grant.resource,
            family=family,
        )

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: _Refresh, scopes: list[str]
    ) -> OAuthToken:
        """The next tokens. They follow from the old one, so that a program that did not get the
        answer gets the same again. Raises TokenError."""
        old = refresh_token.token
        access, new = (
            prefix + _base64(hmac.digest(self._key, f"{prefix}{old}".encode(), hashlib.sha256))
            for prefix in (ACCESS_PREFIX, REFRESH_PREFIX)
        )
        family = refresh_token.family
        if self._token(family) is None:
            raise TokenError("invalid_grant", "The person's token was revoked.")
        given = await self._store.refresh(_sha256(old), _sha256(access), _sha256(new), scopes)
        if given is None:
            logger.warning("A refresh token came again: all tokens of that sign-in are revoked.")
            raise TokenError("invalid_grant", "The refresh token was used before.")
        return _answer(access, new, given.scopes, given.left_s)

    async def load_access_token(self, token: str) -> AccessToken | None:
        """The login of a token that is valid for this server; None for any other."""
        family = await self._store.found("access", _sha256(token))
        if family is None or family.grant.resource != self._resource:
            return None
        person = self._token(family)
        if person is None:
            return None
        return AccessToken(
            token=token,
            client_id=family.grant.client_id,
            scopes=[scope for scope in family.scopes if scope in person.scopes],
            expires_at=int(time.time() + family.left_s),
            resource=family.grant.resource,
            subject=f"token:{person.name}",
            claims={"iss": self.issuer},
        )

    async def revoke_token(self, token: AccessToken | _Refresh) -> None:
        """Revoke the token and all others of its sign-in."""
        kind = "refresh" if token.token.startswith(REFRESH_PREFIX) else "access"
        if family := await self._store.found(kind, _sha256(token.token)):
            await self._store.end(family.grant.id)

    def _token(self, family: Family) -> Token | None:
        """The person's own token, while it is valid."""
        return self._tokens.with_hash(family.grant.token_sha256)


def _answer(access: str, refresh: str, scopes: Sequence[str], left_s: float) -> OAuthToken:
    return OAuthToken(
        access_token=access,
        expires_in=int(left_s),
        scope=" ".join(scopes),
        refresh_token=refresh,
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")

"""The HTTP routes of signing in. The SDK's handlers judge what programs send; what is around them
here is what they lack: words for a person, limits, and the checks of RFC 8707 and RFC 9207."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from mcp.server.auth.handlers.authorize import AuthorizationHandler
from mcp.server.auth.handlers.metadata import MetadataHandler
from mcp.server.auth.handlers.register import RegistrationHandler
from mcp.server.auth.handlers.token import TokenHandler
from mcp.server.auth.middleware.client_auth import AuthenticationError, ClientAuthenticator
from mcp.server.auth.routes import build_metadata
from mcp.server.auth.settings import ClientRegistrationOptions, RevocationOptions
from mcp.server.transport_security import RequestBodyLimitMiddleware
from mcp.shared.auth import InvalidRedirectUriError, OAuthClientInformationFull, OAuthMetadata
from pydantic import AnyHttpUrl, AnyUrl
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from kling_mcp.hosting.sign_in.clients import TooMany, spelled
from kling_mcp.hosting.sign_in.page import going_on, refusal, sign_in_page, whereto
from kling_mcp.hosting.sign_in.provider import PAGE_PATH, Unsuitable
from kling_mcp.principal import READ, SPEND
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from kling_mcp.hosting.sign_in.provider import SignIn, SignInRequest

__all__ = ["sign_in_routes"]

logger = logging.getLogger(__name__)

BODY_BYTES = 32 * 1024
"""The largest form or registration."""

FORM = "application/x-www-form-urlencoded"

_NONCE = re.compile(r"[A-Za-z0-9_-]{43}")

UNKNOWN = (
    "This program is not known here, or its description cannot be read. Remove the connection in "
    "the program, and add it again."
)
FOREIGN = (
    "The answer should go to an address that is none of this program's own. Somebody may have "
    "altered the link. Begin again in the program that you want to connect, and not with a link "
    "that somebody sent."
)
IMPOSSIBLE = "The program asks for what is not possible here"
WRONG = (
    "Its request is not one that this server can answer. Go back to tell it why, if you have just "
    "begun to connect it."
)
STALE = "This page is too old, or was not opened here. Begin again in the program."
CROSS = "The form was not sent from this server's own page. Begin again in the program."
DOWN = "The server cannot answer at this moment. Try again soon."

Endpoint = Callable[[Request], Awaitable[Response]]


def sign_in_routes(
    sign_in: SignIn, caps: Sequence[str], limited: Callable[[ASGIApp], ASGIApp]
) -> list[Route]:
    """The routes. `caps` are sentences about what people may spend; `limited` bounds how often one
    address may ask."""
    desk = _Desk(sign_in, caps)
    routes = [
        Route("/.well-known/oauth-authorization-server", MetadataHandler(desk.metadata).handle),
        Route("/authorize", _for_people(desk.authorize), methods=["GET", "POST"]),
        Route(PAGE_PATH, _for_people(desk.page), methods=["GET"]),
        Route(PAGE_PATH, _for_people(desk.answer), methods=["POST"]),
        Route("/token", _for_programs(desk.token), methods=["POST"]),
        Route("/register", _for_programs(desk.register), methods=["POST"]),
        Route("/revoke", _for_programs(desk.revoke), methods=["POST"]),
    ]
    for route in routes[1:]:
        route.app = limited(RequestBodyLimitMiddleware(route.app, BODY_BYTES))
    return routes


def _for_people(endpoint: Endpoint) -> Endpoint:
    @wraps(endpoint)
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except TooMany as error:
            page = refusal("Too many tries", f"Wait {error.wait_s} s, then begin again.", 429)
            page.headers["Retry-After"] = str(error.wait_s)
            return page
        except KlingError as error:
            logger.error("Signing in is not possible: %s", error)
            return refusal("Not possible now", DOWN, 503)

    return answered


def _for_programs(endpoint: Endpoint) -> Endpoint:
    @wraps(endpoint)
    async def answered(request: Request) -> Response:
        try:
            response = await endpoint(request)
        except TooMany as error:
            response = _error(429, "temporarily_unavailable", str(error))
            response.headers["Retry-After"] = str(error.wait_s)
        except KlingError as error:
            logger.error("Signing in is not possible: %s", error)
            response = _error(503, "temporarily_unavailable", DOWN)
        response.headers["Cache-Control"] = "no-store"
        return response

    return answered


def _error(status: int, error: str, words: str) -> JSONResponse:
    return JSONResponse({"error": error, "error_description": words}, status)


class _Known:
    """The provider as the token endpoint sees it: programs that people let in, without a fetch."""

    def __init__(self, sign_in: SignIn) -> None:
        self.get_client = sign_in.known_client


class _Registering:
    """The provider as a registration sees it: with the address that it came from."""

    def __init__(self, sign_in: SignIn, address: str) -> None:
        self._sign_in = sign_in
        self._address = address

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        await self._sign_in.register(client_info, self._address)


class _Desk:
    def __init__(self, sign_in: SignIn, caps: Sequence[str]) -> None:
        self._sign_in = sign_in
        self._caps = caps
        self._options = ClientRegistrationOptions(enabled=True)
        self._authenticator = ClientAuthenticator(cast(Any, _Known(sign_in)))
        self._authorizing = AuthorizationHandler(sign_in)
        self._tokens = TokenHandler(sign_in, self._authenticator)
        issuer = sign_in.issuer
        self._cookie = "__Host-sign-in" if issuer.startswith("https") else "sign-in"
        options = ClientRegistrationOptions(enabled=True, valid_scopes=[READ, SPEND])
        usual = build_metadata(AnyHttpUrl(issuer), None, options, RevocationOptions(enabled=True))
        self.metadata = OAuthMetadata.model_validate(
            {
                **usual.model_dump(),
                "issuer": issuer,
                "token_endpoint_auth_methods_supported": ["none"],
                "revocation_endpoint_auth_methods_supported": ["none"],
                "client_id_metadata_document_supported": True,
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def authorize(self, request: Request) -> Response:
        """Lead the browser to the page. A wrong request stays here, and the person may go back with
        the error: nobody checked the program's address, so a link to this server must not lead
        there by itself (RFC 9700, 4.11)."""
        pairs = request.query_params.multi_items()
        if request.method == "POST":
            pairs = await _form(request)
        asked = dict(pairs)
        client = await self._sign_in.get_client(asked.get("client_id", ""), self._address(request))
        if client is None:
            return refusal("This program is not known here", UNKNOWN)
        try:
            given = asked.get("redirect_uri")
            client.validate_redirect_uri(spelled(given) if given is not None else None)
        except (ValueError, InvalidRedirectUriError):
            return refusal("The link is not safe", FOREIGN)
        if len(asked) != len(pairs):
            return refusal("The link is broken", "It says something twice. Begin again.")
        response = await self._authorizing.handle(request)
        to = response.headers.get("location", "")
        if to.startswith(f"{self._sign_in.issuer}{PAGE_PATH}?"):
            return response
        if not to:
            return refusal("The link is broken", "Begin again in the program.")
        back = f"{to}&{urlencode({'iss': self._sign_in.issuer})}"
        return refusal(IMPOSSIBLE, WRONG, way=whereto(AnyUrl(to)), to=back)

    async def page(self, request: Request) -> Response:
        """The page for a request that `authorize` signed."""
        signed = request.query_params.get("request", "")
        if (asked := self._sign_in.request(signed)) is None:
            return refusal("Begin again", STALE)
        nonce = request.cookies.get(self._cookie, "")
        if not _NONCE.fullmatch(nonce):
            nonce = secrets.token_urlsafe(32)
        response = await self._shown(request, asked, signed, nonce)
        response.set_cookie(
            self._cookie,
            nonce,
            secure=self._cookie.startswith("__Host-"),
            httponly=True,
            samesite="lax",
        )
        return response

    async def answer(self, request: Request) -> Response:
        """What follows from the person's answer: the way back, or the page again with an alert."""
        form = dict(await _form(request))
        signed, nonce = form.get("request", ""), request.cookies.get(self._cookie, "")
        if (asked := self._sign_in.request(signed)) is None:
            return refusal("Begin again", STALE)
        if not self._is_own(request) or not hmac.compare_digest(
            self._csrf(signed, nonce).encode(), form.get("csrf", "").encode()
        ):
            return refusal("Begin again", CROSS, 403)
        client = await self._sign_in.client_for(asked, self._address(request))
        if client is None:
            return refusal("This program is not known here", UNKNOWN)
        place = whereto(AnyUrl(asked.redirect_uri))
        issuer = self._sign_in.issuer
        if form.get("answer") != "allow":
            return going_on(asked.answer(issuer, error="access_denied"), place, allowed=False)
        spend = form.get("spend") == "yes"
        try:
            code = await self._sign_in.allow(
                asked,
                client,
                form.get("token", "").strip(),
                self._address(request),
                spend=spend,
            )
        except Unsuitable as error:
            return await self._shown(request, asked, signed, nonce, f"{error}", 403, spend=spend)
        except TooMany as error:
            words = f"Too many wrong tokens. Wait {error.wait_s} s."
            again = await self._shown(request, asked, signed, nonce, words, 429, spend=spend)
            again.headers["Retry-After"] = str(error.wait_s)
            return again
        return going_on(asked.answer(issuer, code=code), place, allowed=True)

    async def _shown(
        self,
        request: Request,
        asked: SignInRequest,
        signed: str,
        nonce: str,
        alert: str = "",
        status: int = 200,
        *,
        spend: bool = True,
    ) -> HTMLResponse:
        client = await self._sign_in.client_for(asked, self._address(request))
        if client is None:
            return refusal("This program is not known here", UNKNOWN)
        return sign_in_page(
            client,
            asked,
            whereto(AnyUrl(asked.redirect_uri)),
            self._caps,
            signed=signed,
            csrf=self._csrf(signed, nonce),
            spend=spend,
            alert=alert,
            status=status,
        )

    def _csrf(self, signed: str, nonce: str) -> str:
        """What only a page that was opened in this browser for this request has."""
        return self._sign_in.signer.sign("sign-in form", f"{nonce}.{signed}", 0) if nonce else ""

    def _is_own(self, request: Request) -> bool:
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "same-origin")
        named = request.cookies.get(self._cookie, "")
        near = origin is None or origin.lower() == self._sign_in.issuer
        return near and site == "same-origin" and bool(_NONCE.fullmatch(named))

    async def token(self, request: Request) -> Response:
        """Tokens for a code or a refresh token."""
        form = await _form(request)
        given = dict(form)
        if len(given) != len(form) or not form:
            return _error(400, "invalid_request", "A form is required, each parameter once.")
        if not self._sign_in.is_audience(given.get("resource")):
            return _error(400, "invalid_target", "The resource is not this server.")
        response: Response = await self._tokens.handle(request)
        return response

    async def register(self, request: Request) -> Response:
        """The program with its new id (201), or why it is refused."""
        registering = _Registering(self._sign_in, self._address(request))
        handler = RegistrationHandler(cast(Any, registering), self._options)
        return await handler.handle(request)

    async def revoke(self, request: Request) -> Response:
        """200 for whatever token (RFC 7009); one of this program's own is revoked, and all others
        of its sign-in."""
        given = dict(await _form(request))
        if not given:
            return _error(400, "invalid_request", "A form is required.")
        try:
            client = await self._authenticator.authenticate_request(request)
        except AuthenticationError as error:
            return _error(401, "invalid_client", error.message)
        token = given.get("token", "")
        access = await self._sign_in.load_access_token(token)
        if access and access.client_id == client.client_id:
            await self._sign_in.revoke_token(access)
        elif refresh := await self._sign_in.load_refresh_token(client, token):
            await self._sign_in.revoke_token(refresh)
        return Response()

    def _address(self, request: Request) -> str:
        """Where a request comes from, as a hash: an address, or the network of an IPv6 one, in
        which a customer has as many addresses as they like."""
        host = request.client.host if request.client else ""
        try:
            found = ip_address(host)
            host = str(ip_network((found, 64), strict=False)) if found.version == 6 else host
        except ValueError:
            pass
        return self._sign_in.signer.sign("address", host, 0)[:32]


async def _form(request: Request) -> list[tuple[str, str]]:
    """The fields of a form; none of any other body."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return []
    form = await request.form()
    return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]

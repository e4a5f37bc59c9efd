"""A program that wants a login, and the browser of the person who lets it in."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from tests.server.hosting.team import Team

__all__ = ["CALLBACK", "DESCRIBED", "Clock", "Page", "Visit", "described", "query_of", "register"]

CALLBACK = "https://claude.ai/api/mcp/auth_callback"
DESCRIBED = "https://claude.ai/oauth/mcp-oauth-client-metadata"


def described(url: str = DESCRIBED, **more: Any) -> bytes:
    """What a program publishes of itself."""
    document = {"client_id": url, "client_name": "Claude", "redirect_uris": [CALLBACK], **more}
    return json.dumps(document).encode()


def register(base: str, **more: Any) -> httpx.Response:
    """Register a program as claude.ai does."""
    asked = {
        "client_name": "Claude",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        **more,
    }
    return httpx.post(f"{base}/register", json=asked, verify=False)


def query_of(url: str) -> dict[str, str]:
    """The parameters of an address; AssertionError for one that is there twice."""
    found = parse_qs(urlsplit(url).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in found.values()), url
    return {name: values[0] for name, values in found.items()}


class Page(HTMLParser):
    """What a browser sees of a page: its fields, its text, and where it leads."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.response = response
        self.fields: dict[str, str] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        self.tags: list[str] = []
        self.text = ""
        self.leads_to = ""
        self.links: list[str] = []
        self.feed(response.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if tag == "input":
            self.fields[given["name"]] = given.get("value", "")
            self.attributes[given["name"]] = given
        if tag == "a":
            self.links.append(given["href"])
        if tag == "meta" and given.get("http-equiv") == "refresh":
            self.leads_to = given["content"].partition("url=")[2]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["style"]:
            self.text += data

    @property
    def code(self) -> str:
        """The code with which the browser is led on."""
        return query_of(self.leads_to)["code"]


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Browser:
    """Keeps its cookies, and no connection."""

    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, url: str) -> httpx.Response:
        """Open a page."""
        return self._seen(httpx.get(url, headers=self._headers(), verify=False))

    def post(
        self, url: str, data: Mapping[str, str], headers: Mapping[str, str] = {}
    ) -> httpx.Response:
        """Send a form."""
        headers = {**self._headers(), **headers}
        return self._seen(httpx.post(url, data=dict(data), headers=headers, verify=False))

    def _headers(self) -> dict[str, str]:
        told = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"cookie": told} if told else {}

    def _seen(self, response: httpx.Response) -> httpx.Response:
        self.cookies.update(response.cookies)
        return response


@dataclass
class Visit:
    """One sign-in: `id` is the program's, `redirect_uri` where it is answered."""

    base: str
    id: str
    redirect_uri: str = CALLBACK
    browser: Browser = field(default_factory=lambda: Browser())
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @classmethod
    def of_new_program(cls, team: Team, **more: Any) -> "Visit":
        """By a program that has just registered itself."""
        answer = register(team.base, **more)
        assert answer.status_code == 201, answer.text
        return cls(team.base, answer.json()["client_id"], answer.json()["redirect_uris"][0])

    def asked(self, **more: Any) -> dict[str, str]:
        """The parameters of the authorization request; those that are None are left out."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest())
        parameters = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": self.redirect_uri,
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
            "state": "as-it-was",
            "scope": "kling:read kling:spend",
            "resource": f"{self.base}/mcp",
            **more,
        }
        return {name: value for name, value in parameters.items() if value is not None}

    def authorize(self, **more: Any) -> httpx.Response:
        """What the browser gets at the address to which the program sent it."""
        return self.browser.get(f"{self.base}/authorize?{urlencode(self.asked(**more))}")

    def page(self, **more: Any) -> Page:
        """The page with the form."""
        sent = self.authorize(**more)
        assert sent.status_code == 302, sent.text
        return Page(self.browser.get(sent.headers["location"]))

    def answer(
        self,
        page: Page,
        token: str,
        headers: Mapping[str, str] = {},
        **more: str,
    ) -> Page:
        """What follows from the form; `spend` is checked as the page had it."""
        form = {**page.fields, "token": token, "answer": "allow", **more}
        headers = {"origin": self.base, "sec-fetch-site": "same-origin", **headers}
        return Page(self.browser.post(f"{self.base}/sign-in", data=form, headers=headers))

    def code(self, token: str, **more: Any) -> str:
        """The code for a person with this token."""
        return self.answer(self.page(**more), token).code

    def exchange(self, code: str, base: str = "", **more: Any) -> httpx.Response:
        """The answer to a code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "client_id": self.id,
            "code_verifier": self.verifier,
            "resource": f"{self.base}/mcp",
            **more,
        }
        return httpx.post(f"{base or self.base}/token", data=form, verify=False)

    def refresh(self, token: str, base: str = "", **more: Any) -> httpx.Response:
        """The answer to a refresh token."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": token,
            "client_id": self.id,
            "resource": f"{self.base}/mcp",
            **more,
        }
        return httpx.post(f"{base or self.base}/token", data=form, verify=False)

    def tokens(self, token: str, **more: Any) -> dict[str, Any]:
        """The first tokens, for a person with this token."""
        answer = self.exchange(self.code(token, **more))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

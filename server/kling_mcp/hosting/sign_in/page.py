"""The pages of signing in: HTML without scripts, for a person in a browser.

After the form, a page of its own leads the browser on (`refresh`). A redirect would be a part of
the form's submission, and `form-action` would have to allow wherever the program sends it next.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse

from kling_mcp.principal import SPEND
from kling_tools.quoting import clipped

if TYPE_CHECKING:
    from pydantic import AnyUrl

    from kling_mcp.hosting.sign_in.clients import Client
    from kling_mcp.hosting.sign_in.provider import SignInRequest

__all__ = ["going_on", "refusal", "sign_in_page", "whereto"]

LONGEST_HOST = 80

_STYLE = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")

_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # without any, browsers hide the origin of the form
    "X-Content-Type-Options": "nosniff",
}

NOBODY_CHECKED = (
    "It told this name itself, and nobody checked it. Go on only if you have just begun to connect "
    "this program."
)


def _page(title: str, body: str, status: int = 200, head: str = "") -> HTMLResponse:
    text = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"{head}<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f"<main>\n<h1>{escape(title)}</h1>\n{body}</main>\n</html>\n"
    )
    return HTMLResponse(text, status, headers=HEADERS)


def shown_host(host: str) -> str:
    """The host with its end, which says whose it is; what is too long lacks its beginning."""
    return host if len(host) <= LONGEST_HOST else f"…{host[1 - LONGEST_HOST :]}"


def whereto(url: AnyUrl) -> str:
    """Where an answer goes, in words for a person."""
    host = shown_host(url.host or "")
    if url.scheme == "https":
        return host
    if url.scheme == "http":
        return f"a program on this computer ({host})"
    return f"an app on this device ({clipped(url.scheme, LONGEST_HOST)}:)"


def sign_in_page(
    client: Client,
    asked: SignInRequest,
    place: str,
    caps: Sequence[str],
    *,
    signed: str,
    csrf: str,
    spend: bool = True,
    alert: str = "",
    status: int = 200,
) -> HTMLResponse:
    """The page with the form. `place` is where the answer goes; `caps` are sentences; `spend` is
    whether the program may spend, as it is chosen now. An `alert` says why the form did not
    work."""
    name = escape(client.shown_name)
    parts = [f'<p role="alert" id="why">{escape(alert)}</p>\n'] if alert else []
    parts.append(
        "<p>It would see and fetch your videos here, and ask for prices.</p>\n"
        f"<dl><dt>Name of the program</dt><dd>{name}</dd>\n"
    )
    if client.host:
        shown = escape(shown_host(client.host))
        parts.append(f"<dt>Described at</dt><dd>{shown}</dd>\n")
    parts.append(f"<dt>Your answer goes to</dt><dd>{escape(place)}</dd></dl>\n")
    if not client.host:
        parts.append(f'<p class="dim">{NOBODY_CHECKED}</p>\n')
    spends = SPEND in asked.scopes
    described = ' aria-describedby="why" aria-invalid="true"' if alert else ""
    parts.append(
        f'<form method="post" action="/sign-in">\n'
        f'<input type="hidden" name="request" value="{escape(signed)}">\n'
        f'<input type="hidden" name="csrf" value="{escape(csrf)}">\n'
        "<label>Your token, which begins with kmcp_"
        f'<input type="password" name="token" autocomplete="current-password" '
        f'autocapitalize="none" spellcheck="false" required autofocus{described}></label>\n'
        '<p class="dim">You got it from whoever runs this server. The program never sees it.</p>\n'
    )
    if spends:
        parts.append(
            '<label class="check"><input type="checkbox" name="spend" value="yes"'
            f"{' checked' if spend else ''}>"
            "<span>It may make videos, which costs money</span></label>\n"
            + "<ul>\n"
            + "".join(f"<li>{escape(cap)}</li>\n" for cap in caps)
            + "</ul>\n"
        )
    parts.append(
        '<div class="row">\n'
        '<button class="go" name="answer" value="allow">Sign in and allow</button>\n'
        '<button name="answer" value="refuse" formnovalidate>Refuse</button></div>\n</form>\n'
    )
    return _page(f"{client.shown_name} asks for your Kling videos", "".join(parts), status)


def going_on(address: str, place: str, *, allowed: bool) -> HTMLResponse:
    """The page that leads the browser back to the program. An app that was refused is not started:
    the person may go there."""
    where = escape(address)
    leads = allowed or address.startswith("https://")
    head = f'<meta http-equiv="refresh" content="0;url={where}">\n' if leads else ""
    words = "You are signed in." if allowed else "Nothing was allowed."
    way = f"You are led on to {place}." if leads else f"You may close this page, or go to {place}."
    body = (
        f"<p>{words} {escape(way)}</p>\n"
        f'<p class="row"><a class="go" href="{where}" rel="noreferrer">Go on</a></p>\n'
    )
    return _page("Back to the program", body, head=head)


def refusal(
    title: str, words: str, status: int = 400, *, way: str = "", to: str = ""
) -> HTMLResponse:
    """A page that says why there is no form. It leads nowhere by itself; with `to`, a person may go
    there, the `way` in words."""
    link = (
        f'<p class="row"><a class="go" href="{escape(to)}" rel="noreferrer">'
        f"Go to {escape(way)}</a></p>\n"
    )
    return _page(title, f"<p>{escape(words)}</p>\n{link if to else ''}", status)

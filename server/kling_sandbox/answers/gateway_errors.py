"""Errors in the words of gateways, and the HTML pages that come instead of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starlette.responses import HTMLResponse, JSONResponse, Response

from kling_sandbox.answers.documents import request_id
from kling_sandbox.answers.refusals import Refusal

__all__ = [
    "BAD_GATEWAY",
    "DASHBOARD",
    "FORWARDING",
    "LOGIN",
    "NEW_API",
    "OLD_NEW_API",
    "GatewayErrors",
    "OwnWords",
    "retry_after",
    "task_error",
]


BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    "</body>\r\n</html>\r\n"
)
"""The page of a proxy whose upstream does not answer."""

LOGIN = (
    '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Sign in</title></head>\n'
    '<body>\n<form method="post" action="/login">\n<h1>Sign in</h1>\n'
    '<input name="username"><input name="password" type="password">\n'
    "<button>Sign in</button>\n</form>\n</body>\n</html>\n"
)
"""The page of a proxy that requires a person to sign in."""

DASHBOARD = (
    '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Console</title></head>\n'
    "<body>\n<noscript>You need to enable JavaScript to run this app.</noscript>\n"
    '<div id="root"></div>\n</body>\n</html>\n'
)
"""A gateway's own web app, which it serves for every path outside its API."""


@dataclass(frozen=True, slots=True)
class OwnWords:
    """A gateway's words for one refusal of its own.

    `form` is `error` for `{"error": {code, message, type}}` and `task` for
    `{code, message, data: null}`. An empty `message` keeps the refusal's text.
    """

    http_status: int
    form: Literal["error", "task"]
    code: str = ""
    message: str = ""


_BAD_KEY = (
    "authorization_empty",
    "authorization_invalid",
    "access_key_unknown",
    "authorization_early",
    "authorization_expired",
)

NEW_API: Mapping[str, OwnWords] = {
    **dict.fromkeys(_BAD_KEY, OwnWords(401, "error", message="Invalid token")),
    "not_json": OwnWords(400, "error", message="Invalid request: invalid JSON request body"),
    "model_missing": OwnWords(400, "error"),
    "model_unserved": OwnWords(503, "error", "model_not_found"),
    "prompt_missing": OwnWords(400, "task", "invalid_request", "prompt is required"),
    "no_balance": OwnWords(403, "task", "insufficient_user_quota", "user quota is not enough"),
    "task_unknown": OwnWords(400, "task", "task_not_exist", "task_not_exist"),
}
"""By the name of the refusal. Errors of creates have the form `task`, also for an empty account."""

OLD_NEW_API: Mapping[str, OwnWords] = {
    **NEW_API,
    "model_unserved": OwnWords(503, "error"),
    "no_balance": OwnWords(403, "task", "quota_not_enough", "user quota is not enough"),
}
"""New-api before the public ids of 2026."""

FORWARDING: Mapping[str, OwnWords] = {
    **dict.fromkeys(_BAD_KEY, OwnWords(401, "error", message="invalid token")),
    "not_json": OwnWords(400, "error", "invalid_request"),
    "model_missing": OwnWords(400, "error"),
    "model_unserved": OwnWords(503, "error", "model_not_found"),
    "no_balance": OwnWords(403, "error", "insufficient_user_quota", "user quota is not enough"),
    "rate_limit": OwnWords(429, "error"),
    "internal": OwnWords(500, "error"),
    "maintenance": OwnWords(503, "error"),
    "backlog": OwnWords(504, "error"),
}
"""A gateway that forwards Kling's answers. 401 and 400 are as CometAPI documents its own; the
others are unknown and assumed to be alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayErrors:
    """The errors of one gateway: its name for them, its words, and its answer for a missing route.

    `page` is HTTP 200 with the gateway's web app, as new-api answers for all paths but `/v1`,
    `/api` and `/assets`; `json` is its 404 for those.
    """

    kind: str
    words: Mapping[str, OwnWords]
    missing_route: Literal["page", "json"] = "page"

    def own(self, refusal: Refusal) -> Response | None:
        """The gateway's answer when it refuses the request itself; None when Kling refuses it."""
        words = self.words.get(refusal.name)
        if words is None:
            return None
        message = words.message or refusal.message
        if words.form == "task":
            body = task_error(words.code, message)
        else:
            said = f"{message} (request id: {request_id()})"
            body = {"error": {"code": words.code, "message": said, "type": self.kind}}
        return JSONResponse(body, words.http_status, retry_after(refusal))

    def no_route(self, method: str, path: str) -> Response:
        """The gateway's answer to a path or method that it does not have."""
        if self.missing_route == "page":
            return HTMLResponse(DASHBOARD, 200, {"Cache-Control": "no-cache"})
        error = {
            "message": f"Invalid URL ({method} {path})",
            "type": "invalid_request_error",
            "param": "",
            "code": "",
        }
        return JSONResponse({"error": error}, 404)


def task_error(code: str, message: str) -> dict[str, Any]:
    """new-api's error of a task request."""
    return {"code": code, "message": message, "data": None}


def retry_after(refusal: Refusal) -> dict[str, str]:
    """The Retry-After header of a refusal; empty when it has none."""
    if refusal.retry_after_s is None:
        return {}
    return {"Retry-After": str(refusal.retry_after_s)}

"""A provider's HTTP answer, and the refusal that it may stand for, in any of the dialects.

Refusals read `{code, message, request_id}` at Kling, `{code, message, data}` at new-api and
`{error: {code, message, type}}` at OpenAI-like routes. Code 0 is success whatever the message
says, and HTTP 200 with another code happens (seen live).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kling_mcp.error_codes import UNREADABLE, CodeRow, row_for
from kling_mcp.json_values import mapping, text
from kling_tools.errors import ProviderError

__all__ = ["Answer", "read_document", "unreadable"]

SUCCESS_CODES = frozenset({"0", "success"})


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as far as the readers need it."""

    http_status: int
    body: bytes
    retry_after_s: float | None = None
    provider: str = ""


def read_document(answer: Answer) -> Mapping[str, Any]:
    """The JSON object of a successful answer; raises the ProviderError that it stands for.

    An answer without a code succeeds only as an OpenAI-like object, which has an id.
    """
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, Mapping):
        row = row_for("", "", answer.http_status) if answer.http_status >= 300 else UNREADABLE
        raise _error(answer, row, f"{row.message} (HTTP {answer.http_status}, not JSON)")
    code, message = _refusal(document)
    if answer.http_status < 400 and code in SUCCESS_CODES:
        return document
    row = row_for(code, message, answer.http_status)
    raise _error(answer, row, row.message, code, message, text(document.get("request_id")))


def unreadable(provider: str, why: str) -> ProviderError:
    """The error for an answer that says success and does not hold what success means."""
    row = UNREADABLE
    return row.error(
        f"{row.message[:-1]}: {why}.",
        retryable=row.retryable,
        provider=provider,
        charged=row.created,
        advice=row.advice,
    )


def _refusal(document: Mapping[str, Any]) -> tuple[str, str]:
    """Code and message; the code of a success is one of SUCCESS_CODES."""
    error = document.get("error")
    if isinstance(error, str) and error:
        return "error", text(error)
    if details := mapping(error):
        code = text(details.get("code")) or text(details.get("type")) or "error"
        return code, text(details.get("message"))
    code = text(document.get("code"))
    if not code and (text(document.get("id")) or text(document.get("task_id"))):
        return "0", ""
    return code.lower() if code.lower() in SUCCESS_CODES else code, text(document.get("message"))


def _error(
    answer: Answer,
    row: CodeRow,
    message: str,
    code: str = "",
    provider_message: str = "",
    request_id: str = "",
) -> ProviderError:
    return row.error(
        message,
        code=code or None,
        http_status=answer.http_status,
        request_id=request_id or None,
        retryable=row.retryable,
        retry_after_s=answer.retry_after_s,
        provider=answer.provider,
        provider_message=provider_message,
        charged=row.created,
        advice=row.advice,
    )

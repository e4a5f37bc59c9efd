"""Values of somebody else's JSON, taken for what they should be or for nothing."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import AsyncIterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kling_mcp.providers.error_codes import CODES, UNREADABLE, CodeRow, row_for, row_without_json
from kling_mcp.providers.redaction import Redactor
from kling_mcp.providers.task import task_status
from kling_tools.errors import ProviderError

__all__ = [
    "ENCODINGS",
    "SUCCESS_CODES",
    "Answer",
    "UnreadableBody",
    "is_address",
    "mapping",
    "names_a_task",
    "number",
    "read_body",
    "read_document",
    "reason",
    "seconds",
    "text",
    "unreadable",
]


SECONDS_BELOW = 1e11
"""Times below this are seconds, above it milliseconds."""

TEXT_LIMIT = 8000
"""Characters of any text that are looked at: longer than every id and URL that is believed."""

LARGEST = 1e300
"""Numbers up to this can be added up and stay finite."""

LAST_S = 4_102_444_800.0
"""The year 2100, in seconds since the epoch: nothing that a provider tells of lies behind it."""

REASON_LIMIT = 1000
"""Characters of a reason that are kept."""

REASONS = (
    *("message", "msg", "detail", "error_message", "error_msg", "errorMessage"),
    *("error_description", "description", "reason", "fail_reason", "title", "error", "errors"),
)
"""Where providers and the frameworks behind them say why: FastAPI in `detail`, for one."""

DEPTH = 4
"""How deep a reason may lie."""

LOC_LIMIT = 80
"""Characters of the name of the field that a reason is about."""

LISTED = 5
"""Reasons of one list that are told."""


def mapping(value: Any) -> Mapping[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def text(value: Any) -> str:
    """Text, also from a whole number, at most TEXT_LIMIT characters. JSON can spell half a
    character (a lone surrogate), which no URL and no file takes: it becomes a question mark."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return ""
    return value[:TEXT_LIMIT].encode("utf-8", "replace").decode()


def number(value: Any, most: float = LARGEST) -> float | None:
    """A number from 0 to the `most` that can be true, also from text; None for anything else."""
    try:
        told = isinstance(value, str | int | float) and not isinstance(value, bool)
        found = float(value) if told else math.nan
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found <= most else None


def seconds(value: Any) -> float | None:
    """A time in seconds since the epoch, from seconds or milliseconds; None for anything else,
    such as a time that no calendar has."""
    found = number(value)
    if found is not None and found >= SECONDS_BELOW:
        found /= 1000
    return found if found is not None and found < LAST_S else None


def reason(value: Any, depth: int = DEPTH) -> str:
    """The words that say why, wherever they stand in an answer or a part of it; empty for none."""
    if isinstance(value, list) and depth:
        listed = [words for item in value[:LISTED] if (words := reason(item, depth - 1))]
        return "; ".join(listed)[:REASON_LIMIT]
    if not isinstance(value, Mapping) or not depth:
        return text(value[:REASON_LIMIT] if isinstance(value, str) else value)
    said = (reason(value[name], depth - 1) for name in REASONS if name in value)
    words = next((words for words in said if words), "")
    where = value.get("loc")
    if words and isinstance(where, list) and where:
        words = f"{text(where[-1])[:LOC_LIMIT]}: {words}"
    return words[:REASON_LIMIT]


def is_address(words: str) -> bool:
    """Whether this is an address of the web."""
    return words[:8].lower().startswith(("https://", "http://"))


ENCODINGS = "gzip"
"""What an Accept-Encoding header may ask for."""

STEP_BYTES = 64 * 1024
"""Bytes that are inflated at once."""

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
_COMPRESSED = ("gzip", "x-gzip", "deflate")
_PLAIN = ("", "identity")


class UnreadableBody(Exception):
    """The body is too long, or not compressed as its header says; the text tells which."""


async def read_body(chunks: AsyncIterable[bytes], encoding: str, limit: int) -> bytes:
    """The bytes behind `chunks`, which are as the Content-Encoding header says.

    Never holds more than `limit` bytes, a chunk and a step. Raises UnreadableBody.
    """
    kind = encoding.strip().lower()
    if kind not in (*_PLAIN, *_COMPRESSED):
        raise UnreadableBody("it is compressed in a way that was not asked for")
    inflater = zlib.decompressobj(_ZLIB_OR_GZIP) if kind in _COMPRESSED else None
    body = bytearray()
    async for chunk in chunks:
        for piece in _inflated(inflater, chunk) if inflater else (chunk,):
            if len(body) + len(piece) > limit:
                body.clear()
                raise UnreadableBody("it is larger than any answer should be")
            body += piece
    if inflater and body and not inflater.eof:
        raise UnreadableBody("it ends in the middle")
    return bytes(body)


def _inflated(inflater: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    """What a chunk stands for, step by step: a step that is full may not have been the last."""
    step = b""
    while not inflater.eof and (chunk or len(step) == STEP_BYTES):
        try:
            step = inflater.decompress(chunk, STEP_BYTES)
        except zlib.error:
            raise UnreadableBody("it is not compressed as it says") from None
        chunk = inflater.unconsumed_tail
        yield step


SUCCESS_CODES = frozenset({"0", "success"})


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as far as the readers need it."""

    http_status: int
    body: bytes
    retry_after_s: float | None = None
    provider: str = ""
    redactor: Redactor | None = None


def read_document(answer: Answer) -> Mapping[str, Any]:
    """The JSON object of a successful answer; raises the ProviderError that it stands for.

    An answer without a code succeeds only as an OpenAI-like object, which has an id.
    """
    document = _discreet(_json(answer.body), answer.redactor)
    if not isinstance(document, Mapping):
        aside = f" (HTTP {answer.http_status}, not JSON)"
        raise _error(answer, row_without_json(answer.http_status, _is_page(answer.body)), aside)
    refusal = _refusal(document)
    if refusal is None and answer.http_status < 400:
        return document
    said = refusal or (text(document.get("code")), reason(document))
    code, message = _unwrapped(*said)
    row = row_for(code, message, answer.http_status)
    raise _error(answer, row, "", code, message, text(document.get("request_id")))


def names_a_task(answer: Answer) -> Mapping[str, Any] | None:
    """The document of an answer whose HTTP status refuses and whose words name a new task: that
    one was made. None for any other answer."""
    document = _discreet(_json(answer.body), answer.redactor)
    if answer.http_status < 400 or not isinstance(document, Mapping):
        return None
    named = text(document.get("task_id")) or text(mapping(document.get("data")).get("task_id"))
    return document if named and _refusal(document) is None else None


def _is_page(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def unreadable(provider: str, why: str) -> ProviderError:
    """The error for an answer that says success and does not hold what success means."""
    row = UNREADABLE
    message, advice = row.texts(provider)
    return row.error(
        f"{message[:-1]}: {why}.",
        retryable=row.retryable,
        provider=provider,
        charged=row.created,
        advice=advice,
    )


def _json(body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _discreet(document: Any, redactor: Redactor | None) -> Any:
    """The document without the secrets of this process, which some gateways repeat in a refusal:
    taken out before anything is cut or kept."""
    try:
        return redactor.value(document) if redactor else document
    except (RecursionError, ValueError):
        return None


def _refusal(document: Mapping[str, Any]) -> tuple[str, str] | None:
    """Code and message of what it refuses; None for a success, such as the news that a task
    failed."""
    named = text(document.get("id")) or text(document.get("task_id"))
    error = document.get("error")
    failed = named and task_status(document.get("status")) == "failed"
    if not failed and not _is_nothing(error):
        details = mapping(error)
        code = text(details.get("code")) or text(details.get("type")) or "error"
        return code, reason(error)
    code = text(document.get("code"))
    if code.lower() in SUCCESS_CODES or (named and not code):
        return None
    return code, reason(document)


def _is_nothing(error: Any) -> bool:
    """Whether what stands for an error says that there is none: `{"code": 0, "message": ""}`."""
    if not isinstance(error, Mapping):
        return not error
    rest = [value for name, value in error.items() if name != "code"]
    return text(error.get("code")) in ("", "0") and not any(
        value and text(value).lower() not in _NO_MESSAGE for value in rest
    )


_NO_MESSAGE = ("success", "succeed", "ok")


def _unwrapped(code: str, message: str) -> tuple[str, str]:
    """Kling's own refusal, where a gateway hands it on as the text of its own."""
    if code in CODES or not message.startswith("{"):
        return code, message
    inner = _refusal(mapping(_json(message)))
    return inner if inner and inner[0] in CODES else (code, message)


def _error(
    answer: Answer,
    row: CodeRow,
    aside: str,
    code: str = "",
    provider_message: str = "",
    request_id: str = "",
) -> ProviderError:
    message, advice = row.texts(answer.provider)
    broken = answer.http_status >= 500 and not row.at_the_door
    return row.error(
        f"{message[:-1]}{aside}.",
        code=code or None,
        http_status=answer.http_status,
        request_id=request_id or None,
        retryable=row.retryable,
        retry_after_s=answer.retry_after_s,
        provider=answer.provider,
        provider_message=provider_message,
        charged="unknown" if broken else row.created,
        advice=advice,
    )

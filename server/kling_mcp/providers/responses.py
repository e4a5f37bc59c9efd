"""Reads a provider's HTTP answer: its JSON document, or the error that it stands for. The stream of
a video is one, too; it may start at another byte than asked."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from kling_mcp.providers.error_codes import (
    CODES,
    MADE_FROM,
    SUCCESS_CODES,
    CodeRow,
    row_for,
    row_without_json,
)
from kling_mcp.providers.redaction import Redactor
from kling_mcp.providers.task import task_status
from kling_mcp.providers.values import mapping, reason, text
from kling_tools.errors import ProviderError

__all__ = [
    "ENCODINGS",
    "Answer",
    "Download",
    "UnreadableBody",
    "VideoStream",
    "extent",
    "read_body",
    "read_created",
    "read_document",
]


ENCODINGS = "gzip"
"""The value of our Accept-Encoding header."""

STEP_BYTES = 64 * 1024
"""The most bytes that one step decompresses."""

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
_COMPRESSED = ("gzip", "x-gzip", "deflate")
_PLAIN = ("", "identity")


class UnreadableBody(Exception):
    """The body is too long, or its compression differs from its header; the text tells which."""


async def read_body(chunks: AsyncIterable[bytes], encoding: str, limit: int) -> bytes:
    """The decompressed bytes of `chunks`; `encoding` is the Content-Encoding header.

    Holds at most `limit` bytes, a chunk and a step. Raises UnreadableBody.
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
    """The decompressed chunk, step by step; after a full step there may be another one."""
    step = b""
    while not inflater.eof and (chunk or len(step) == STEP_BYTES):
        try:
            step = inflater.decompress(chunk, STEP_BYTES)
        except zlib.error:
            raise UnreadableBody("it is not compressed as it says") from None
        chunk = inflater.unconsumed_tail
        yield step


@dataclass(frozen=True, slots=True)
class Answer:
    """The part of an HTTP answer that the readers need, and what the request that it answers was
    `made_from`, in words; `has_models` says that its tool has a model_name."""

    http_status: int
    body: bytes
    retry_after_s: float | None = None
    provider: str = ""
    redactor: Redactor | None = None
    made_from: str = MADE_FROM
    has_models: bool = True


def read_document(answer: Answer, *, creating: bool = False) -> Mapping[str, Any]:
    """The JSON object of a successful answer; raises the ProviderError that any other answer stands
    for. Without a code, an answer is a success only if it is an OpenAI-like object with an id.
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
    row = row_for(code, message, answer.http_status, creating=creating)
    raise _error(answer, row, "", code, message, text(document.get("request_id")))


def read_created(answer: Answer) -> Mapping[str, Any]:
    """The JSON object of a successful answer to a create; raises the ProviderError that any other
    answer stands for. A document that names a new task is a success under any HTTP status.
    """
    if answer.http_status >= 400:
        document = mapping(_discreet(_json(answer.body), answer.redactor))
        named = text(document.get("task_id")) or text(mapping(document.get("data")).get("task_id"))
        if named and _refusal(document) is None:
            return document
    return read_document(answer, creating=True)


def _is_page(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def _json(body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _discreet(document: Any, redactor: Redactor | None) -> Any:
    """The document without the secrets of this process, which some gateways repeat in a refusal.
    They are taken out before any text is cut or kept."""
    try:
        return redactor.value(document) if redactor else document
    except (RecursionError, ValueError):
        return None


def _refusal(document: Mapping[str, Any]) -> tuple[str, str] | None:
    """Code and message of a refusal; None for a success, such as the answer that a task failed."""
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
    """Whether an `error` field means no error, such as `{"code": 0, "message": ""}`."""
    if not isinstance(error, Mapping):
        return not error
    rest = [value for name, value in error.items() if name != "code"]
    return text(error.get("code")) in ("", "0") and not any(
        value and text(value).lower() not in _NO_MESSAGE for value in rest
    )


_NO_MESSAGE = ("success", "succeed", "ok")


def _unwrapped(code: str, message: str) -> tuple[str, str]:
    """Code and message of Kling's own refusal if a gateway's message holds one as JSON text."""
    if code in CODES or not message.startswith("{"):
        return code, message
    inner = _refusal(mapping(_json(message)))
    return inner if inner and inner[0] in CODES else (code, message)


def _error(
    answer: Answer,
    row: CodeRow,
    aside: str,
    code: str = "",
    provider_says: str = "",
    request_id: str = "",
) -> ProviderError:
    message, advice = row.texts(answer.provider, answer.made_from, has_models=answer.has_models)
    broken = answer.http_status >= 500 and not row.at_the_door
    return row.error(
        f"{message[:-1]}{aside}.",
        code=code or None,
        http_status=answer.http_status,
        request_id=request_id or None,
        retryable=row.retryable,
        retry_after_s=answer.retry_after_s,
        provider=answer.provider,
        provider_says=provider_says,
        charged="unknown" if broken else row.created,
        advice=advice,
        of_model=row.of_model,
    )


@dataclass(frozen=True, slots=True)
class VideoStream:
    """The bytes of one answer to one download request.

    `offset` is the byte at which the answer starts: the first byte of the `Content-Range` of a 206,
    or 0 for a 200, which ignores the question. `total_bytes` is the length of the whole file, None
    if the provider does not tell it. `chunks` raises `kling_tools.errors.ProviderDown` when the
    connection breaks.
    """

    offset: int
    total_bytes: int | None
    chunks: AsyncIterator[bytes]


Download = Callable[[int], AbstractAsyncContextManager[VideoStream]]
"""Opens the video at a byte offset; leaving the context closes the connection."""


def extent(http_status: int, headers: Mapping[str, str], asked: int) -> tuple[int, int | None]:
    """The byte at which an answer starts, and the length of the whole file in bytes (None if
    unknown). A 206 without a readable `Content-Range` starts at the byte that was `asked` for."""
    if http_status != 206:
        return 0, _number(headers.get("Content-Length", ""))
    span, _, total = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    start = _number(span.partition("-")[0])
    return asked if start is None else start, _number(total)


LONGEST_NUMBER = 18
"""The most digits of a byte count that is read; Python refuses thousands of them."""


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= LONGEST_NUMBER else None

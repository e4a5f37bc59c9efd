"""The server over standard input and output. Every line with an id gets an answer.

The SDK drops a line that it cannot read (half an emoji is enough), and the client then waits for
ever. Here such a line is answered with an error under its id; a line without an id is logged.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

if TYPE_CHECKING:
    from mcp.server import Server
    from mcp.shared._stream_protocols import ReadStream, WriteStream

__all__ = ["serve_stdio"]

logger = logging.getLogger(__name__)

_UNHARMED = "Nothing was done, and nothing was sent or charged."

_WHY: tuple[tuple[str, str], ...] = (
    (
        "hex escape|surrogate",
        "it contains half a character, such as one half of an emoji (\\ud83d). Send the whole "
        "character or leave it out",
    ),
    ("recursion", "its lists and objects are nested too deep. Send a flatter structure"),
    (
        "control character",
        "a string in it contains a control character (a line end, say). Send it as an escape (\\n)",
    ),
    ("number", "it contains a number that is malformed or too long. Send a shorter one"),
    ("", "it is not JSON. Send one whole JSON object per line"),
)
"""A pattern for the parser's words, and the explanation for the sender."""

_NOT_JSON_RPC = "it is not a JSON-RPC 2.0 request. Send jsonrpc, id, method and params"
_BATCH = "it is a batch, which MCP does not have. Send each request on a line of its own"
_NO_ID = "its id must be a string or a whole number. Send such an id"

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]|[^\s"\[\]{},:]+', re.DOTALL)

_ABOUT_ALL = ("json_invalid", "model_type", "missing")
"""Types of pydantic errors whose input is the whole message."""

Id = str | int | None


async def serve_stdio(server: Server[Any]) -> None:
    """Serve until standard input ends."""
    async with stdio_server() as (read, write):
        reader = _Answering(read, write)
        await server.run(reader, write, server.create_initialization_options())


class _Answering:
    """The SDK's stream of messages. It answers unreadable lines itself and passes on the rest."""

    def __init__(
        self, stream: ReadStream[SessionMessage | Exception], write: WriteStream[SessionMessage]
    ) -> None:
        self._stream = stream
        self._write = write

    @property
    def last_context(self) -> Any:
        """The context of the last message, as in the SDK's streams."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage:
        """The next readable message."""
        while True:
            item = _mended(await self._stream.receive())
            if isinstance(item, SessionMessage) and not _is_request_without_id(item):
                return item
            await self._answer(*_judged(item))

    async def _answer(self, ids: list[Id], code: int, why: str) -> None:
        if why:
            logger.warning("A line on standard input cannot be read: %s.", why)
        message = f"The message cannot be read: {why}. {_UNHARMED}"
        for each in ids:
            error = ErrorData(code=code, message=message)
            answer = JSONRPCError(jsonrpc="2.0", id=each, error=error)
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                await self._write.send(SessionMessage(answer))

    async def aclose(self) -> None:
        """Close the stream below."""
        await self._stream.aclose()

    def __aiter__(self) -> _Answering:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> _Answering:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _is_request_without_id(item: SessionMessage) -> bool:
    """The SDK takes a request with a malformed id (1.5, null, true) for a notification. The names
    of MCP's notifications tell them apart."""
    message = item.message
    return isinstance(message, JSONRPCNotification) and not message.method.startswith(
        "notifications/"
    )


def _mended(item: SessionMessage | Exception) -> SessionMessage | Exception:
    """The message after a byte order mark, which some editors and shells write first."""
    text = _given(item) if isinstance(item, ValidationError) else None
    if not isinstance(text, str) or not text.startswith("\ufeff"):
        return item
    try:
        message = jsonrpc_message_adapter.validate_json(text.lstrip("\ufeff"), by_name=False)
    except ValidationError as error:
        return error
    return SessionMessage(message)


def _given(error: ValidationError) -> Any:
    """The line as text when it is not JSON, else its value. pydantic reports errors for each form
    that a message may have; at least one of them has the whole message as its input."""
    details = error.errors(include_url=False)
    wholes = [each["input"] for each in details if each["type"] in _ABOUT_ALL]
    return wholes[0] if wholes else {}


def _judged(item: SessionMessage | Exception) -> tuple[list[Id], int, str]:
    """The ids to answer under, the error code, and the reason (empty for an empty line)."""
    if isinstance(item, SessionMessage):
        return [None], INVALID_REQUEST, _NO_ID
    if not isinstance(item, ValidationError):
        return [], INVALID_REQUEST, type(item).__name__
    given = _given(item)
    if isinstance(given, str):
        said = item.errors(include_url=False)[0]["msg"]
        why = next(words for pattern, words in _WHY if re.search(pattern, said))
        ids = [each for one in _messages(given) for each in _ids(one)]
        return ids, PARSE_ERROR, why if given.strip() else ""
    if isinstance(given, list):
        return [each for one in given for each in _ids(one)], INVALID_REQUEST, _BATCH
    return _ids(given), INVALID_REQUEST, _NOT_JSON_RPC


def _ids(message: Any) -> list[Id]:
    """The id to answer under: an empty list for a notification or a response, [None] for a
    malformed id."""
    if not isinstance(message, Mapping) or "id" not in message:
        return []
    if "method" not in message and message.keys() & {"result", "error"}:
        return []
    return [message["id"] if _is_id(message["id"]) else None]


def _is_id(value: Any) -> bool:
    """Whether it is an encodable string or a whole number."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _messages(line: str) -> list[dict[str, Any]]:
    """The objects of a line that is not whole JSON, with the fields that are single values. A batch
    has several objects."""
    outer = 2 if line.lstrip()[:1] == "[" else 1
    depth, name, found = 0, "", list[dict[str, Any]]()
    for part in map(re.Match[str].group, _TOKEN.finditer(line)):
        if part in "[{":
            depth += 1
            if depth == outer:
                found.append({})
        elif part in "]}":
            depth -= 1
        elif depth == outer and not name:
            name = part.strip('"')
            found[-1][name] = None
            continue
        elif depth == outer:
            with suppress(ValueError):
                found[-1][name] = json.loads(part)
        if depth == outer:
            name = ""
    return found

"""The JSON body of a create, sent in pieces, so that no picture is in memory as a whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Protocol

from anyio import to_thread

from kling_mcp.inputs.held import CHUNK_BYTES, HeldFile, SourceChanged, StreamedBase64
from kling_tools.errors import ImageRejected
from kling_tools.faults import Fault

__all__ = ["Body", "FileBody", "JsonBody"]

WRITE_BYTES = 256 * 1024
"""The most bytes of one write; small pictures and texts go out together."""


class Body(Protocol):
    """The body of a create: its exact length, and its bytes, which can be iterated again."""

    @property
    def content_length(self) -> int:
        """The length of the body in bytes."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class JsonBody:
    """An async iterable of the bytes of one JSON object, for httpx's `content=`.

    A `StreamedBase64` in `fields`, at any depth, becomes a JSON string. The body can be iterated
    again, for example to repeat a request with a fresh token. `content_length` is its exact length
    in bytes: send it as the Content-Length header, or httpx sends chunks without a length. Integers
    of any size are written exactly.

    Raises `ValueError` for a float that JSON cannot express, and `TypeError` for a value that is no
    JSON. Iterating raises `ImageRejected` when a picture changed after its check; the body stays
    incomplete then, so that no server can take it for a whole request.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields
        self._parts = list(_joined(_parts(fields, "")))
        self.content_length = sum(
            len(part) if isinstance(part, bytes) else part[1].encoded_length for part in self._parts
        )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        waiting = b""
        async for piece in self._pieces():
            if waiting and len(waiting) + len(piece) > WRITE_BYTES:
                yield waiting
                waiting = piece
            else:
                waiting += piece
        if waiting:
            yield waiting

    async def _pieces(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            field, text = part
            chunks = iter(text)
            if text.chunks == 1:  # it was read a moment ago, and is faster read than handed over
                yield _next(chunks, field)
                continue
            for _ in range(text.chunks):
                yield await to_thread.run_sync(_next, chunks, field)

    def preview(self) -> dict[str, Any]:
        """The fields for a dry run, with a few words in place of every picture."""
        shown: dict[str, Any] = _shown(self._fields)
        return shown


class FileBody:
    """The bytes of an open file; iterating raises `SourceChanged` when it was altered."""

    def __init__(self, held: HeldFile) -> None:
        self._held = held
        self.content_length = held.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = self.content_length
        for offset in range(0, size, CHUNK_BYTES):
            length = min(CHUNK_BYTES, size - offset)
            yield await to_thread.run_sync(self._held.read_at, offset, length)


def _next(chunks: Iterator[bytes], field: str) -> bytes:
    try:
        return next(chunks, b"")
    except SourceChanged as error:
        fault = Fault(
            field, "image_changed", f"{error}.", use="the picture again when it is finished"
        )
        raise ImageRejected([fault]) from error


_Part = bytes | tuple[str, StreamedBase64]


def _parts(value: Any, field: str) -> Iterator[_Part]:
    """JSON text and streams in their order; `field` is the path of `value`, like
    `image_list[0]`."""
    if isinstance(value, StreamedBase64):
        yield b'"'
        yield field, value
        yield b'"'
    elif isinstance(value, Mapping):
        yield b"{"
        for place, (name, inner) in enumerate(value.items()):
            if not isinstance(name, str):
                raise TypeError(f"a field's name must be text, not {type(name).__name__}")
            yield _text(name, b"," if place else b"", b":")
            yield from _parts(inner, f"{field}.{name}" if field else name)
        yield b"}"
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        yield b"["
        for place, inner in enumerate(value):
            if place:
                yield b","
            yield from _parts(inner, f"{field}[{place}]")
        yield b"]"
    else:
        yield _text(value)


def _text(value: Any, before: bytes = b"", after: bytes = b"") -> bytes:
    return before + json.dumps(value, allow_nan=False).encode("ascii") + after


def _joined(parts: Iterator[_Part]) -> Iterator[_Part]:
    """The same parts with neighbouring text joined, so that a small body is one write."""
    text = b""
    for part in parts:
        if isinstance(part, bytes):
            text += part
            continue
        yield text
        text = b""
        yield part
    yield text


def _shown(value: Any) -> Any:
    if isinstance(value, StreamedBase64):
        return repr(value)
    if isinstance(value, Mapping):
        return {name: _shown(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_shown(inner) for inner in value]
    return value

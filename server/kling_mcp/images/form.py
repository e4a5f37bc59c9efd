"""The forms in which a picture can be given, told apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kling_mcp.images.chat_storage import chat_storage_refusal
from kling_mcp.images.held import HeldFile
from kling_mcp.images.inline import decode_base64, decode_data_uri, looks_like_base64
from kling_mcp.images.path import open_file_url, open_path
from kling_mcp.images.policy import PicturePolicy
from kling_mcp.images.refusal import FORMS, Refusal
from kling_mcp.images.url import PictureUrl, read_url

__all__ = ["Given", "Kind", "recognise"]

Kind = Literal["url", "file", "data", "base64", "task", "upload"]

PATH_CHARS = 4096
"""Characters above which a text is no path (Linux's PATH_MAX)."""


@dataclass(frozen=True, slots=True)
class Given:
    """A picture as it was given: its form, either the URL or the bytes, and their SHA-256 in hex
    where it is known without reading them."""

    kind: Kind
    content: PictureUrl | HeldFile
    sha256: str = ""


def recognise(value: str, policy: PicturePolicy) -> Given:
    """What `value` is, opened; raises `Refusal` when it is nothing that can be sent."""
    text = value.strip()
    if text[:1] == text[-1:] and text[:1] in ("'", '"'):
        text = text[1:-1].strip()
    if not text:
        raise Refusal("image_missing", "no picture is given, the text is empty.", FORMS)
    try:
        return _read(text, policy)
    except Refusal as refusal:
        raise chat_storage_refusal(text, policy) or refusal from None


def _read(text: str, policy: PicturePolicy) -> Given:
    for scheme, read in _SCHEMES:
        if scheme.match(text):
            return read(text, policy)
    return _path_or_base64(text, policy)


def _path_or_base64(text: str, policy: PicturePolicy) -> Given:
    """An existing file wins over base64, since "/9j/4AAQ" may be either."""
    if not looks_like_base64(text):
        if len(text) > PATH_CHARS:
            raise Refusal(
                "base64_unreadable",
                "the text is too long for a path and is no base64 of a picture.",
                FORMS,
            )
        return Given("file", open_path(text, policy))
    if len(text) <= PATH_CHARS:
        try:
            return Given("file", open_path(text, policy))
        except Refusal:
            pass
    return Given("base64", decode_base64(text, policy.decoding))


def _other_scheme(text: str, policy: PicturePolicy) -> Given:
    scheme = text.partition(":")[0]
    raise Refusal("url_scheme", f"Kling fetches no {scheme[:20]}: address.", FORMS)


_SCHEMES: tuple[tuple[re.Pattern[str], Callable[[str, PicturePolicy], Given]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), read)
    for pattern, read in (
        (r"https?://", lambda text, policy: Given("url", read_url(text))),
        (r"data:", lambda text, policy: Given("data", decode_data_uri(text, policy.decoding))),
        (r"file:", lambda text, policy: Given("file", open_file_url(text, policy))),
        (r"[a-z][a-z0-9+.-]{1,30}://", _other_scheme),
    )
)

"""One picture of a request: its form is recognised, its content opened."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kling_mcp.inputs.held import HeldFile, StreamedBase64
from kling_mcp.inputs.inline import decode_base64, decode_data_uri, looks_like_base64
from kling_mcp.inputs.path import open_file_url, open_path
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.inputs.refusal import Refusal, short
from kling_mcp.inputs.urls import PictureUrl, read_url

__all__ = ["Given", "Kind", "Picture", "chat_storage_refusal", "is_url", "recognise"]


_FOLDER = re.compile(
    r"(?:file:(?://(?:localhost)?)?)?"
    r"(/mnt/(?:user-data|data|uploads?|files?|outputs)|/home/(?:claude|oai|sandbox)|/workspace/uploads)/",
    re.IGNORECASE,
)
"""Folders in the containers of Claude, ChatGPT and similar chats."""

_ADDRESS = re.compile(
    r"(?:sandbox|blob|attachment|file-service|cid|content|ph|upload|uploads|mcp-file|filesystem):"
    r"|file[-_][A-Za-z0-9]{12,}$",
    re.IGNORECASE,
)
"""Names that have a meaning only within a chat, a web page or an app."""


def chat_storage_refusal(text: str, policy: PicturePolicy) -> Refusal | None:
    """The refusal of a picture in a chat's storage; None for any other picture, and if this machine
    has the folder itself."""
    folder = _FOLDER.match(text)
    if folder is None and not _ADDRESS.match(text):
        return None
    if folder is not None and Path(folder.group(1)).exists():
        return None
    ways = ["kling_upload_picture"] if policy.uploads or not policy.allow_local else []
    if policy.allow_local:
        ways.append(f"the path of the {policy.noun} on this computer (ask the person)")
    return Refusal(
        "path_of_a_chat",
        f"{short(text)} lies in the chat's own storage, which this server cannot read.",
        f"{', '.join(ways)}, or an https URL; a small {policy.noun} can be given as a data: URI",
    )


Kind = Literal["url", "file", "data", "base64", "task", "upload"]

_URL = re.compile(r"https?://", re.IGNORECASE)

PATH_CHARS = 4096
"""The most characters of a path (Linux's PATH_MAX)."""


@dataclass(frozen=True, slots=True)
class Given:
    """A picture as it was given: its form, its URL or its bytes, and their SHA-256 in hex if it is
    known without reading them."""

    kind: Kind
    content: PictureUrl | HeldFile
    sha256: str = ""


def is_url(value: str) -> bool:
    """Whether the value is a web address, which Kling fetches itself."""
    return _URL.match(value.strip()) is not None


def recognise(value: str, policy: PicturePolicy) -> Given:
    """Recognise the form of `value` and open the picture; raises `Refusal` if it cannot be sent."""
    text = value.strip()
    if text[:1] == text[-1:] and text[:1] in ("'", '"'):
        text = text[1:-1].strip()
    if not text:
        raise Refusal(
            "image_missing", f"no {policy.noun} is given, the text is empty.", policy.forms
        )
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
                f"the text is too long for a path and is no base64 of a {policy.noun}.",
                policy.forms,
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
    raise Refusal("url_scheme", f"Kling fetches no {scheme[:20]}: address.", policy.forms)


_SCHEMES: tuple[tuple[re.Pattern[str], Callable[[str, PicturePolicy], Given]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), read)
    for pattern, read in (
        (_URL.pattern, lambda text, policy: Given("url", read_url(text, policy))),
        (r"data:", lambda text, policy: Given("data", decode_data_uri(text, policy.decoding))),
        (r"file:", lambda text, policy: Given("file", open_file_url(text, policy))),
        (r"[a-z][a-z0-9+.-]{1,30}://", _other_scheme),
    )
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture that passed every check of Kling's rules that is possible here.

    `field` is its place in the request, such as `image_list[1].image`. `label` is safe to show (a
    file's name, a URL without its query). `width` and `height` (px), `format` ("JPEG" or "PNG") and
    `size_bytes` describe what is sent, as a viewer shows it; they are None or empty for a URL.
    `sha256` (hex) is that of the bytes before any conversion (and of a fit that changed the
    picture), or of the URL's text, so the same request always has the same digest. `bytes_sha256`
    is that of the bytes as they came; it is empty for what was not read here, or made here.
    `converted` says in a clause what was converted. `turned` means that EXIF tells viewers to turn
    the picture by 90°.
    """

    field: str
    kind: Kind
    label: str
    sha256: str
    width: int | None = None
    height: int | None = None
    format: str = ""
    size_bytes: int | None = None
    converted: str = ""
    turned: bool = False
    url: str = dataclasses.field(default="", repr=False)
    held: HeldFile | None = dataclasses.field(default=None, repr=False)
    bytes_sha256: str = ""

    def wire(self) -> str | StreamedBase64:
        """The value for the JSON body: the URL, or the base64 without a `data:` prefix."""
        return self.url if self.held is None else StreamedBase64(self.held, self.label)

    def close(self) -> None:
        """Release the file. Call it when the picture was sent or is not needed; twice is
        harmless."""
        if self.held is not None:
            self.held.let_go(self.field)

"""Pictures that Kling fetches itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from kling_mcp.inputs.file_type import named_like
from kling_mcp.inputs.public_hosts import is_private_host
from kling_mcp.inputs.refusal import SOURCE, Refusal, short
from kling_tools.faults import Fault

__all__ = ["PictureUrl", "read_url"]


@dataclass(frozen=True, slots=True)
class PictureUrl:
    """A URL as it is sent, with a `label` of host and path only: a query may be a signature."""

    text: str
    label: str
    warnings: tuple[Fault, ...] = ()


def read_url(text: str) -> PictureUrl:
    """A checked http or https URL; raises `Refusal` for one that Kling could not fetch.

    An address of this machine or network is a warning, since only the sandbox can use it.
    """
    parts = _split(text)
    if parts is None or any(ch.isspace() or not ch.isprintable() for ch in text):
        raise Refusal(
            "url_unreadable", "this is not a readable URL.", "a URL like https://host/photo.jpg"
        )
    if parts.username is not None or parts.password is not None:
        raise Refusal(
            "url_credentials",
            "the URL contains a user name or password, which would be sent to Kling.",
            "a URL that needs no login, or a local copy of the picture",
        )
    host = parts.hostname or ""
    label = short(host + parts.path)
    return PictureUrl(text, label, tuple(_doubts(host, parts.path)))


def _doubts(host: str, path: str) -> Iterator[Fault]:
    if is_private_host(host):
        message = f"Kling cannot reach {short(host)}: it is not on the internet."
        yield Fault("", "url_private", message, "a public URL or a local copy")
    claimed = named_like(path)
    if claimed is not None and not claimed.accepted:
        message = f"the URL names {claimed.said}; Kling takes JPEG and PNG only."
        yield Fault("", "image_suffix", message, source=SOURCE)


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts if has_host else None

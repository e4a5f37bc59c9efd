"""Which addresses a video may be fetched from: those of the public internet.

A provider names the URL of a video, and that URL may send on to another one. Neither may lead this
machine to a service of its own, of its network or of its cloud. So the host of every URL is judged
as it is written, and the other end of every connection before a byte is sent to it, whatever a name
server said. Behind an HTTP proxy the second look is not possible: there the proxy connects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kling_mcp.inputs.public_hosts import is_private_host, is_public_peer
from kling_tools.errors import UnsafeUrl

__all__ = ["PeerCheck", "checked_url"]

HOST_SHOWN = 80
SCHEME_SHOWN = 20


def checked_url(scheme: str, host: str, *, local: bool, own: bool) -> dict[str, Any]:
    """The extensions that a request to a provider's URL needs; raises UnsafeUrl.

    `local` says that the provider itself is on this machine, so that everything of it is and http
    will do; `own` that the URL is below the base URL that the provider's user has chosen.
    """
    if not host or scheme not in ("https", *["http"] * local):
        kind = scheme[:SCHEME_SHOWN] if host else "broken"
        raise UnsafeUrl(
            f"The provider gave a {kind} URL for the video, which is not fetched.",
            advice="Only https URLs are downloaded. The video still exists at the provider.",
        )
    if local or own:
        return {}
    if is_private_host(host):
        raise _private(host)
    return {"trace": PeerCheck(host)}


class PeerCheck:
    """A `trace` extension for one httpx request to `host`.

    As soon as a connection to that host stands, and before anything is sent, its other end is
    looked at; raises UnsafeUrl when that is private. A connection to a proxy is let be.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._direct = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpcore with the name of each step and its details."""
        if event == "connection.connect_tcp.started":
            self._direct = info["host"] == self._host
        elif event == "connection.connect_tcp.complete" and self._direct:
            stream = info["return_value"]
            peer = stream.get_extra_info("server_addr")
            if not peer or not is_public_peer(str(peer[0])):
                await stream.aclose()
                raise _private(self._host)


def _private(host: str) -> UnsafeUrl:
    return UnsafeUrl(
        f"The provider sends to {host[:HOST_SHOWN]} for the video, which is an address of this "
        "machine or of a private network and is not fetched.",
        advice="The video still exists at the provider. If it runs its own gateway, whoever runs "
        "this server can fetch the file by hand.",
    )

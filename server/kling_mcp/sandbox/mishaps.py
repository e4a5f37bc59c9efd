"""What a fault does to a request: an answer in place of the real one, a delay, or a break."""

from __future__ import annotations

from dataclasses import replace

import anyio
from starlette.responses import HTMLResponse, Response

from kling_mcp.sandbox.answers import KlingAnswers
from kling_mcp.sandbox.connection import ConnectionDropped
from kling_mcp.sandbox.faults import Fault, Moment, Target
from kling_mcp.sandbox.refusals import Refusal, refused
from kling_mcp.sandbox.store import SandboxStore

__all__ = ["RISK_CONTROL", "Mishaps", "xml_error"]

RISK_CONTROL = "Failure to pass the risk control system"
"""Recorded live as the message of a failed task."""

_BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    "</body>\r\n</html>\r\n"
)

_REFUSALS: dict[str, Refusal] = {
    "rate-limit": refused("rate_limit"),
    "rate-limit-retry-after": replace(refused("rate_limit"), retry_after_s=1),
    "concurrency": refused("concurrency"),
    "concurrency-retry-after": replace(refused("concurrency"), retry_after_s=1),
    "ok-with-error": Refusal(1201, "Invalid request parameters", 200),
    "internal": refused("internal"),
    "maintenance": refused("maintenance"),
    "backlog": refused("backlog"),
    "token-expired": refused("authorization_expired"),
    "no-balance": refused("no_balance"),
}


class Mishaps:
    """The faults of one sandbox, applied to its requests as they come."""

    def __init__(
        self, faults: tuple[Fault, ...], store: SandboxStore, answers: KlingAnswers
    ) -> None:
        self._faults = faults
        self._store = store
        self._answers = answers

    def struck(self, target: Target, moment: Moment) -> list[Fault]:
        """The faults that strike now; each strike is counted."""
        return [
            fault
            for fault in self._faults
            if fault.strikes(target, moment) and self._store.claim(fault)
        ]

    async def happen(self, target: Target, moment: Moment) -> Response | None:
        """Let what is due happen: the answer that replaces the real one, None to go on.

        Raises `ConnectionDropped`.
        """
        for fault in self.struck(target, moment):
            response = await self._happens(fault)
            if response is not None:
                return response
        return None

    async def _happens(self, fault: Fault) -> Response | None:
        if fault.name == "slow":
            await anyio.sleep(fault.seconds)
            return None
        if fault.name.startswith("drop-"):
            raise ConnectionDropped(f"the sandbox broke the connection: {fault}")
        if fault.name.startswith("html-502"):
            return HTMLResponse(_BAD_GATEWAY, 502)
        if fault.name == "download-404":
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        return self._answers.refused(_REFUSALS[fault.name])


def xml_error(status: int, code: str, message: str) -> Response:
    """An error as the store behind a CDN words it."""
    return Response(
        f'<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>",
        status,
        media_type="application/xml",
    )

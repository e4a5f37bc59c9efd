"""Applies faults to requests: another answer, a delay, or a broken connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import anyio
from starlette.responses import HTMLResponse, Response

from kling_sandbox.answers.gateway_errors import BAD_GATEWAY, LOGIN
from kling_sandbox.answers.refusals import Refusal, refused
from kling_sandbox.answers.styles import Answers
from kling_sandbox.faults import ConnectionDropped, Fault, Moment, Target
from kling_sandbox.state import SandboxStore

__all__ = ["RISK_CONTROL", "FaultInjector", "xml_error"]

RISK_CONTROL = "Failure to pass the risk control system"
"""Recorded live as the message of a failed task."""

_PAGES: dict[str, tuple[int, str]] = {
    "html-502": (502, BAD_GATEWAY),
    "html-502-after-accept": (502, BAD_GATEWAY),
    "html-login": (200, LOGIN),
}
_SILENT = ("empty-body", "empty-body-after-accept")

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


class FaultInjector:
    """Applies the faults of one sandbox to the requests of one provider."""

    def __init__(self, faults: tuple[Fault, ...], store: SandboxStore, answers: Answers) -> None:
        self._faults = faults
        self._store = store
        self._answers = answers

    def due(self, target: Target, moment: Moment) -> Iterator[Fault]:
        """The faults that strike now, in order. Each is counted when it is yielded."""
        for fault in self._faults:
            if fault.strikes(target, moment) and self._store.claim(fault):
                yield fault

    async def inject(self, target: Target, moment: Moment) -> Response | None:
        """Apply the due faults. Returns the answer that replaces the real one, or None.

        After the first fault with an answer, the others wait for the next request. Raises
        `ConnectionDropped`.
        """
        for fault in self.due(target, moment):
            response = await self._effect(fault)
            if response is not None:
                return response
        return None

    async def _effect(self, fault: Fault) -> Response | None:
        if fault.name == "slow":
            await anyio.sleep(fault.seconds)
            return None
        if fault.name.startswith("drop-"):
            raise ConnectionDropped(f"the sandbox broke the connection: {fault}")
        if fault.name in _PAGES:
            status, page = _PAGES[fault.name]
            return HTMLResponse(page, status)
        if fault.name in _SILENT:
            return Response(media_type="application/json")
        if fault.name == "download-404":
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        return self._answers.refused(_REFUSALS[fault.name])


def xml_error(status: int, code: str, message: str) -> Response:
    """An XML error, as object stores behind a CDN answer."""
    return Response(
        f'<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>",
        status,
        media_type="application/xml",
    )
